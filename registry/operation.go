package registry

import (
	"encoding/json"
	"math/big"
	"slices"
)

// operationContent is what all operations have in common.
type operationContent struct {
	tags    []any
	action  string
	details details
}

// parseOperation reads members by their exact names, which decoding into a struct would not insist on.
func parseOperation(raw json.RawMessage) (c operationContent, ok bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || json.Unmarshal(members["action"], &c.action) != nil || c.action == "" {
		return c, false
	}
	if tags, given := members["tags"]; given && json.Unmarshal(tags, &c.tags) != nil {
		return c, false
	}
	if d, given := members["details"]; given && json.Unmarshal(d, &c.details) != nil {
		return c, false
	}
	return c, true
}

// applyOperation is the transition table of spec §4.3.
func (s *State) applyOperation(op Operation) Outcome {
	content, ok := parseOperation(op.Content)
	switch {
	case !ok || op.Actor == "" || op.Hash == "":
		return ignored(Malformed)
	case s.params.Tag != "" && !slices.Contains(content.tags, any(s.params.Tag)):
		return ignored(OtherNetwork)
	}
	op.Actor = Normalize(op.Actor)
	d := content.details
	switch op.Type {
	case "amend":
		return s.amend(op, d)
	case s.params.OperationType:
	default:
		return ignored(UnknownAction)
	}
	switch content.action {
	case "create-node":
		return s.createCore(op, d)
	case "create-resource-node":
		return s.createResource(op, d)
	case "link":
		return s.link(op)
	case "unlink":
		return s.unlink(op)
	case "drop-node":
		return s.drop(op)
	case "stake", "stake-split":
		return s.stake(op, content.action == "stake-split")
	case "unstake":
		return s.unstake(op)
	case "amend":
		if s.params.AmendAction {
			return s.amend(op, d)
		}
	}
	return ignored(UnknownAction)
}

func (s *State) createCore(op Operation, d details) Outcome {
	switch {
	case s.owners[op.Actor] != nil:
		return ignored(AlreadyOwner)
	case s.balance(op.Actor).Cmp(s.params.CoreThreshold) < 0:
		return ignored(LowBalance)
	case s.exists(op.Hash):
		return ignored(Duplicate)
	}
	n := &core{stakers: make(map[string]*big.Int), total: zero, linked: make(map[string]*resource)}
	n.Node = newNode(op, d)
	n.Authorized = nil // not settable at creation
	s.claimMultiaddress(n)
	n.HasBonus = op.Height < s.params.BonusEnd
	s.core[n.Hash] = n
	s.owners[op.Actor] = n
	s.removeAllStakes(op.Actor)
	return applied()
}

func (s *State) createResource(op Operation, d details) Outcome {
	if _, ok := d["type"]; !ok {
		return ignored(Malformed)
	}
	if s.exists(op.Hash) {
		return ignored(Duplicate)
	}
	r := &resource{ResourceNode: ResourceNode{Node: newNode(op, d)}}
	d.text("type", &r.Type)
	s.claimAddress(r)
	s.resource[r.Hash] = r
	return applied()
}

func (s *State) exists(hash string) bool {
	return s.core[hash] != nil || s.resource[hash] != nil
}

func (s *State) link(op Operation) Outcome {
	n, r := s.owners[op.Actor], s.resource[op.Ref]
	switch {
	case n == nil:
		return ignored(NotOwner)
	case r == nil:
		return ignored(NotFound)
	case r.parent != nil:
		return ignored(AlreadyLinked)
	case bool(r.Locked):
		return ignored(Locked)
	case len(n.linked) >= s.params.MaxLinked:
		return ignored(Limit)
	}
	n.linked[r.Hash] = r
	r.parent = n
	return applied()
}

func (s *State) unlink(op Operation) Outcome {
	r := s.resource[op.Ref]
	switch {
	case r == nil:
		return ignored(NotFound)
	case r.parent == nil:
		return ignored(NotLinked)
	case r.parent.Owner != op.Actor && r.Owner != op.Actor:
		return ignored(NotOwner)
	}
	delete(r.parent.linked, r.Hash)
	r.parent = nil
	return applied()
}

func (s *State) drop(op Operation) Outcome {
	n, r := s.core[op.Ref], s.resource[op.Ref]
	switch {
	case n != nil && n.Owner == op.Actor:
		s.removeCore(n)
	case r != nil && r.Owner == op.Actor:
		s.removeResource(r)
	case n == nil && r == nil:
		return ignored(NotFound)
	default:
		return ignored(NotOwner)
	}
	return applied()
}

// stake puts the actor's balance on a node, beside its other stakes if split, otherwise instead of them.
func (s *State) stake(op Operation, split bool) Outcome {
	n := s.core[op.Ref]
	switch {
	case s.balance(op.Actor).Cmp(s.params.StakeThreshold) < 0:
		return ignored(LowBalance)
	case n == nil:
		return ignored(NotFound)
	case s.owners[op.Actor] != nil:
		return ignored(SelfStake)
	case bool(n.Locked) && !slices.Contains(n.Authorized, op.Actor):
		return ignored(Locked)
	case split && slices.Contains(s.stakes[op.Actor], n):
		return ignored(AlreadyStaked)
	}
	if !split {
		s.removeAllStakes(op.Actor)
	}
	s.addStake(op.Actor, n)
	return applied()
}

func (s *State) unstake(op Operation) Outcome {
	n := s.core[op.Ref]
	switch {
	case n == nil:
		return ignored(NotFound)
	case !slices.Contains(s.stakes[op.Actor], n):
		return ignored(NotStaked)
	}
	s.removeStake(op.Actor, n)
	return applied()
}

// amend edits a node. Its manager may do so as well as its owner; on networks whose rules for posts let only the
// author of a post amend it, a manager needs the owner's delegation and then acts as the owner.
func (s *State) amend(op Operation, d details) Outcome {
	n, r := s.core[op.Ref], s.resource[op.Ref]
	switch {
	case n != nil:
		if op.Actor != n.Owner && op.Actor != n.Manager {
			return ignored(NotOwner)
		}
		edit(&n.Node, d, op.Actor)
		s.claimMultiaddress(n)
	case r != nil:
		if op.Actor != r.Owner && op.Actor != r.Manager {
			return ignored(NotOwner)
		}
		edit(&r.Node, d, op.Actor)
		s.claimAddress(r)
	default:
		return ignored(NotFound)
	}
	return applied()
}

// newNode fills in what both kinds of node take from the operation that creates them (spec §4.4).
func newNode(op Operation, d details) Node {
	n := Node{Hash: op.Hash, Owner: op.Actor, Time: op.Time, Status: Waiting}
	setFields(&n, d)
	if n.Reward == "" {
		n.Reward = op.Actor
	}
	return n
}

// edit changes the fields that the details name and keeps the others. A reward or manager that was never set becomes
// the actor, as in the reference.
func edit(n *Node, d details, actor string) {
	setFields(n, d)
	for key, field := range map[string]*string{"reward": &n.Reward, "manager": &n.Manager} {
		if _, named := d[key]; !named && *field == "" {
			*field = actor
		}
	}
}

func setFields(n *Node, d details) {
	for key, field := range map[string]*string{
		"name": &n.Name, "multiaddress": &n.Multiaddress, "address": &n.Address,
		"picture": &n.Picture, "banner": &n.Banner, "description": &n.Description,
		"reward": &n.Reward, "stream_reward": &n.StreamReward, "manager": &n.Manager,
		"registration_url": &n.RegistrationURL, "terms_and_conditions": &n.TermsAndConditions,
	} {
		d.text(key, field)
	}
	for _, address := range []*string{&n.Reward, &n.StreamReward, &n.Manager} {
		*address = Normalize(*address)
	}
	d.decode("locked", &n.Locked)
	var authorized Addresses
	if d.decode("authorized", &authorized) {
		for i, address := range authorized {
			authorized[i] = Normalize(address)
		}
		n.Authorized = authorized
	}
}

// details are the editable fields of a node as they were sent, of any type.
type details map[string]json.RawMessage

// text sets the field to the text sent, or to nothing if null was. What is neither is not a value of this field, and
// is left out.
func (d details) text(key string, field *string) {
	var value *string
	if raw, ok := d[key]; !ok || json.Unmarshal(raw, &value) != nil {
		return
	}
	*field = ""
	if value != nil {
		*field = *value
	}
}

// decode reads a field whose type accepts any JSON, and tells whether it was sent.
func (d details) decode(key string, field json.Unmarshaler) bool {
	raw, ok := d[key]
	return ok && field.UnmarshalJSON(raw) == nil
}
