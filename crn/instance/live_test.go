package instance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/message"
)

// memory answers the question for an instance's memory: bytes come as they are sent, and who closes the body is gone. l.mu is held.
func (l *road) memory(r *http.Request, hash message.Hash) *http.Response {
	var token string
	if _, err := fmt.Fscanf(r.Body, `{"token":%q}`, &token); err != nil {
		return &http.Response{StatusCode: http.StatusBadRequest, Body: http.NoBody}
	}
	ctx, cancel := context.WithCancel(context.Background())
	body, line := net.Pipe()
	pool := l.to.Pool
	go func() {
		_ = pool.SendMemory(ctx, hash, token, line)
		line.Close()
	}()
	return &http.Response{StatusCode: http.StatusOK, Body: hanging{body, cancel}}
}

// hanging is a body whose end is noticed on the other side.
type hanging struct {
	io.ReadCloser
	hangUp func()
}

func (h hanging) Close() error {
	h.hangUp()
	return h.ReadCloser.Close()
}

// live has an instance fetched ahead and move with its memory, where it can, and waits until nothing goes on any more.
func live(t *testing.T, from, to *rig, hash message.Hash) {
	t.Helper()
	o, err := from.Offer(hash)
	if err != nil {
		t.Fatal(err)
	}
	err = to.FetchAhead(t.Context(), hash, instance.Arrival{Source: "http://from.test", Token: o.Token, Files: o.Files, Parent: o.Parent, Live: o.Live})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// goesOnAlone checks that an instance runs on one of two nodes and on that alone. memory is what its guest knows: of one that started
// again, another boot.
func goesOnAlone(t *testing.T, hash message.Hash, here, there *rig, memory string) {
	t.Helper()
	if !here.info(hash).Running || here.driver.knows(hash) != memory {
		t.Errorf("it does not go on: %+v, and knows %q", here.info(hash), here.driver.knows(hash))
	}
	if there.driver.machine(hash) != nil || there.Has(hash) {
		t.Error("the other node has it as well")
	}
}

// told checks that the owner of an instance finds something in its log.
func (r *rig) told(hash message.Hash, what string) {
	r.t.Helper()
	lines, file, err := r.Logs(hash)
	if err != nil {
		r.t.Fatal(err)
	}
	defer file.Close()
	for line := range lines {
		if strings.Contains(line.Text, what) {
			return
		}
	}
	r.t.Errorf("its log does not say %q", what)
}

func TestAnInstanceMovesWithItsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, _, hash := newMove(t)
		defer func() { from.stop(); to.stop() }()
		from.driver.machine(hash).memory = "a process"
		// What its guest writes while its memory travels.
		from.driver.passes = func() error {
			spec := from.driver.specs[0]
			from.guestWrites(spec.Drives[0].Path, 3<<20, "late")
			from.guestWrites(spec.Root, 5<<20, "longer than it was")
			if a, err := to.Ahead(hash); err != nil || a.Done {
				t.Errorf("its scheduler takes it for cold: %+v, %v", a, err)
			}
			return nil
		}
		live(t, from, to, hash)
		goesOnAlone(t, hash, to, from, "a process")
		to.keptThere()
		spec := to.driver.specs[0]
		if raw, err := os.ReadFile(spec.Drives[0].Path); err != nil || len(raw) != 8<<20 || string(raw[3<<20:3<<20+4]) != "late" {
			t.Errorf("what was written last is lost: %d bytes, %v", len(raw), err)
		}
		for i, path := range []string{spec.Seed, spec.Root} {
			before, err := os.ReadFile([]string{from.driver.specs[0].Seed, from.driver.specs[0].Root}[i])
			after, err2 := os.ReadFile(path)
			if string(before) != string(after) || errors.Join(err, err2) != nil {
				t.Errorf("%s is another one: %v, %v", filepath.Base(path), err, err2)
			}
		}
		to.told(hash, "moved here with its memory")
		to.told(hash, "set forward by 3s")
		if a, err := to.Arrived(hash); err != nil || !a.Here {
			t.Errorf("got %+v, %v", a, err)
		}
		if left, _ := filepath.Glob(filepath.Join(to.dir, "disks", "*", "*.ahead")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if _, err := to.Ahead(hash); !errors.Is(err, instance.ErrUnknown) {
			t.Errorf("it is fetched ahead still: %v", err)
		}
		// The plan has it there, and the node that it left clears up.
		if o := to.Allocate(t.Context(), []message.Hash{hash}); len(o.Errors) > 0 || to.driver.count() != 1 {
			t.Errorf("the plan starts it again: %v", o.Errors)
		}
		if o := from.Allocate(t.Context(), []message.Hash{hash}); !errors.Is(o.Errors[hash], instance.ErrMoving) {
			t.Errorf("the old node: %v", o.Errors)
		}
		if err := from.Forget(t.Context(), hash); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(filepath.Join(from.dir, "disks/*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		// Its guest keeps its addresses until it starts anew.
		inside := func() (kept bool) {
			to.guests.mu.Lock()
			defer to.guests.mu.Unlock()
			return len(to.guests.last) == 1 && to.guests.last[0].Inside != nil
		}
		if !inside() {
			t.Error("its guest has lost its addresses")
		}
		to.stop()
		to.begin()
		goesOnAlone(t, hash, to, from, "a process")
		if _, err := to.Reboot(t.Context(), hash); err != nil || inside() {
			t.Errorf("after a reboot it keeps addresses of another node, %v", err)
		}
		if err := to.Erase(t.Context(), hash); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(filepath.Join(to.dir, "disks/*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestWhatCannotMoveWithItsMemoryMovesWithoutIt(t *testing.T) {
	for name, test := range map[string]struct {
		change func(from, to *rig, hash message.Hash)
		want   string
	}{
		"another QEMU":         {func(_, to *rig, _ message.Hash) { to.driver.form = "another form" }, "another form"},
		"memory does not come": {func(from, _ *rig, _ message.Hash) { from.driver.passes = func() error { return errors.New("stuck") } }, "EOF"},
		"memory is not taken": {func(_, to *rig, _ message.Hash) {
			to.driver.passes = func() error { return errors.New("not understood") }
		}, "not understood"},
		"a machine cannot start": {func(_, to *rig, _ message.Hash) { to.driver.refuse(errors.New("no QEMU")) }, "no QEMU"},
		"a volume that changes": {func(from, _ *rig, hash message.Hash) {
			m := from.net.instances[hash]
			m.Volumes = append(m.Volumes, message.Volume{Kind: message.VolumeImmutable, Ref: hash, UseLatest: true})
		}, "newest version"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to, _, hash := newMove(t)
				defer func() { from.stop(); to.stop() }()
				from.driver.machine(hash).memory = "a process"
				test.change(from, to, hash)
				live(t, from, to, hash)
				a, err := to.Ahead(hash)
				if err != nil || !a.Done || a.Cold == nil || !strings.Contains(a.Cold.Error(), test.want) {
					t.Fatalf("got %+v, %v", a, err)
				}
				goesOnAlone(t, hash, from, to, "a process")
				to.driver.refuse(nil)
				if err := to.Expect(t.Context(), hash); err != nil {
					t.Errorf("it cannot come without: %v", err)
				}
				if ahead, _ := filepath.Glob(filepath.Join(to.dir, "disks", "*", "*.ahead")); len(ahead) < 3 {
					t.Errorf("of what came ahead there is %v", ahead)
				}
				if _, err := to.Arrive(t.Context(), hash, from.ready(hash)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if !to.info(hash).Running || from.Has(hash) {
					t.Fatal("it did not move")
				}
				to.keptThere()
				to.told(hash, "without its memory")
				to.told(hash, test.want)
			})
		})
	}
}

// Whatever breaks, and whichever node ends at whichever request, one node has the instance, with what its guest wrote last. Where the
// guest does not go on with its memory, it has started again from its disks.
func TestOneNodeHasAnInstanceWhateverBreaksOnItsWay(t *testing.T) {
	steps := 1
	for _, kind := range []string{"nothing breaks", "not heard", "answer lost", "target restarted", "source restarted"} {
		for at := 0; at < steps; at++ {
			if kind == "nothing breaks" && at > 0 {
				break
			}
			t.Run(fmt.Sprintf("%s at %d", kind, at), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					from, to, l, hash := newMove(t)
					defer func() { from.stop(); to.stop() }()
					from.driver.machine(hash).memory = "a process"
					broken := make(chan bool, 1)
					cut := func(n int) error {
						if n != at || kind == "nothing breaks" {
							return nil
						}
						broken <- true
						return errors.New("the line is cut")
					}
					if kind == "not heard" {
						l.before = cut
					} else {
						l.after = cut
					}
					from.driver.passes = func() error {
						from.guestWrites(from.driver.specs[0].Drives[0].Path, 2<<20, "late")
						return nil
					}
					o, err := from.Offer(hash)
					if err != nil {
						t.Fatal(err)
					}
					a := instance.Arrival{Source: "http://from.test", Token: o.Token, Files: o.Files, Parent: o.Parent, Live: o.Live}
					if err := to.FetchAhead(t.Context(), hash, a); err != nil {
						t.Fatal(err)
					}
					switch kind {
					case "target restarted":
						<-broken
						to.stop()
						to.begin()
					case "source restarted":
						<-broken
						l.mu.Lock()
						from.stop()
						from.begin()
						l.mu.Unlock()
					}
					time.Sleep(time.Minute)
					synctest.Wait()
					here, there := from, to
					if to.Has(hash) {
						here, there = to, from
					}
					memory := here.driver.knows(hash)
					goesOnAlone(t, hash, here, there, memory)
					if memory != "a process" {
						t.Errorf("its guest knows %q", memory)
					}
					spec := here.driver.specs[len(here.driver.specs)-1]
					if raw, err := os.ReadFile(spec.Drives[0].Path); err != nil || from.driver.machine(hash) == nil && string(raw[2<<20:2<<20+4]) != "late" {
						t.Errorf("what was written last is lost, %v", err)
					}
					here.keptThere()
					if kind == "nothing breaks" {
						if steps = l.n; here != to {
							t.Error("it did not move")
						}
					}
				})
			})
		}
	}
	if steps < 10 {
		t.Errorf("a move took only %d requests", steps)
	}
}

// While its guest stands still, what happens to an instance at home comes first: it is not given away any more.
func TestWhatHappensAtHomeComesBeforeAMove(t *testing.T) {
	for name, test := range map[string]struct {
		happens func(from *rig, hash message.Hash) error
		memory  string // that its guest knows then; "" when it does not run
	}{
		"its machine is killed": {func(from *rig, hash message.Hash) error {
			from.driver.machine(hash).end(false)
			time.Sleep(time.Minute)
			return nil
		}, "boot 2"},
		"its owner stops it": {func(from *rig, hash message.Hash) error {
			_, err := from.Stop(context.Background(), hash)
			return err
		}, ""},
		"its owner has it start again": {func(from *rig, hash message.Hash) error {
			_, err := from.Reboot(context.Background(), hash)
			return err
		}, "boot 2"},
		"the plan has it stay": {func(from *rig, hash message.Hash) error {
			return from.Allocate(context.Background(), []message.Hash{hash}).Errors[hash]
		}, "a process"},
		"it is offered anew": {func(from *rig, hash message.Hash) error {
			_, err := from.Offer(hash)
			return err
		}, "moved"},
		"its disks are to be copied": {func(from *rig, hash message.Hash) error {
			if err := from.Copy(context.Background(), hash, nil, from.dir, false); !errors.Is(err, instance.ErrBusy) {
				return fmt.Errorf("they are: %w", err)
			}
			return nil
		}, "moved"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to, l, hash := newMove(t)
				defer func() { from.stop(); to.stop() }()
				from.driver.machine(hash).memory = "a process"
				stands := false
				from.driver.passes = func() error { stands = true; return nil }
				l.before = func(int) error {
					if !stands {
						return nil
					}
					stands = false
					return test.happens(from, hash)
				}
				live(t, from, to, hash)
				time.Sleep(5 * time.Minute)
				if test.memory == "moved" {
					goesOnAlone(t, hash, to, from, "a process")
					return
				}
				if to.Has(hash) || to.driver.machine(hash) != nil {
					t.Error("it was given away")
				}
				if from.driver.knows(hash) != test.memory {
					t.Errorf("its guest knows %q, want %q", from.driver.knows(hash), test.memory)
				}
				from.keptThere()
			})
		})
	}
}

// taken is a line whose other side takes all.
type taken struct{ bytes.Buffer }

func (*taken) SetWriteDeadline(time.Time) error { return nil }

func TestMemoryIsSentToWhoHasTheTokenAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, _, hash := newMove(t)
		defer func() { from.stop(); to.stop() }()
		o, err := from.Offer(hash)
		if err != nil {
			t.Fatal(err)
		}
		sent := &taken{}
		for _, token := range []string{"", "x"} {
			if err := from.SendMemory(t.Context(), hash, token, sent); !errors.Is(err, instance.ErrUnknown) || sent.Len() > 0 {
				t.Errorf("to who says %q: %v, %d bytes", token, err, sent.Len())
			}
		}
		// One at a time.
		first, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- from.SendMemory(first, hash, o.Token, &taken{}) }()
		synctest.Wait()
		if err := from.SendMemory(t.Context(), hash, o.Token, sent); !errors.Is(err, instance.ErrUnknown) || sent.Len() > 0 {
			t.Errorf("a second time: %v, %d bytes", err, sent.Len())
		}
		again, err := from.Offer(hash)
		if err != nil {
			t.Fatal(err)
		}
		if err := from.SendMemory(t.Context(), hash, again.Token, sent); !errors.Is(err, instance.ErrBusy) || sent.Len() > 0 {
			t.Errorf("with another token: %v, %d bytes", err, sent.Len())
		}
		if from.driver.knows(hash) != "" {
			t.Error("its guest does not stand still")
		}
		for _, wrong := range []struct{ token, claim string }{{"", "mine"}, {o.Token + "x", "mine"}, {o.Token, ""}} {
			if err := from.HandOver(hash, wrong.token, wrong.claim); !errors.Is(err, instance.ErrMoving) {
				t.Errorf("%+v: %v", wrong, err)
			}
		}
		cancel()
		if err := <-done; err == nil || from.driver.knows(hash) == "" {
			t.Errorf("who asked is gone, and its guest stands still: %v", err)
		}
		if err := from.SendMemory(t.Context(), hash, o.Token, sent); !errors.Is(err, instance.ErrUnknown) || sent.Len() > 0 {
			t.Errorf("with a token that was used: %v, %d bytes", err, sent.Len())
		}
		// Not for ever.
		if err := from.SendMemory(t.Context(), hash, again.Token, sent); err == nil || sent.Len() == 0 || from.driver.knows(hash) == "" {
			t.Errorf("nobody asks for it, and its guest stands still: %v", err)
		}
		if err := from.HandOver(hash, again.Token, "mine"); !errors.Is(err, instance.ErrMoving) {
			t.Errorf("it is given away while its guest goes on: %v", err)
		}
		for name, at := range map[string]string{"a number of no node": "slot", "no pool": "pool"} {
			a := instance.Arrival{Source: "http://from.test", Token: o.Token, Files: o.Files, Parent: o.Parent, Live: new(*o.Live)}
			if at == "slot" {
				a.Live.Kept.Slot = 70000
			} else {
				a.Live.Kept.Pool = netip.MustParsePrefix("ff02::/64")
			}
			if err := to.FetchAhead(t.Context(), hash, a); !errors.Is(err, instance.ErrUnsupported) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
