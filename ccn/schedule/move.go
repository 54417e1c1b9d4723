package schedule

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/registry"
)

// HomesKey is the aggregate key under which the owner of a core node publishes on which compute node the disks of instances are: an
// object from the hash of an instance to [Home]. Of what several owners say, the newest counts.
const HomesKey = "instance-homes"

// Home is where the disks of an instance are.
type Home struct {
	Node    string `json:"node"`              // hash of a compute node
	Replica string `json:"replica,omitempty"` // hash of the one that holds a replica of them (decision 0029), if any
	// Reviving: that one was, or is just being, told to have the instance come back there.
	Reviving bool    `json:"reviving,omitempty"`
	Since    float64 `json:"since"` // Unix seconds
}

// homes returns the homes of instances among compute nodes that are registered: of others the disks are gone. The second value is the
// newest content time.
func homes(r *store.Reader, nodes registry.Aggregate) (found map[message.Hash]Home, newest float64, err error) {
	all := make(map[message.Hash]Home)
	for _, core := range nodes.Nodes {
		var said map[message.Hash]Home
		updated, err := word(r, core.Owner, HomesKey, &said)
		if err != nil {
			return nil, 0, err
		}
		newest = max(newest, updated)
		for hash, home := range said {
			if known := all[hash]; cmp.Or(cmp.Compare(home.Since, known.Since), cmp.Compare(home.Node, known.Node)) > 0 {
				all[hash] = home
			}
		}
	}
	registered := make(map[string]bool)
	for _, n := range nodes.ResourceNodes {
		registered[n.Hash] = n.Address != ""
	}
	maps.DeleteFunc(all, func(_ message.Hash, home Home) bool { return !registered[home.Node] })
	return all, newest, nil
}

// settled publishes the homes of instances that a compute node has for the first time.
func (s *Scheduler) settled(ctx context.Context, r deliveryResult) error {
	v := s.current()
	found := make(map[message.Hash]Home)
	for _, hash := range r.outcome.Successful {
		p, ok := v.plan[hash]
		if ok && p.Workload.Type == message.TypeInstance && p.Compute.Hash == r.node.Hash && v.homes[hash] == "" {
			found[hash] = Home{Node: r.node.Hash, Since: now()}
		}
	}
	if len(found) == 0 {
		return nil
	}
	if err := s.cfg.Publish(ctx, HomesKey, found); err != nil {
		return fmt.Errorf("publish where %d instances are: %w", len(found), err)
	}
	return nil
}

func now() float64 { return float64(time.Now().UnixMilli()) / 1000 }

// elsewhere reports whether the disks of an instance are to be fetched before its compute node may start it.
func (v *view) elsewhere(p Placement) bool {
	home := v.homes[p.Workload.Hash]
	return p.Workload.Type == message.TypeInstance && home != "" && home != p.Compute.Hash
}

// leaving returns the instances that a compute node has and the plan has elsewhere, sorted.
func (v *view) leaving(compute string) []message.Hash {
	var list []message.Hash
	for hash, home := range v.homes {
		if p, planned := v.plan[hash]; planned && home == compute && v.elsewhere(p) {
			list = append(list, hash)
		}
	}
	slices.Sort(list)
	return list
}

// comesBack reports whether an instance was told to come back where its replica is, which may have its newest disks.
func (v *view) comesBack(hash message.Hash) bool {
	return v.reviving[hash] && v.compute(v.replicas[hash]) != nil
}

// journey is the way of one instance from its home to where the plan has it.
type journey struct {
	hash     message.Hash
	from, to registry.ResourceNode
}

type journeyResult struct {
	hash message.Hash
	err  error
}

// journeysAtOnce bounds those of one core node: each takes the lines of two compute nodes. Of each node that instances leave there is
// one: how long it takes is up to that node, which may be a stranger's, and it is not to keep what leaves others.
const journeysAtOnce = 4

// restAfter is how long an instance that could not be moved waits for the next try.
const restAfter = 30 * time.Second

// heardAfter is when the plan has heard at the latest that an instance has moved.
const heardAfter = 5 * time.Second

// move begins to fetch home what the plan has on own compute nodes and is elsewhere.
func (s *Scheduler) move(ctx context.Context, wg *sync.WaitGroup, done chan<- journeyResult) {
	v := s.current()
	for _, node := range s.own(v) {
		if v.down[node.Hash] {
			continue
		}
		for _, hash := range v.part(node.Hash).Instances {
			p := v.plan[hash]
			if !v.elsewhere(p) || v.comesBack(hash) || !s.mayLeave(hash, v.homes[hash]) || time.Now().Before(s.resting[hash]) {
				continue
			}
			j := journey{hash: hash, to: node}
			for _, n := range v.nodes.ResourceNodes {
				if n.Hash == v.homes[hash] {
					j.from = n
				}
			}
			s.journeys[hash] = v.homes[hash]
			s.cfg.Logger.Info("instance moves", "hash", hash, "from", j.from.Address, "to", j.to.Address)
			wg.Go(func() {
				err := s.carry(ctx, j)
				select {
				case done <- journeyResult{hash, err}:
				case <-ctx.Done():
				}
			})
		}
	}
}

// mayLeave reports whether an instance may begin to leave a compute node.
func (s *Scheduler) mayLeave(hash message.Hash, from string) bool {
	if _, under := s.journeys[hash]; under || len(s.journeys) >= journeysAtOnce {
		return false
	}
	return !slices.Contains(slices.Collect(maps.Values(s.journeys)), from)
}

func (s *Scheduler) moved(r journeyResult) {
	delete(s.journeys, r.hash)
	maps.DeleteFunc(s.resting, func(_ message.Hash, until time.Time) bool { return time.Now().After(until) })
	s.resting[r.hash] = time.Now().Add(heardAfter)
	if r.err != nil {
		s.resting[r.hash] = time.Now().Add(restAfter)
		s.cfg.Logger.Warn("instance not moved, tried again", "hash", r.hash, "error", r.err)
	}
}

// carry sees one journey to its end and publishes it. It keeps nothing of its own: what was done shows on the two nodes, and another
// scheduler, or this one after a restart, goes on from there.
func (s *Scheduler) carry(ctx context.Context, j journey) error {
	tick := time.NewTicker(time.Duration(s.cfg.Params.Schedule.ProbeInterval) * time.Second)
	defer tick.Stop()
	for {
		arrived, err := s.step(ctx, j)
		if err != nil {
			return err
		}
		if arrived {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		v := s.current()
		if p := v.plan[j.hash]; p.Compute == nil || p.Compute.Hash != j.to.Hash || v.homes[j.hash] != j.from.Hash || v.comesBack(j.hash) {
			return fmt.Errorf("the plan has it elsewhere by now, or it comes back from its replica")
		}
	}
	home := map[message.Hash]Home{j.hash: {Node: j.to.Hash, Since: now()}}
	if err := s.cfg.Publish(ctx, HomesKey, home); err != nil {
		return fmt.Errorf("publish where it is: %w", err)
	}
	s.cfg.Logger.Info("instance moved", "hash", j.hash, "to", j.to.Address)
	return nil
}

// exported is what a compute node says of an instance that leaves (spec/crn.md §2.10). What it says of files is passed on as it is.
type exported struct {
	State   string       `json:"state"`
	Error   string       `json:"error"`
	Token   string       `json:"export_token"`
	Files   any          `json:"disk_files"`
	Parent  message.Hash `json:"parent"`
	Stopped bool         `json:"stopped"`
	Live    any          `json:"live"` // nil when it cannot move with its memory
}

// step looks at both nodes and gives the order that is next. Each can be given again.
func (s *Scheduler) step(ctx context.Context, j journey) (arrived bool, err error) {
	machine := "/control/machine/" + string(j.hash) + "/migration/"
	var import_ struct{ State, Error string }
	status, err := s.order(ctx, http.MethodGet, j.to.Address, "/control/migrate/"+string(j.hash)+"/status", nil, &import_)
	switch {
	case status == http.StatusOK && import_.State == "imported":
		// Without this word the node that it left removes its copy later by itself.
		if _, err := s.order(ctx, http.MethodPost, j.from.Address, machine+"cleanup", nil, nil); err != nil {
			s.cfg.Logger.Warn("what an instance left behind is not removed", "hash", j.hash, "crn", j.from.Address, "error", err)
		}
		return true, nil
	case status == http.StatusOK && import_.Error != "":
		return false, fmt.Errorf("%s fetches it: %.1000s", j.to.Address, import_.Error)
	case status == http.StatusOK:
		return false, nil
	case status != http.StatusNotFound:
		return false, err
	}

	var e exported
	status, err = s.order(ctx, http.MethodGet, j.from.Address, machine+"export/status", nil, &e)
	switch {
	case status == http.StatusNotFound:
		// It is stopped only for a node that has room. One that does not know the question is taken to have it.
		status, err = s.order(ctx, http.MethodGet, j.to.Address, "/control/migrate/"+string(j.hash)+"/room", nil, nil)
		if err != nil && status != http.StatusNotFound {
			return false, err
		}
		if fetching, err := s.fetchAhead(ctx, j); fetching || err != nil {
			return false, err
		}
		status, err = s.order(ctx, http.MethodPost, j.from.Address, machine+"export", nil, nil)
		switch status {
		case http.StatusAccepted, http.StatusConflict:
			return false, nil
		case http.StatusNotFound:
			s.cfg.Logger.Warn("the disks of an instance are gone, it begins anew", "hash", j.hash, "crn", j.from.Address)
			return true, nil
		}
		return false, err
	case err != nil:
		return false, err
	case e.State == "export_failed":
		return false, fmt.Errorf("%s gets it ready: %.1000s", j.from.Address, e.Error)
	case e.State != "exported":
		return false, nil
	}
	order, err := j.order(e)
	if err != nil {
		return false, err
	}
	status, err = s.order(ctx, http.MethodPost, j.to.Address, "/control/migrate", order, nil)
	if status == http.StatusAccepted || status == http.StatusConflict {
		return false, nil
	}
	return false, err
}

// order is what tells the node at the end of a journey to fetch.
func (j journey) order(e exported) (map[string]any, error) {
	source, err := url.Parse(j.from.Address)
	if err != nil {
		return nil, fmt.Errorf("address of compute node %q: %w", j.from.Address, err)
	}
	port, err := strconv.Atoi(cmp.Or(source.Port(), map[string]string{"https": "443", "http": "80"}[source.Scheme]))
	if err != nil {
		return nil, fmt.Errorf("address of compute node %q: %w", j.from.Address, err)
	}
	order := map[string]any{
		"vm_hash": j.hash, "source_host": source.Hostname(), "source_port": port, "export_token": e.Token, "disk_files": e.Files,
		"parent": e.Parent, "stopped": e.Stopped,
	}
	if e.Live != nil {
		order["live"] = e.Live
	}
	return order, nil
}

// fetchAhead has the disks of an instance fetched while it runs, and reports whether that goes on. Then it comes with its memory, where
// both nodes can. Where that or this fails, or one of the nodes does not know how, they are fetched when it is off.
func (s *Scheduler) fetchAhead(ctx context.Context, j journey) (fetching bool, err error) {
	there := "/control/migrate/" + string(j.hash) + "/ahead"
	var ahead struct{ State, Error, Cold string }
	status, err := s.order(ctx, http.MethodGet, j.to.Address, there, nil, &ahead)
	switch {
	case status == http.StatusOK:
		if ahead.Error != "" {
			s.cfg.Logger.Warn("disks of an instance not fetched while it runs", "hash", j.hash, "crn", j.to.Address, "error", brief(ahead.Error))
		}
		if ahead.Cold != "" {
			s.cfg.Logger.Info("an instance does not move with its memory", "hash", j.hash, "to", j.to.Address, "because", brief(ahead.Cold))
		}
		return ahead.State == "fetching", nil
	case status != http.StatusNotFound:
		return false, err
	}
	var e exported
	status, err = s.order(ctx, http.MethodPost, j.from.Address, "/control/machine/"+string(j.hash)+"/migration/ahead", nil, &e)
	if status != http.StatusOK {
		return false, reached(status, err)
	}
	order, err := j.order(e)
	if err != nil {
		return false, err
	}
	status, err = s.order(ctx, http.MethodPost, j.to.Address, there, order, nil)
	return status == http.StatusAccepted, reached(status, err)
}

// reached is the error of an order that was not answered; a refusal is none.
func reached(status int, err error) error {
	if status != 0 {
		return nil
	}
	return err
}
