package instance_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/message"
)

// road leads from one pool to another, without a network. before and after may break it, at the nth request: the one keeps the
// request from arriving, the other its answer.
type road struct {
	mu            sync.Mutex // held while the pool at its end is used, or replaced
	to            *rig
	n             int
	before, after func(n int) error
	short         int      // number of the request whose answer breaks off in its middle, unless 0
	ranges        []string // that were asked for
}

func (l *road) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.n
	l.n++
	l.ranges = append(l.ranges, r.Header.Get("Range"))
	if l.before != nil {
		if err := l.before(n); err != nil {
			return nil, err
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /control/machine/{ref}/migration/disk/{name}", func(w http.ResponseWriter, r *http.Request) {
		f, err := l.to.Disk(message.Hash(r.PathValue("ref")), r.PathValue("name"), r.URL.Query().Get("token"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		defer f.Close()
		http.ServeContent(w, r, "", time.Time{}, f)
	})
	mux.HandleFunc("GET /control/machine/{ref}/migration/pieces/{name}", func(w http.ResponseWriter, r *http.Request) {
		sums, err := l.to.Pieces(r.Context(), message.Hash(r.PathValue("ref")), r.PathValue("name"), r.URL.Query().Get("token"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		_, _ = w.Write(sums)
	})
	mux.HandleFunc("POST /control/machine/{ref}/migration/handover", func(w http.ResponseWriter, r *http.Request) {
		var order struct{ Token, Claim string }
		_, err := fmt.Fscanf(r.Body, `{"claim":%q,"token":%q}`, &order.Claim, &order.Token)
		if err == nil {
			err = l.to.HandOver(message.Hash(r.PathValue("ref")), order.Token, order.Claim)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	if hash, ok := strings.CutSuffix(r.URL.Path, "/migration/memory"); ok {
		response := l.memory(r, message.Hash(path.Base(hash)))
		if l.after != nil {
			if err := l.after(n); err != nil {
				response.Body.Close()
				return nil, err
			}
		}
		return response, nil
	}
	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, r)
	if l.after != nil {
		if err := l.after(n); err != nil {
			return nil, err
		}
	}
	if l.short == n && n > 0 {
		whole := answer.Body.Bytes()
		answer.Body = bytes.NewBuffer(whole[:len(whole)/2])
	}
	return answer.Result(), nil
}

// withVolume gives an instance a persistent volume.
func withVolume(m *message.Instance) {
	m.Volumes = []message.Volume{{Kind: message.VolumePersistent, Persistence: new("host"), Name: new("kept"), SizeMiB: 8}}
}

// newMove has an instance run on one pool, with a file on its volume and a mark in its root disk, and another pool beside it.
func newMove(t *testing.T) (from, to *rig, l *road, hash message.Hash) {
	t.Helper()
	from, to = newRig(t), newRig(t)
	hash = from.publish("a", withVolume)
	to.net.instances = from.net.instances
	l = &road{to: from}
	to.change = func(c *instance.Config) { c.HTTP = l }
	from.begin()
	to.begin()
	if o := from.Allocate(t.Context(), []message.Hash{hash}); len(o.Errors) > 0 {
		t.Fatal(o.Errors)
	}
	spec := from.driver.specs[0]
	for path, at := range map[string]int64{spec.Root: 1 << 20, spec.Drives[0].Path: 5 << 20} {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("precious"), at); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return from, to, l, hash
}

// ready has an instance leave and waits until it can be fetched.
func (r *rig) ready(hash message.Hash) instance.Arrival {
	r.t.Helper()
	if _, _, err := r.Leave(hash); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
	l, err := r.Left(hash)
	if err != nil || !l.Ready {
		r.t.Fatalf("got %+v, %v", l, err)
	}
	return instance.Arrival{Source: "http://from.test", Token: l.Token, Files: l.Files, Parent: l.Parent, Stopped: l.Stopped}
}

// keptThere checks that the disks of a machine that was started hold what was written to them.
func (r *rig) keptThere() {
	r.t.Helper()
	spec := r.driver.specs[len(r.driver.specs)-1]
	for path, at := range map[string]int64{spec.Root: 1 << 20, spec.Drives[0].Path: 5 << 20} {
		raw, err := os.ReadFile(path)
		if err != nil || int64(len(raw)) < at+8 || string(raw[at:at+8]) != "precious" {
			r.t.Errorf("%s has %d bytes and not what was written, %v", filepath.Base(path), len(raw), err)
		}
	}
}

func TestAnInstanceMovesWithItsDisks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, _, hash := newMove(t)
		defer func() { from.stop(); to.stop() }()
		a := from.ready(hash)
		if from.driver.machine(hash) != nil || from.Has(hash) {
			t.Error("it is still an instance of the node that it leaves")
		}
		if begun, err := to.Arrive(t.Context(), hash, a); err != nil || !begun {
			t.Fatalf("%v, %v", begun, err)
		}
		synctest.Wait()
		if !to.info(hash).Running {
			arriving, err := to.Arrived(hash)
			t.Fatalf("got %+v, %v", arriving, err)
		}
		to.keptThere()
		if _, err := to.Arrive(t.Context(), hash, a); !errors.Is(err, os.ErrExist) {
			t.Errorf("told twice: %v", err)
		}
		if o := to.Allocate(t.Context(), []message.Hash{hash}); len(o.Errors) > 0 || to.driver.count() != 1 {
			t.Errorf("the plan starts it again: %v", o.Errors)
		}
		// The node that it left does not start it, whoever asks.
		if o := from.Allocate(t.Context(), []message.Hash{hash}); !errors.Is(o.Errors[hash], instance.ErrMoving) {
			t.Errorf("the old node: %v", o.Errors)
		}
		if err := from.Start(t.Context(), hash); !errors.Is(err, instance.ErrMoving) {
			t.Errorf("the old node: %v", err)
		}
		if err := from.Forget(t.Context(), hash); err != nil {
			t.Error(err)
		}
		for _, pattern := range []string{"disks/*", "parents/*", "logs/*"} {
			if left, _ := filepath.Glob(filepath.Join(from.dir, pattern)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		}
	})
}

func TestAnInstanceThatIsToLeaveGoesOnUntilItIsFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, _, hash := newMove(t)
		defer func() { from.stop(); to.stop() }()
		other := message.HashBytes([]byte("unknown here"))
		stays := func(what string) {
			t.Helper()
			if o := from.Allocate(t.Context(), nil, hash, other); len(o.Errors) > 0 || len(o.Stopped) > 0 || !from.info(hash).Running || from.Has(other) {
				t.Errorf("%s: %+v", what, o)
			}
		}
		stays("it waits for its turn")
		from.stop()
		from.begin()
		stays("its node was started again")
		if err := to.Expect(t.Context(), hash); err != nil {
			t.Errorf("there is room for it: %v", err)
		}
		if _, err := to.Arrive(t.Context(), hash, from.ready(hash)); err != nil {
			t.Fatal(err)
		}
		if o := from.Allocate(t.Context(), nil, hash); len(o.Errors) > 0 || from.driver.machine(hash) != nil {
			t.Errorf("called off by a plan that has it leave: %v", o.Errors)
		}
		synctest.Wait()
		if !to.info(hash).Running || from.Has(hash) {
			t.Error("it did not move")
		}
		to.keptThere()
		if err := from.Expect(t.Context(), hash); !errors.Is(err, instance.ErrMoving) {
			t.Errorf("back before it is cleared away: %v", err)
		}
		if o := to.Allocate(t.Context(), []message.Hash{hash}); len(o.Errors) > 0 {
			t.Fatal(o.Errors)
		}
		if o := to.Allocate(t.Context(), nil); len(o.Stopped) != 1 {
			t.Errorf("what nobody has elsewhere is sent away: %+v", o)
		}
	})
}

func TestANodeWithoutRoomIsNotMovedTo(t *testing.T) {
	for name, change := range map[string]func(*message.Instance){
		"memory":            func(m *message.Instance) { m.Resources.MemoryMiB = 1 << 20 },
		"disk":              func(m *message.Instance) { m.Rootfs.SizeMiB = 1 << 40 },
		"not what it does":  func(m *message.Instance) { m.Environment.TrustedExecution = &message.TrustedExecution{} },
		"no such instance ": nil,
	} {
		r := newRig(t)
		hash := message.HashBytes([]byte("unknown"))
		if change != nil {
			hash = r.publish("a", change)
		}
		r.begin()
		if err := r.Expect(t.Context(), hash); err == nil {
			t.Errorf("%s: there is room", name)
		}
		r.stop()
	}
}

func TestWhatIsStoppedArrivesStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, _, hash := newMove(t)
		defer func() { from.stop(); to.stop() }()
		if _, err := from.Stop(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		if _, err := to.Arrive(t.Context(), hash, from.ready(hash)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if i := to.info(hash); !i.Stopped || to.driver.count() != 0 {
			t.Errorf("got %+v", i)
		}
		if err := to.Start(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		to.keptThere()
	})
}

// Whichever answer is lost, and whichever node ends and is started again in the middle of it, the instance ends
// up on the other node whole, and only there.
func TestAMoveComesToItsEndWhateverBreaks(t *testing.T) {
	lost := errors.New("the line is cut")
	steps := 0
	for _, kind := range []string{"nothing breaks", "answer lost", "target restarted", "source restarted"} {
		for at := 0; at == 0 || kind != "nothing breaks" && at < steps; at++ {
			t.Run(fmt.Sprintf("%s at %d", kind, at), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					from, to, l, hash := newMove(t)
					defer func() { from.stop(); to.stop() }()
					broken := make(chan bool, 1)
					l.after = func(n int) error {
						if n != at || kind == "nothing breaks" {
							return nil
						}
						broken <- true
						return lost
					}
					a := from.ready(hash)
					if _, err := to.Arrive(t.Context(), hash, a); err != nil {
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
					if !to.info(hash).Running || from.Has(hash) || from.driver.machine(hash) != nil {
						arriving, err := to.Arrived(hash)
						t.Fatalf("got %+v, %v; the source has it: %v", arriving, err, from.Has(hash))
					}
					to.keptThere()
					if o := from.Allocate(t.Context(), []message.Hash{hash}); !errors.Is(o.Errors[hash], instance.ErrMoving) {
						t.Errorf("the old node: %v", o.Errors)
					}
					if kind == "nothing breaks" {
						steps = l.n
					}
				})
			})
		}
	}
	if steps < 4 {
		t.Errorf("a move took only %d requests", steps)
	}
}

func TestATransferThatBreaksOffGoesOnFromThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, l, hash := newMove(t)
		defer func() { from.stop(); to.stop() }()
		a := from.ready(hash)
		l.short = len(a.Files[0].Extents) + 1 // the image under the root disk, in one part
		if _, err := to.Arrive(t.Context(), hash, a); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if !to.info(hash).Running {
			t.Fatal("it did not come")
		}
		to.keptThere()
		var begin, end int64
		if _, err := fmt.Sscanf(l.ranges[l.short], "bytes=%d-%d", &begin, &end); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("bytes=%d-%d", begin+(end-begin+1)/2, end); !slices.Contains(l.ranges, want) {
			t.Errorf("%s is not among %q", want, l.ranges)
		}
		for i, r := range l.ranges {
			if r != "" && slices.Contains(l.ranges[:i], r) && i > l.short+1 {
				t.Errorf("%s was asked for twice", r)
			}
		}
	})
}

func TestAnInstanceThatIsWantedAgainStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, l, hash := newMove(t)
		defer func() { from.stop(); to.stop() }()
		l.before = func(n int) error {
			if n >= 2 && l.n < 6 { // in the middle of the transfer
				return errors.New("the line is cut")
			}
			return nil
		}
		if _, err := to.Arrive(t.Context(), hash, from.ready(hash)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if o := from.Allocate(t.Context(), []message.Hash{hash}); len(o.Errors) > 0 || !from.info(hash).Running {
			t.Fatalf("got %v", o.Errors)
		}
		from.keptThere()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if _, err := to.Arrived(hash); !errors.Is(err, instance.ErrUnknown) || to.driver.count() > 0 {
			t.Errorf("the other node has it as well: %v", err)
		}
		if left, _ := filepath.Glob(filepath.Join(to.dir, "disks", "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// The scheduler allocates what is on its way only when it counts on its source no more.
func TestAnInstanceWhoseSourceIsGoneRunsWithWhatCame(t *testing.T) {
	for _, test := range []struct {
		name   string
		until  int // the first request that is not answered any more
		having bool
	}{{"with some of its disks", 2, false}, {"with all of them, before the handover", 4, true}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to, l, hash := newMove(t)
				defer func() { from.stop(); to.stop() }()
				l.before = func(n int) error {
					if n >= test.until {
						return errors.New("nobody is there")
					}
					return nil
				}
				if _, err := to.Arrive(t.Context(), hash, from.ready(hash)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				if to.driver.count() > 0 {
					t.Fatal("it runs without its disks")
				}
				if o := to.Allocate(t.Context(), []message.Hash{hash}); len(o.Errors) > 0 || !to.info(hash).Running {
					t.Fatalf("got %v", o.Errors)
				}
				spec := to.driver.specs[0]
				raw, err := os.ReadFile(spec.Drives[0].Path)
				if err != nil || len(raw) != 8<<20 || string(raw[5<<20:5<<20+8]) == "precious" != test.having {
					t.Errorf("its volume has %d bytes, %v", len(raw), err)
				}
				if _, err := os.Stat(spec.Backing); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestOneNodeAloneIsHandedAnInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, _, hash := newMove(t)
		defer func() { from.stop(); to.stop() }()
		a := from.ready(hash)
		for _, wrong := range []struct{ token, claim string }{{"", "mine"}, {a.Token + "x", "mine"}, {a.Token, ""}} {
			if err := from.HandOver(hash, wrong.token, wrong.claim); !errors.Is(err, instance.ErrMoving) {
				t.Errorf("%+v: %v", wrong, err)
			}
		}
		if err := from.Forget(t.Context(), hash); !errors.Is(err, instance.ErrMoving) {
			t.Errorf("its disks were removed before anybody had them: %v", err)
		}
		if err := from.HandOver(hash, a.Token, "first"); err != nil {
			t.Fatal(err)
		}
		if err := from.HandOver(hash, a.Token, "first"); err != nil {
			t.Errorf("the same node asks again: %v", err)
		}
		if _, err := to.Arrive(t.Context(), hash, a); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err := to.Arrived(hash); !errors.Is(err, instance.ErrUnknown) || to.driver.count() > 0 {
			t.Errorf("a second node has it: %v", err)
		}
		for name, token := range map[string]string{"rootfs.qcow2": "x", "seed.iso": a.Token, "../../records.db": a.Token} {
			if f, err := from.Disk(hash, name, token); err == nil {
				f.Close()
				t.Errorf("%s was given to who says %q", name, token)
			}
		}
	})
}

func TestOnlyDisksOfTheInstanceArrive(t *testing.T) {
	r := newRig(t)
	hash := r.publish("a", nil)
	r.begin()
	defer func() { r.stop() }()
	sum := string(message.HashBytes([]byte("x")))
	for name, files := range map[string][]instance.MovedFile{
		"a path out of its folder": {{Name: "../../records.db", Size: 1, SHA256: sum}},
		"a volume that it has not": {{Name: "data.other", Size: 1, SHA256: sum}},
		"a disk that is too long":  {{Name: "rootfs.qcow2", Size: 1 << 40, SHA256: sum}, {Name: "parent", Size: 1, SHA256: sum}},
		"a length below nothing":   {{Name: "rootfs.qcow2", Size: -1, SHA256: sum}, {Name: "parent", Size: 1, SHA256: sum}},
		"one disk twice":           {{Name: "parent", Size: 1, SHA256: sum}, {Name: "parent", Size: 1, SHA256: sum}},
		"no hash":                  {{Name: "rootfs.qcow2", Size: 1, SHA256: "../x"}, {Name: "parent", Size: 1, SHA256: sum}},
		"another image under it":   {{Name: "rootfs.qcow2", Size: 1, SHA256: sum}, {Name: "parent", Size: 1, SHA256: strings.Repeat("0", 64)}},
		"a root disk alone":        {{Name: "rootfs.qcow2", Size: 1, SHA256: sum}},
		"parts beyond the end":     {{Name: "rootfs.qcow2", Size: 10, SHA256: sum, Extents: [][2]int64{{5, 1 << 62}}}, {Name: "parent", Size: 1, SHA256: sum}},
		"parts out of order":       {{Name: "rootfs.qcow2", Size: 10, SHA256: sum, Extents: [][2]int64{{5, 1}, {0, 1}}}, {Name: "parent", Size: 1, SHA256: sum}},
	} {
		_, err := r.Arrive(t.Context(), hash, instance.Arrival{Source: "http://from.test", Token: "t", Files: files, Parent: message.Hash(sum)})
		if !errors.Is(err, instance.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, "disks", "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
