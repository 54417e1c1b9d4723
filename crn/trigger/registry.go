package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/message"
)

// registration is a program that asked for events. Its events are handed over one after the other, in their order.
type registration struct {
	hash          message.Hash
	subscriptions []subscription
	schedule      schedule
	scheduleText  string

	waiting []execution.Event // guarded by Trigger.mu
	busy    bool              // a worker hands them out; guarded by Trigger.mu
}

// Planned tells what the scheduler gave to this node. Programs that it leaves out get no more events. It does not block.
func (t *Trigger) Planned(plan execution.Plan) {
	wanted := map[message.Hash]bool{}
	t.mu.Lock()
	for _, hash := range slices.Concat(plan.Persistent, plan.OnDemand) {
		wanted[hash] = t.allotted[hash]
	}
	t.allotted = wanted
	t.mu.Unlock()
	t.wake()
}

func (t *Trigger) wake() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// register keeps the registrations as the plan is.
func (t *Trigger) register(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.changed:
		}
		dropped := t.dropUnplanned()
		added := false
		for _, hash := range t.unknown() {
			program, err := t.cfg.Network.Program(ctx, hash)
			if errors.Is(err, corenode.ErrUnavailable) || ctx.Err() != nil {
				break // the next minute is as good
			}
			added = t.add(hash, program, err) || added
		}
		if added || dropped {
			if err := t.save(); err != nil {
				t.cfg.Log.Error("registrations of programs not saved", "error", err)
			}
		}
	}
}

// unknown are the programs of the plan that were not looked at.
func (t *Trigger) unknown() (list []message.Hash) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for hash, plain := range t.allotted {
		if !plain && t.programs[hash] == nil {
			list = append(list, hash)
		}
	}
	slices.Sort(list)
	return list
}

// add registers a program of the plan, or notes that it asks for nothing, or cannot.
func (t *Trigger) add(hash message.Hash, program *message.Program, err error) (added bool) {
	var r *registration
	if err == nil {
		r, err = newRegistration(hash, program)
	}
	if err != nil && !errors.Is(err, corenode.ErrNotFound) { // what is not found may be on its way
		t.cfg.Log.Warn("program gets no events", "hash", hash, "error", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, planned := t.allotted[hash]; !planned || t.programs[hash] != nil {
		return false
	}
	if r == nil {
		t.allotted[hash] = !errors.Is(err, corenode.ErrNotFound)
		return false
	}
	t.programs[hash] = r
	t.cfg.Log.Info("program gets events", "hash", hash, "subscriptions", len(r.subscriptions), "schedule", r.scheduleText)
	return true
}

// newRegistration reads what a program asks for; nil for nothing.
func newRegistration(hash message.Hash, program *message.Program) (*registration, error) {
	r := &registration{hash: hash, scheduleText: program.Variables[ScheduleVariable]}
	for _, raw := range program.On.Message {
		s, err := parseSubscription(raw)
		if err != nil {
			return nil, err
		}
		r.subscriptions = append(r.subscriptions, s)
	}
	var err error
	if r.schedule, err = parseSchedule(r.scheduleText); err != nil {
		return nil, err
	}
	if len(r.subscriptions) == 0 && len(r.schedule) == 0 {
		return nil, nil
	}
	return r, nil
}

func (t *Trigger) dropUnplanned() (dropped bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for hash, r := range t.programs {
		if _, planned := t.allotted[hash]; !planned {
			t.drop(r)
			dropped = true
		}
	}
	return dropped
}

// unregister forgets a program before the next plan leaves it out.
func (t *Trigger) unregister(hash message.Hash) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.allotted, hash)
	if r := t.programs[hash]; r != nil {
		t.drop(r)
	}
}

// drop ends a registration; what waits is not delivered any more. t.mu is held.
func (t *Trigger) drop(r *registration) {
	delete(t.programs, r.hash)
	r.waiting = nil
}

// state is what a restart needs.
type state struct {
	Since    time.Time      `json:"since"`
	Programs []message.Hash `json:"programs"` // those that get events; what they ask for is in their messages
}

// load reads the state. Without it the node runs as well: the next plan says which programs are to be looked at.
func (t *Trigger) load() {
	raw, err := os.ReadFile(t.cfg.File)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var s state
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		t.cfg.Log.Error("registrations of programs are lost until the next allocation", "file", t.cfg.File, "error", err)
		return
	}
	t.since = s.Since
	for _, hash := range s.Programs {
		t.allotted[hash] = false
	}
	t.wake()
}

// save writes the state as it is, all or nothing. Programs that were not looked at yet stay in it.
func (t *Trigger) save() error {
	t.saving.Lock()
	defer t.saving.Unlock()
	t.mu.Lock()
	s := state{Since: t.since, Programs: slices.Sorted(maps.Keys(t.programs))}
	for hash, plain := range t.allotted {
		if !plain && t.programs[hash] == nil {
			s.Programs = append(s.Programs, hash)
		}
	}
	t.mu.Unlock()
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(t.cfg.File), ".triggers-*")
	if err != nil {
		return fmt.Errorf("save registrations of programs: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("save registrations of programs: %w", err)
	}
	return os.Rename(f.Name(), t.cfg.File)
}
