package instance_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/replica"
	"github.com/aleph-im/aleph-go/message"
)

// wire leads from the node that has an instance to the holder of its replica, unless it is cut.
type wire struct {
	mu   sync.Mutex // held while the holder is used, or replaced
	to   *rig
	cut  bool
	late bool // chunks arrive after their sender gave them up
	sent int  // chunks
}

func (l *wire) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

func (l *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.late && r.Method == http.MethodPut {
		l.mu.Unlock()
		<-r.Context().Done()
		time.Sleep(time.Second)
		l.mu.Lock()
	}
	if l.cut {
		return nil, errors.New("the line is cut")
	}
	on := l.to.Replicas()
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/control/replica/"), "/")
	hash := message.Hash(parts[0])
	var v any = struct{}{}
	var err error
	switch parts[len(parts)-1] {
	case "renew":
		err = on.Renew(hash, token)
	case "reset":
		err = on.Reset(hash, token)
	case "generation":
		var g replica.Generation
		if err = json.NewDecoder(r.Body).Decode(&g); err == nil {
			err = on.Commit(hash, token, g)
		}
	case parts[0]:
		v, err = on.State(hash, token, r.URL.Query().Get("line"))
	default:
		l.sent++
		var id replica.ID
		if err = id.UnmarshalText([]byte(parts[2])); err == nil {
			err = on.Put(hash, token, id, r.Body)
		}
	}
	answer := httptest.NewRecorder()
	if err != nil {
		answer.WriteHeader(replica.Status(err))
	}
	_ = json.NewEncoder(answer).Encode(v)
	return answer.Result(), nil
}

// terms of the tests: a generation a minute.
var replication = instance.Replication{
	Holder: "http://holder.test", Token: "token", Secret: []byte(strings.Repeat("k", 32)), Every: time.Minute, Lease: 30 * time.Second,
}

// newReplica has an instance run on one pool that is replicated to another.
func newReplica(t *testing.T) (home, holder *rig, l *wire, hash message.Hash) {
	t.Helper()
	home, holder = newRig(t), newRig(t)
	hash = home.publish("a", withVolume)
	holder.net.instances = home.net.instances
	l = &wire{to: holder}
	home.change = func(c *instance.Config) { c.HTTP = l }
	holder.change = func(c *instance.Config) { c.ReplicaBytes = 64 << 20 }
	home.begin()
	holder.begin()
	if o := home.Allocate(t.Context(), []message.Hash{hash}); len(o.Errors) > 0 {
		t.Fatal(o.Errors)
	}
	home.write(hash, "precious")
	if err := errors.Join(holder.Hold(t.Context(), hash, replication.Token, replication.Lease), home.Replicate(hash, replication, time.Now())); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return home, holder, l, hash
}

// volume is the path of the instance's persistent volume.
func (r *rig) volume(hash message.Hash) string {
	return filepath.Join(r.dir, "disks", string(hash), "data", "kept.ext4")
}

func (r *rig) write(hash message.Hash, text string) {
	r.t.Helper()
	f, err := os.OpenFile(r.volume(hash), os.O_WRONLY, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(text), 5<<20); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) read(hash message.Hash) string {
	raw, err := os.ReadFile(r.volume(hash))
	if err != nil || len(raw) != 8<<20 {
		r.t.Errorf("its volume has %d bytes, %v", len(raw), err)
		return ""
	}
	return string(raw[5<<20 : 5<<20+8])
}

func TestAnInstanceComesBackFromItsReplica(t *testing.T) {
	for _, kill := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			home, holder, l, hash := newReplica(t)
			first := l.sent
			begun := time.Now()
			home.write(hash, "new word")
			if i := home.info(hash); i.Holder != replication.Holder || !i.Replicated.Equal(begun) {
				t.Errorf("its node says that %q has it as of %s", i.Holder, i.Replicated)
			}
			time.Sleep(replication.Every)
			synctest.Wait()
			if i := home.info(hash); !i.Replicated.Equal(begun.Add(replication.Every)) {
				t.Errorf("after the next generation it is as of %s", i.Replicated)
			}
			if first < 2 || l.sent != first+1 {
				t.Errorf("%d chunks were sent first, and %d for a change of one", first, l.sent-first)
			}
			home.stop() // its machine goes on, and nobody can see it any more
			home.write(hash, "too late")
			if err := holder.Revive(t.Context(), hash, replication.Secret); !errors.Is(err, replica.ErrEarly) {
				t.Errorf("at once: %v", err)
			}
			time.Sleep(replication.Lease)
			if err := holder.Revive(t.Context(), hash, replication.Secret); err != nil {
				t.Fatal(err)
			}
			if kill {
				holder.stop()
				holder.begin()
			}
			// The plan has it here while it is on its way.
			if o := holder.Allocate(t.Context(), []message.Hash{hash}); len(o.Errors) > 0 {
				t.Fatal(o.Errors)
			}
			if !holder.info(hash).Running || holder.read(hash) != "new word" {
				t.Errorf("it has %q: %+v", holder.read(hash), holder.info(hash))
			}
			if err := holder.Revive(t.Context(), hash, replication.Secret); err != nil {
				t.Errorf("told again: %v", err)
			}
			if err := holder.Hold(t.Context(), hash, "token", replication.Lease); !errors.Is(err, replica.ErrTaken) {
				t.Errorf("it is to hold what it has: %v", err)
			}
			if err := holder.Drop(hash); !errors.Is(err, replica.ErrTaken) {
				t.Errorf("it is to drop what it has: %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(holder.dir, "replicas", "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			// Its old node starts again, with all that it had.
			home.begin()
			time.Sleep(time.Minute)
			synctest.Wait()
			if m := home.driver.machine(hash); m != nil {
				t.Error("its old node has it run as well")
			}
			if a, err := home.Arrived(hash); !errors.Is(err, instance.ErrUnknown) {
				t.Errorf("what it left behind counts as having moved there: %+v, %v", a, err)
			}
			if a, err := holder.Arrived(hash); err != nil || !a.Here {
				t.Errorf("where it came back: %+v, %v", a, err)
			}
			if o := home.Allocate(t.Context(), nil); len(o.Stopped) != 1 || home.Has(hash) {
				t.Errorf("it is not sent away: %v", o.Stopped)
			}
			home.stop()
			holder.stop()
		})
	}
}

// A node that was killed right after it took the replica has no instance yet, and must not begin it anew.
func TestAnInstanceWhoseReplicaWasTakenComesBackFromNothingElse(t *testing.T) {
	for _, earlier := range []bool{false, true} { // there are disks of an earlier stay
		synctest.Test(t, func(t *testing.T) {
			home, holder, _, hash := newReplica(t)
			if earlier {
				held, kept := filepath.Join(holder.dir, "replicas", string(hash)), filepath.Join(t.TempDir(), "held")
				holder.stop()
				if err := os.Rename(held, kept); err != nil {
					t.Fatal(err)
				}
				holder.begin()
				for _, plan := range [][]message.Hash{{hash}, nil} {
					if o := holder.Allocate(t.Context(), plan); len(o.Errors) > 0 {
						t.Fatal(o.Errors)
					}
				}
				holder.stop()
				if err := os.Rename(kept, held); err != nil {
					t.Fatal(err)
				}
				holder.begin()
			}
			home.stop()
			time.Sleep(replication.Lease)
			if _, err := holder.Replicas().Take(hash); err != nil {
				t.Fatal(err)
			}
			starts := holder.driver.count()
			holder.stop()
			holder.begin()
			if o := holder.Allocate(t.Context(), []message.Hash{hash}); !errors.Is(o.Errors[hash], instance.ErrMoving) {
				t.Errorf("the plan has it here: %v", o.Errors)
			}
			if err := holder.Start(t.Context(), hash); !errors.Is(err, instance.ErrMoving) {
				t.Errorf("its owner starts it: %v", err)
			}
			if err := holder.Drop(hash); !errors.Is(err, replica.ErrTaken) {
				t.Errorf("its replica is to be dropped: %v", err)
			}
			if holder.Has(hash) || holder.driver.count() != starts {
				t.Error("it began anew")
			}
			if err := holder.Revive(t.Context(), hash, replication.Secret); err != nil {
				t.Fatal(err)
			}
			if o := holder.Allocate(t.Context(), []message.Hash{hash}); len(o.Errors) > 0 || holder.read(hash) != "precious" {
				t.Errorf("it has %q, %v", holder.read(hash), o.Errors)
			}
			holder.stop()
		})
	}
}

func TestAnInstanceThatNobodyLetsGoOnIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, holder, l, hash := newReplica(t)
		defer func() { home.stop(); holder.stop() }()
		running := func(what string, want bool) {
			t.Helper()
			synctest.Wait()
			if got := home.driver.machine(hash) != nil; got != want {
				t.Errorf("%s: runs %v", what, got)
			}
		}
		time.Sleep(3 * time.Minute)
		running("the holder says yes", true)
		l.setCut(true)
		for range 10 {
			time.Sleep(replication.Lease / 2)
			if err := home.Replicate(hash, replication, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		running("the scheduler says yes", true)
		time.Sleep(replication.Lease - time.Second)
		running("within the lease", true)
		time.Sleep(time.Second)
		running("nobody says yes", false)
		for what, late := range map[string]time.Duration{"the scheduler's word comes too late": replication.Lease, "it comes a day late": 24 * time.Hour} {
			if err := home.Replicate(hash, replication, time.Now().Add(-late)); err != nil {
				t.Fatal(err)
			}
			running(what, false)
		}
		for _, said := range []time.Duration{-replication.Lease / 3, 24 * time.Hour} {
			if err := home.Replicate(hash, replication, time.Now().Add(said)); err != nil {
				t.Fatal(err)
			}
			running("the scheduler says yes again", true)
			time.Sleep(replication.Lease + min(said, 0))
			running("for a lease from when it said so", false)
		}
		if err := home.Start(t.Context(), hash); !errors.Is(err, instance.ErrFenced) {
			t.Errorf("its owner starts it: %v", err)
		}
		if o := home.Allocate(t.Context(), []message.Hash{hash}); !errors.Is(o.Errors[hash], instance.ErrFenced) {
			t.Errorf("the plan has it: %v", o.Errors)
		}
		home.stop()
		home.begin()
		running("its node starts again", false)
		l.setCut(false)
		time.Sleep(replication.Lease)
		running("the holder says yes again", true)

		home.stop()
		l.setCut(true)
		home.begin()
		running("adopted", true)
		time.Sleep(replication.Lease)
		running("adopted, and nobody says yes", false)
		if err := home.Replicate(hash, instance.Replication{}, time.Now()); err != nil {
			t.Fatal(err)
		}
		running("it has no replica any more", true)
		time.Sleep(2 * time.Minute)
		running("it has no replica any more", true)
	})
}

func TestNobodyHasLongerThanTheLeaseToStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, holder, l, hash := newReplica(t)
		defer func() { home.stop(); holder.stop() }()
		home.driver.deaf = true
		m := home.driver.machine(hash)
		stopped := make(chan error, 1)
		go func() {
			_, err := home.Stop(t.Context(), hash)
			stopped <- err
		}()
		time.Sleep(replication.Lease / 2)
		synctest.Wait()
		if home.driver.machine(hash) != m {
			t.Error("it had no time to stop")
		}
		l.setCut(true)
		time.Sleep(replication.Lease)
		synctest.Wait()
		if home.driver.machine(hash) != nil {
			t.Error("it runs for longer")
		}
		if err := <-stopped; err != nil || m.kills != 1 {
			t.Errorf("its power was cut %d times, %v", m.kills, err)
		}
	})
}

func TestAnInstanceWhoseLeaseEndsWhileItIsPreparedIsNotStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, holder, l, hash := newReplica(t)
		defer func() { home.stop(); holder.stop() }()
		home.guests.slow = 2 * replication.Lease
		l.setCut(true)
		if _, err := home.Reboot(t.Context(), hash); !errors.Is(err, instance.ErrFenced) || home.driver.count() != 1 {
			t.Errorf("%d starts, %v", home.driver.count(), err)
		}
		l.setCut(false)
		time.Sleep(4 * replication.Lease)
		if !home.info(hash).Running || home.driver.count() != 2 {
			t.Errorf("%d starts once the holder says yes: %+v", home.driver.count(), home.info(hash))
		}
	})
}

func TestAMachineThatDoesNotEndIsEndedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, holder, l, hash := newReplica(t)
		defer func() { home.stop(); holder.stop() }()
		m := home.driver.machine(hash)
		home.driver.stick(true)
		l.setCut(true)
		time.Sleep(replication.Lease + time.Minute)
		synctest.Wait()
		home.driver.mu.Lock()
		kills := m.kills
		home.driver.mu.Unlock()
		if kills < 10 || kills > 20 {
			t.Errorf("its power was cut %d times in a minute", kills)
		}
		home.driver.stick(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if home.driver.machine(hash) != nil {
			t.Error("it runs")
		}
	})
}

func TestWhatIsStoppedIsReplicatedOnceAndComesBackStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, holder, _, hash := newReplica(t)
		copies := home.driver.machine(hash).copies
		if _, err := home.Stop(t.Context(), hash); err != nil || copies != 1 {
			t.Fatalf("%d copies, %v", copies, err)
		}
		home.write(hash, "the last")
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		var g struct{ Number int }
		raw, err := os.ReadFile(filepath.Join(holder.dir, "replicas", string(hash), "generation"))
		if err != nil || json.Unmarshal(raw, &g) != nil || g.Number != 2 {
			t.Errorf("generation %d, %v", g.Number, err)
		}
		home.stop()
		time.Sleep(replication.Lease)
		if err := holder.Revive(t.Context(), hash, replication.Secret); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if i := holder.info(hash); !i.Stopped || holder.driver.count() != 0 || holder.read(hash) != "the last" {
			t.Errorf("it has %q: %+v", holder.read(hash), i)
		}
		holder.stop()
	})
}

func TestAnInstanceThatBeganAnewDoesNotReplaceItsReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, holder, l, hash := newReplica(t)
		home.stop()
		for _, m := range home.driver.running {
			m.end(false)
		}
		sent := l.sent
		if err := os.RemoveAll(home.dir); err != nil {
			t.Fatal(err)
		}
		home.begin()
		if o := home.Allocate(t.Context(), []message.Hash{hash}); len(o.Errors) > 0 {
			t.Fatal(o.Errors)
		}
		if err := home.Replicate(hash, replication, time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		home.stop()
		time.Sleep(replication.Lease)
		if err := holder.Revive(t.Context(), hash, replication.Secret); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if holder.read(hash) != "precious" || l.sent != sent {
			t.Errorf("it has %q, and %d chunks were sent", holder.read(hash), l.sent-sent)
		}
		holder.stop()
	})
}

func TestTheReplicaOfAnErasedInstanceIsErased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, holder, _, hash := newReplica(t)
		defer func() { home.stop(); holder.stop() }()
		if err := home.Erase(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(filepath.Join(holder.dir, "replicas", "*", "chunks", "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		// The plan begins it anew, and its new disks are replicated.
		if o := home.Allocate(t.Context(), []message.Hash{hash}); len(o.Errors) > 0 {
			t.Fatal(o.Errors)
		}
		home.write(hash, "new word")
		if err := home.Replicate(hash, replication, time.Now()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if left, _ := filepath.Glob(filepath.Join(holder.dir, "replicas", string(hash), "generation")); len(left) != 1 {
			t.Error("it has no replica")
		}
	})
}

func TestNothingArrivesOfAnInstanceThatWasErasedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, holder, l, hash := newReplica(t)
		defer func() { home.stop(); holder.stop() }()
		l.mu.Lock()
		l.late = true
		sent := l.sent
		l.mu.Unlock()
		home.write(hash, "new word")
		time.Sleep(replication.Every)
		synctest.Wait()
		if err := home.Erase(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if left, _ := filepath.Glob(filepath.Join(holder.dir, "replicas", "*", "chunks", "*")); len(left) > 0 || l.sent == sent {
			t.Errorf("left behind: %v, of %d that came late", left, l.sent-sent)
		}
	})
}

func TestAReplicaIsOpenedByItsKeyAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, holder, _, hash := newReplica(t)
		home.stop()
		time.Sleep(replication.Lease)
		if err := holder.Revive(t.Context(), hash, []byte(strings.Repeat("x", 32))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if a, err := holder.Arrived(hash); err != nil || a.Failure == nil || holder.driver.count() > 0 {
			t.Errorf("%+v, %v", a, err)
		}
		holder.stop()
		chunks, _ := filepath.Glob(filepath.Join(holder.dir, "replicas", string(hash), "chunks", "*"))
		for _, path := range append(chunks, filepath.Join(holder.dir, "replicas", string(hash), "generation")) {
			if raw, err := os.ReadFile(path); err != nil || strings.Contains(string(raw), "precious") {
				t.Errorf("%s can be read, %v", filepath.Base(path), err)
			}
		}
		if len(chunks) == 0 {
			t.Error("there are no chunks")
		}
	})
}

// sentAway is a network of nodes that all name another one.
type sentAway struct {
	mu    sync.Mutex
	asked map[string]bool
}

func (n *sentAway) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked[r.URL.Host] = true
	answer := httptest.NewRecorder()
	answer.Header().Set("Location", "http://169.254.169.254/")
	answer.WriteHeader(http.StatusTemporaryRedirect)
	return answer.Result(), nil
}

func TestANodeAsksNobodyThatAnotherOneNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, n := newRig(t), &sentAway{asked: map[string]bool{}}
		hash, moving := r.publish("a", nil), r.publish("moving", nil)
		r.change = func(c *instance.Config) { c.HTTP = n }
		r.begin()
		defer func() { r.stop() }()
		if o := r.Allocate(t.Context(), []message.Hash{hash}); len(o.Errors) > 0 {
			t.Fatal(o.Errors)
		}
		if err := r.Replicate(hash, replication, time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Arrive(t.Context(), moving, instance.Arrival{Source: "http://source.test", Token: "t"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(replication.Lease / 2)
		synctest.Wait()
		if len(n.asked) != 2 || !n.asked["holder.test"] || !n.asked["source.test"] {
			t.Errorf("asked %v", n.asked)
		}
	})
}

func TestANodeHoldsOnlyWhatItOffers(t *testing.T) {
	r := newRig(t)
	hash := r.publish("a", nil)
	r.begin() // with no room for replicas
	defer func() { r.stop() }()
	persistence := "host"
	large := r.publish("large", func(m *message.Instance) {
		m.Volumes = []message.Volume{{Kind: message.VolumePersistent, Persistence: &persistence, SizeMiB: 1}}
	})
	if err := r.Hold(t.Context(), large, "t", time.Minute); !errors.Is(err, replica.ErrNoRoom) {
		t.Errorf("%v", err)
	}
	if err := r.Replicate(hash, replication, time.Now()); !errors.Is(err, instance.ErrUnknown) {
		t.Errorf("an instance that is not here: %v", err)
	}
	if err := r.Revive(t.Context(), hash, replication.Secret); !errors.Is(err, replica.ErrUnknown) {
		t.Errorf("what was never held: %v", err)
	}
	if err := r.Revive(t.Context(), hash, []byte("short")); err == nil {
		t.Error("a short secret opens a replica")
	}
}
