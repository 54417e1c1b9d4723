package trigger_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/trigger"
	"github.com/aleph-im/aleph-go/message"
)

const owner = "0xowner"

// rig is a fake node: a stream of messages, programs that are looked up, and workloads that only note what is asked of them.
type rig struct {
	*trigger.Trigger
	file     string
	registry *prometheus.Registry
	messages chan *client.StoredMessage
	from     time.Time // what Follow was asked from

	mu        sync.Mutex
	programs  map[message.Hash]*message.Program
	offline   bool
	uses      map[message.Hash][]execution.Use
	held      map[message.Hash]bool
	renewed   []message.Hash
	removed   []message.Hash
	forgotten []message.Hash
	portsOf   []string // owners whose ports changed
	delivered []execution.Event
	busy      chan struct{} // a delivery waits until it is closed
	refuse    error

	end  context.CancelFunc
	done chan error
}

func newRig(t *testing.T) *rig {
	return &rig{
		file: filepath.Join(t.TempDir(), "triggers.json"), programs: map[message.Hash]*message.Program{},
		uses: map[message.Hash][]execution.Use{}, held: map[message.Hash]bool{},
	}
}

// run starts the triggers; stop ends them.
func (r *rig) run() {
	r.registry, r.messages, r.done = prometheus.NewRegistry(), make(chan *client.StoredMessage), make(chan error, 1)
	r.Trigger = trigger.New(trigger.Config{
		Follow: r.follow, Network: r, Workloads: r, File: r.file, Metrics: r.registry,
		Forgotten:    func(hash message.Hash) { r.note(&r.forgotten, hash) },
		PortsChanged: func(owner string) { r.portsOf = append(r.portsOf, owner) },
	})
	var ctx context.Context
	ctx, r.end = context.WithCancel(context.Background())
	go func() { r.done <- r.Run(ctx) }()
	synctest.Wait()
}

func (r *rig) stop(t *testing.T) {
	t.Helper()
	r.end()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

func (r *rig) follow(ctx context.Context, since time.Time) iter.Seq2[*client.StoredMessage, error] {
	r.from = since
	return func(yield func(*client.StoredMessage, error) bool) {
		if !yield(nil, errors.New("the first connection fails")) {
			return
		}
		for {
			select {
			case m := <-r.messages:
				if !yield(m, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// send hands a message to the triggers and waits until they have done what they do about it.
func (r *rig) send(kind message.Type, name string, content map[string]any) message.Hash {
	raw, _ := json.Marshal(content)
	hash := message.HashBytes([]byte(name))
	r.messages <- &client.StoredMessage{
		Sender: owner, Chain: "ETH", Type: kind, ItemType: message.ItemInline, ItemHash: hash, Content: raw,
		Time: message.TimeFrom(time.Now().Add(-time.Second)).Seconds(),
	}
	synctest.Wait()
	return hash
}

func (r *rig) note(list *[]message.Hash, hash message.Hash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*list = append(*list, hash)
}

// setOffline makes the core node unreachable, or reachable again.
func (r *rig) setOffline(offline bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offline = offline
}

func (r *rig) Program(_ context.Context, hash message.Hash) (*message.Program, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.offline {
		return nil, corenode.ErrUnavailable
	}
	if p := r.programs[hash]; p != nil {
		return p, nil
	}
	return nil, corenode.ErrNotFound
}

func (r *rig) Renew(outdated func(message.Hash, []execution.Use) bool) (list []message.Hash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for hash, uses := range r.uses {
		if outdated(hash, uses) {
			list = append(list, hash)
		}
	}
	r.renewed = append(r.renewed, list...)
	return list
}

func (r *rig) Holds(hash message.Hash) bool { return r.held[hash] }

func (r *rig) Remove(_ context.Context, hash message.Hash) error {
	r.note(&r.removed, hash)
	return nil
}

func (r *rig) Deliver(_ context.Context, _ message.Hash, e execution.Event) error {
	r.mu.Lock()
	busy, refuse := r.busy, r.refuse
	r.delivered = append(r.delivered, e)
	r.mu.Unlock()
	if busy != nil {
		<-busy
	}
	return refuse
}

// program adds one with the given subscriptions and schedule.
func (r *rig) program(name, schedule string, subscriptions ...string) message.Hash {
	p := &message.Program{}
	p.Address = owner
	p.AllowAmend = true
	p.Variables = map[string]string{trigger.ScheduleVariable: schedule}
	for _, s := range subscriptions {
		p.On.Message = append(p.On.Message, json.RawMessage(s))
	}
	hash := message.HashBytes([]byte(name))
	r.programs[hash] = p
	return hash
}

func (r *rig) plan(hashes ...message.Hash) {
	r.Planned(execution.Plan{OnDemand: hashes})
	synctest.Wait()
}

// take returns the events since the last call.
func (r *rig) take() []execution.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.delivered
	r.delivered = nil
	return list
}

// events returns the count of events with an outcome.
func (r *rig) events(t *testing.T, kind, outcome string) (n float64) {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == kind && m.GetLabel()[1].GetValue() == outcome {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

func TestNewVersionsOfFilesRenewProgramsThatFollowThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		defer r.stop(t)
		code, runtime := message.HashBytes([]byte("code")), message.HashBytes([]byte("runtime"))
		r.uses["follows"] = []execution.Use{{Ref: runtime, Owner: "0xother"}, {Ref: code, Latest: true, Resolved: code, Owner: owner}}
		r.uses["pinned"] = []execution.Use{{Ref: code, Resolved: code, Owner: owner}}
		r.uses["looks up"] = []execution.Use{{Ref: code, Latest: true}}
		r.uses["has it"] = []execution.Use{{Ref: code, Latest: true, Resolved: message.HashBytes([]byte("amend")), Owner: owner}}

		r.send(message.TypeStore, "stranger", map[string]any{"address": "0xstranger", "ref": code})
		if slices.Contains(r.renewed, "follows") {
			t.Errorf("a stranger's message renews %v", r.renewed)
		}
		r.renewed = nil
		r.send(message.TypeStore, "elsewhere", map[string]any{"address": owner, "ref": "other"})
		r.send(message.TypeStore, "none", map[string]any{"address": owner})
		if len(r.renewed) > 0 {
			t.Errorf("other files renew %v", r.renewed)
		}
		r.send(message.TypeStore, "amend", map[string]any{"address": owner, "ref": code})
		slices.Sort(r.renewed)
		if !slices.Equal(r.renewed, []message.Hash{"follows", "looks up"}) {
			t.Errorf("renewed %v", r.renewed)
		}

		r.renewed = nil
		r.send(message.TypeForget, "forget by a stranger", map[string]any{"address": "0xstranger", "hashes": []message.Hash{message.HashBytes([]byte("amend"))}})
		r.send(message.TypeForget, "forget", map[string]any{"address": owner, "hashes": []message.Hash{message.HashBytes([]byte("amend"))}})
		if !slices.Equal(r.renewed, []message.Hash{"has it"}) {
			t.Errorf("a forgotten version renews %v", r.renewed)
		}
	})
}

func TestOwnersWhoWantOtherPortsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		defer r.stop(t)
		for _, key := range []string{"profile", "port-forwarding"} {
			r.send(message.TypeAggregate, key, map[string]any{"address": owner, "key": key, "content": map[string]any{}})
		}
		if !slices.Equal(r.portsOf, []string{owner}) {
			t.Errorf("told of %v", r.portsOf)
		}
	})
}

func TestForgottenProgramsAreRemovedAndReplacedOnesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		defer r.stop(t)
		mine, gone, absent := r.program("mine", ""), message.HashBytes([]byte("gone")), r.program("absent", "")
		r.held[mine], r.held[gone] = true, true
		r.uses[mine], r.uses[gone] = nil, nil

		r.send(message.TypeForget, "by a stranger", map[string]any{"address": "0xstranger", "hashes": []message.Hash{mine}})
		if len(r.removed) > 0 {
			t.Fatalf("a stranger removes %v", r.removed)
		}
		r.send(message.TypeForget, "by a delegate", map[string]any{"address": "0xdelegate", "hashes": []message.Hash{gone, absent}})
		r.send(message.TypeForget, "by the owner", map[string]any{"address": owner, "hashes": []message.Hash{mine}})
		if want := []message.Hash{gone, mine}; !slices.Equal(r.removed, want) || !slices.Equal(r.forgotten, want) {
			t.Errorf("removed %v, told of %v", r.removed, r.forgotten)
		}

		r.send(message.TypeProgram, "a stranger's version", map[string]any{"address": "0xstranger", "replaces": mine})
		if len(r.renewed) > 0 {
			t.Errorf("a stranger's version ends %v", r.renewed)
		}
		r.send(message.TypeProgram, "version", map[string]any{"address": owner, "replaces": mine})
		if !slices.Equal(r.renewed, []message.Hash{mine}) {
			t.Errorf("a version ends %v", r.renewed)
		}
	})
}

func TestSubscribersGetTheMessagesThatTheyAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		defer r.stop(t)
		hash := r.program("a", "", `{"type":"POST","content":{"type":"order"}}`, `{"sender":"0xnobody"}`)
		r.program("not allotted", "", `{}`)
		post := func(name, kind string) message.Hash {
			return r.send(message.TypePost, name, map[string]any{"address": owner, "type": kind, "content": map[string]any{"n": 12345678901234567}})
		}
		post("before", "order")
		if got := r.take(); len(got) > 0 {
			t.Errorf("before the plan: %v", got)
		}
		r.plan(hash)
		post("other", "note")
		first := post("order", "order")
		got := r.take()
		if len(got) != 1 || got[0].Kind != execution.EventMessage || got[0].ID != string(first) || !strings.Contains(string(got[0].Body), `"n":12345678901234567`) {
			t.Fatalf("got %+v", got)
		}
		var whole struct {
			Sender   string
			ItemHash message.Hash `json:"item_hash"`
		}
		if err := json.Unmarshal(got[0].Body, &whole); err != nil || whole.Sender != owner || whole.ItemHash != first {
			t.Errorf("body %s, %v", got[0].Body, err)
		}
		r.refuse = errors.New("as the test wants")
		post("again", "order")
		if done, failed := r.events(t, execution.EventMessage, "done"), r.events(t, execution.EventMessage, "failed"); done != 1 || failed != 1 {
			t.Errorf("%v done, %v failed", done, failed)
		}
		r.take()
		r.plan()
		post("late", "order")
		if got := r.take(); len(got) > 0 {
			t.Errorf("after the plan left it out: %v", got)
		}
	})
}

func TestRegistrationsAndThePlaceInTheStreamOutliveTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		begin := time.Now()
		if !r.from.Equal(begin) {
			t.Errorf("a new node asks from %v", r.from)
		}
		hash, plain := r.program("a", "", `{}`), r.program("plain", "")
		r.plan(hash, plain)
		time.Sleep(time.Hour)
		r.send(message.TypePost, "seen", nil)
		seen := time.Now().Add(-time.Second) // the message's time
		r.stop(t)
		r.take()

		time.Sleep(time.Hour)
		r.setOffline(true)
		r.run()
		if want := seen.Add(time.Microsecond); !r.from.Equal(want) {
			t.Errorf("asks from %v, want %v", r.from, want)
		}
		r.setOffline(false)
		time.Sleep(time.Minute) // until it looks again
		synctest.Wait()
		r.send(message.TypePost, "new", nil)
		if got := r.take(); len(got) != 1 {
			t.Errorf("got %v", got)
		}
		r.held[hash] = true
		r.send(message.TypeForget, "forget", map[string]any{"address": owner, "hashes": []message.Hash{hash}})
		r.take()
		r.messages <- &client.StoredMessage{Type: message.TypePost, ItemType: message.ItemInline, ItemHash: "of the future", Time: 9e9}
		synctest.Wait()
		if got := r.take(); len(got) > 0 {
			t.Errorf("a forgotten program gets %v", got)
		}
		future := time.Now()
		r.stop(t)
		r.run()
		if r.from.After(future.Add(time.Microsecond)) {
			t.Errorf("a message of the future takes the place to %v", r.from)
		}
		r.stop(t)

		time.Sleep(7 * 24 * time.Hour)
		r.run()
		defer r.stop(t)
		if gap := time.Since(r.from); gap != 24*time.Hour {
			t.Errorf("after a week it asks for %v", gap)
		}
	})
}

func TestASlowProgramKeepsABoundedQueueAndHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		defer r.stop(t)
		slow := r.program("slow", "", `{"type":"POST"}`)
		r.plan(slow)
		r.busy = make(chan struct{})
		for range 400 {
			r.send(message.TypePost, "x", nil)
		}
		if n := len(r.take()); n != 1 {
			t.Errorf("%d events in the hands of one program", n)
		}
		if dropped := r.events(t, execution.EventMessage, "dropped"); dropped != 400-1-256 {
			t.Errorf("%v dropped", dropped)
		}
		close(r.busy)
		synctest.Wait()
		if done := r.events(t, execution.EventMessage, "done"); done != 257 {
			t.Errorf("%v done", done)
		}
	})
}

func TestScheduledProgramsAreCalledAtTheMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock starts at 2000-01-01 00:00 UTC, a Saturday
		r := newRig(t)
		r.run()
		hash := r.program("a", "*/20 * * * *; 30 1 * * 6")
		r.plan(hash, r.program("wrong", "every day"))
		time.Sleep(2*time.Hour + time.Second)
		synctest.Wait()
		var minutes []string
		for _, e := range r.take() {
			if e.Kind != execution.EventCron || !strings.Contains(string(e.Body), e.ID) {
				t.Errorf("event %+v", e)
			}
			minutes = append(minutes, e.ID[11:16])
		}
		if want := []string{"00:20", "00:40", "01:00", "01:20", "01:30", "01:40", "02:00"}; !slices.Equal(minutes, want) {
			t.Errorf("called at %v", minutes)
		}
		r.stop(t)
		time.Sleep(24 * time.Hour)
		r.run()
		defer r.stop(t)
		if got := r.take(); len(got) > 0 {
			t.Errorf("missed ones are made up for: %v", got)
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if got := r.take(); len(got) != 1 {
			t.Errorf("after a restart: %v", got)
		}
	})
}
