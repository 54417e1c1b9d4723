package store

import "github.com/aleph-im/aleph-go/message"

// VMRow is a program or machine.
type VMRow struct {
	Hash        message.Hash
	Type        string // program, instance, v-program
	Owner       string
	AllowAmend  bool
	Replaces    *string // the program that this one is a new version of
	Persistent  bool
	PaymentType message.PaymentType
	NodeHash    *string // compute node that the owner asked for
	ContentTime float64
	Refs        []message.Hash // files that cannot be forgotten while it is there; not read back
	Parents     []message.Hash // files that it uses and that can be forgotten all the same; not read back
}

// VM returns a program or machine, nil when there is none.
func (r *Reader) VM(h message.Hash) (*VMRow, error) {
	v := &VMRow{Hash: h}
	ok, err := found(r.row(`SELECT type, owner, allow_amend, replaces, persistent, payment_type, node_hash, content_time FROM vms WHERE item_hash = ?`, string(h)),
		&v.Type, &v.Owner, &v.AllowAmend, &v.Replaces, &v.Persistent, &v.PaymentType, &v.NodeHash, &v.ContentTime)
	if err != nil || !ok {
		return nil, wrap(err, "read VM %s", h)
	}
	return v, nil
}

// FileUser returns a VM for which the file of STORE message ref must be kept, "" when there is none.
func (r *Reader) FileUser(ref message.Hash) (vm message.Hash, err error) {
	_, err = found(r.row(`SELECT vm_hash FROM vm_refs WHERE ref = ? AND guards = 1 ORDER BY vm_hash LIMIT 1`, string(ref)), &vm)
	return vm, wrap(err, "read VMs that use %s", ref)
}

// VMsOf lists the VMs that use the file of STORE message or tag ref.
func (r *Reader) VMsOf(ref string) ([]message.Hash, error) {
	list, err := r.hashes(`SELECT vm_hash FROM vm_refs WHERE ref = ? ORDER BY vm_hash`, ref)
	return list, wrap(err, "read VMs that use %s", ref)
}

// VMRefs lists the files that a VM uses.
func (r *Reader) VMRefs(h message.Hash) ([]message.Hash, error) {
	list, err := r.hashes(`SELECT ref FROM vm_refs WHERE vm_hash = ? ORDER BY ref`, string(h))
	return list, wrap(err, "read files of VM %s", h)
}

// Replacements lists the programs that are new versions of h.
func (r *Reader) Replacements(h message.Hash) ([]message.Hash, error) {
	list, err := r.hashes(`SELECT item_hash FROM vms WHERE replaces = ? ORDER BY item_hash`, string(h))
	return list, wrap(err, "read new versions of %s", h)
}

// InsertVM stores a program or machine.
func (tx *Tx) InsertVM(v *VMRow) error {
	err := tx.exec(`INSERT INTO vms (item_hash, type, owner, allow_amend, replaces, persistent, payment_type, node_hash, content_time)
		VALUES (?,?,?,?,?,?,?,?,?)`, string(v.Hash), v.Type, v.Owner, integer(v.AllowAmend), v.Replaces, integer(v.Persistent),
		string(v.PaymentType), v.NodeHash, v.ContentTime)
	refer := func(refs []message.Hash, guards bool) {
		for _, ref := range refs {
			if err == nil {
				err = tx.exec(`INSERT INTO vm_refs (ref, vm_hash, guards) VALUES (?,?,?) ON CONFLICT DO NOTHING`, string(ref), string(v.Hash), integer(guards))
			}
		}
	}
	refer(v.Refs, true)
	refer(v.Parents, false)
	return wrap(err, "store VM %s", v.Hash)
}

// DeleteVM deletes a program or machine.
func (tx *Tx) DeleteVM(h message.Hash) error {
	err := tx.exec(`DELETE FROM vm_refs WHERE vm_hash = ?`, string(h))
	if err == nil {
		err = tx.exec(`DELETE FROM vms WHERE item_hash = ?`, string(h))
	}
	return wrap(err, "delete VM %s", h)
}

func integer(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
