package instance_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/message"
)

// ahead has the disks of an instance fetched while it runs.
func ahead(t *testing.T, from, to *rig, hash message.Hash) error {
	t.Helper()
	o, err := from.Offer(hash)
	if err != nil {
		t.Fatal(err)
	}
	err = to.FetchAhead(t.Context(), hash, instance.Arrival{Source: "http://from.test", Token: o.Token, Files: o.Files, Parent: o.Parent})
	synctest.Wait()
	return err
}

// guestWrites writes to a disk of the machine that was started first.
func (r *rig) guestWrites(path string, at int64, text string) {
	r.t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte(text), at)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		r.t.Fatal(err)
	}
}

// asked sums up the parts of files that were asked for.
func asked(ranges []string) (sum int64) {
	for _, r := range ranges {
		var begin, end int64
		if _, err := fmt.Sscanf(r, "bytes=%d-%d", &begin, &end); err == nil {
			sum += end - begin + 1
		}
	}
	return sum
}

func TestWhatCameAheadIsNotFetchedOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, l, hash := newMove(t)
		defer func() { from.stop(); to.stop() }()
		spec := from.driver.specs[0]
		from.guestWrites(spec.Drives[0].Path, 0, string(bytes.Repeat([]byte("early"), 1<<20)))
		if err := ahead(t, from, to, hash); err != nil {
			t.Fatal(err)
		}
		if a, err := to.Ahead(hash); err != nil || !a.Done || a.Failure != nil || a.Fetched != a.Total || a.Total < 5<<20 {
			t.Fatalf("got %+v, %v", a, err)
		}
		if !from.info(hash).Running || to.driver.count() > 0 || to.Has(hash) {
			t.Fatal("it does not go on at home meanwhile")
		}
		if err := ahead(t, from, to, hash); !errors.Is(err, os.ErrExist) {
			t.Errorf("once more: %v", err)
		}
		while := l.n
		from.guestWrites(spec.Drives[0].Path, 3<<20, "late")
		from.guestWrites(spec.Root, 5<<20, "longer than it was") // beyond what there was of it
		if _, err := to.Arrive(t.Context(), hash, from.ready(hash)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !to.info(hash).Running {
			arriving, err := to.Arrived(hash)
			t.Fatalf("got %+v, %v", arriving, err)
		}
		to.keptThere()
		volume, err := os.ReadFile(to.driver.specs[0].Drives[0].Path)
		if err != nil || len(volume) != 8<<20 || string(volume[3<<20:3<<20+4]) != "late" || string(volume[:5]) != "early" {
			t.Errorf("its volume has %d bytes, %v", len(volume), err)
		}
		off, all := asked(l.ranges[while:]), asked(l.ranges)
		t.Logf("%d of %d bytes were fetched while it was off", off, all)
		if off > all/4 || off == 0 {
			t.Error("what had come ahead was of no use")
		}
		if left, _ := filepath.Glob(filepath.Join(to.dir, "disks", "*", "*.ahead")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if _, err := to.Ahead(hash); !errors.Is(err, instance.ErrUnknown) {
			t.Errorf("got %v", err)
		}
	})
}

// Whatever breaks while disks are fetched ahead, or afterwards, the move comes to its end, with what the guest wrote last.
func TestAMoveComesToItsEndWhateverBreaksAhead(t *testing.T) {
	steps := 1
	for first, kind := range []string{"nothing breaks", "answer lost", "target restarted", "source restarted"} {
		for at := max(first-1, 0); at < steps; at += 3 { // at each request one kind
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
						return errors.New("the line is cut")
					}
					restart := func() {
						select {
						case <-broken:
						default:
							return
						}
						switch kind {
						case "target restarted":
							to.stop()
							to.begin()
						case "source restarted":
							l.mu.Lock()
							from.stop()
							from.begin()
							l.mu.Unlock()
						}
					}
					if err := ahead(t, from, to, hash); err != nil {
						t.Fatal(err)
					}
					restart()
					from.guestWrites(from.driver.specs[0].Drives[0].Path, 2<<20, "late")
					if _, err := to.Arrive(t.Context(), hash, from.ready(hash)); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					restart()
					time.Sleep(time.Minute)
					synctest.Wait()
					if !to.info(hash).Running || from.Has(hash) || from.driver.machine(hash) != nil {
						arriving, err := to.Arrived(hash)
						t.Fatalf("got %+v, %v; the source has it: %v", arriving, err, from.Has(hash))
					}
					to.keptThere()
					volume, err := os.ReadFile(to.driver.specs[len(to.driver.specs)-1].Drives[0].Path)
					if err != nil || string(volume[2<<20:2<<20+4]) != "late" {
						t.Errorf("what was written last is lost, %v", err)
					}
					if kind == "nothing breaks" {
						steps = l.n
					}
				})
			})
		}
	}
	if steps < 9 {
		t.Errorf("a move took only %d requests", steps)
	}
}

func TestWhatCameAheadOfNothingIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, _, hash := newMove(t)
		defer func() { from.stop(); to.stop() }()
		left := func() int {
			entries, _ := filepath.Glob(filepath.Join(to.dir, "disks", "*"))
			return len(entries)
		}
		if err := ahead(t, from, to, hash); err != nil || left() != 1 {
			t.Fatalf("%v, %d folders", err, left())
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if _, err := to.Ahead(hash); !errors.Is(err, instance.ErrUnknown) || left() > 0 {
			t.Errorf("after two hours: %v, %d folders", err, left())
		}
		if err := ahead(t, from, to, hash); err != nil || left() != 1 {
			t.Fatalf("%v, %d folders", err, left())
		}
		to.stop()
		to.begin()
		if left() > 0 {
			t.Errorf("the next node keeps %d folders", left())
		}
	})
}

func TestOnlyDisksOfAnInstanceThatRunsAreOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, _, hash := newMove(t)
		defer func() { from.stop(); to.stop() }()
		o, err := from.Offer(hash)
		if err != nil {
			t.Fatal(err)
		}
		for name, token := range map[string]string{"rootfs.qcow2": "x", "seed.iso.new": o.Token, "../../records.db": o.Token, "data.kept": ""} {
			if f, err := from.Disk(hash, name, token); err == nil {
				f.Close()
				t.Errorf("%s was given to who says %q", name, token)
			}
		}
		f, err := from.Disk(hash, "data.kept", o.Token)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		time.Sleep(25 * time.Hour)
		if f, err := from.Disk(hash, "data.kept", o.Token); err == nil {
			f.Close()
			t.Error("an offer lasts for ever")
		}
		if _, err := from.Pieces(t.Context(), hash, "data.kept", o.Token); !errors.Is(err, instance.ErrUnknown) {
			t.Errorf("pieces of a disk that is being written to: %v", err)
		}
		if err := from.FetchAhead(t.Context(), hash, instance.Arrival{Source: "http://to.test", Token: "t", Parent: o.Parent}); !errors.Is(err, instance.ErrMoving) {
			t.Errorf("what is here was fetched from elsewhere: %v", err)
		}
		wrong := instance.Arrival{Source: "http://from.test", Token: o.Token, Parent: o.Parent, Files: []instance.MovedFile{{Name: "../../records.db", Size: 1}}}
		if err := to.FetchAhead(t.Context(), hash, wrong); !errors.Is(err, instance.ErrUnsupported) {
			t.Errorf("a path out of its folder: %v", err)
		}
		if _, err := from.Stop(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		if _, err := from.Offer(hash); !errors.Is(err, instance.ErrBusy) {
			t.Errorf("what is stopped: %v", err)
		}
	})
}
