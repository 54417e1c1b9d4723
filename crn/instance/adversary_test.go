package instance_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/crn/instance"
)

// A receiver that takes nothing, or not all, keeps the guest of another node neither from going on nor from its owner's orders.
func TestAReceiverThatStallsIsGivenUp(t *testing.T) {
	for name, takes := range map[string]int64{"takes nothing": 0, "takes a little": 3, "takes the memory and no more": 4 + int64(len("a process")) + 4} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to, _, hash := newMove(t)
				defer func() { from.stop(); to.stop() }()
				from.driver.machine(hash).memory = "a process"
				stalls := func() chan error {
					o, err := from.Offer(hash)
					if err != nil {
						t.Fatal(err)
					}
					line, other := net.Pipe()
					done := make(chan error, 1)
					go func() { done <- from.SendMemory(t.Context(), hash, o.Token, line) }()
					_, _ = io.CopyN(io.Discard, other, takes)
					synctest.Wait()
					return done
				}
				begin := time.Now()
				if err := <-stalls(); err == nil || time.Since(begin) > 5*time.Minute {
					t.Errorf("after %v: %v", time.Since(begin), err)
				}
				goesOnAlone(t, hash, from, to, "a process")
				if _, err := from.Offer(hash); err != nil {
					t.Errorf("its disks are busy: %v", err)
				}
				// Its owner does not wait for the receiver.
				done := stalls()
				begin = time.Now()
				if _, err := from.Stop(t.Context(), hash); err != nil || time.Since(begin) > 5*time.Second {
					t.Errorf("stopped after %v: %v", time.Since(begin), err)
				}
				if err := <-done; err == nil {
					t.Error("it was sent")
				}
			})
		})
	}
}

// Who got an instance by its token gets nothing more by it, and nobody else does.
func TestATokenThatWasUsedIsOfNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, l, hash := newMove(t)
		defer func() { from.stop(); to.stop() }()
		o, err := from.Offer(hash)
		if err != nil {
			t.Fatal(err)
		}
		if err := to.FetchAhead(t.Context(), hash, instance.Arrival{Source: "http://from.test", Token: o.Token, Files: o.Files, Parent: o.Parent, Live: o.Live}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !to.info(hash).Running {
			t.Fatal("it did not move")
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if err := from.HandOver(hash, o.Token, "another's claim"); !errors.Is(err, instance.ErrMoving) {
			t.Errorf("given away twice: %v", err)
		}
		if err := from.SendMemory(t.Context(), hash, o.Token, &taken{}); !errors.Is(err, instance.ErrUnknown) {
			t.Errorf("its memory is sent twice: %v", err)
		}
		for _, f := range append(o.Files, o.Live.Files...) {
			if _, err := from.Disk(hash, f.Name, o.Token); err == nil {
				t.Errorf("%s is given away", f.Name)
			}
		}
	})
}

// liar is a road whose end is not what it says. lie returns the answer to a request, or nil for an honest one.
type liar struct {
	*road
	lie func(r *http.Request) *http.Response
}

func (l *liar) RoundTrip(r *http.Request) (*http.Response, error) {
	if answer := l.lie(r); answer != nil {
		context.AfterFunc(r.Context(), func() { answer.Body.Close() })
		return answer, nil
	}
	return l.road.RoundTrip(r)
}

func says(status int, body io.Reader) *http.Response {
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Body: io.NopCloser(body)}
}

// endless is zeros without end.
type endless struct{}

func (endless) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// drip is a body of a byte every so often, without end.
type drip struct {
	every time.Duration
	once  sync.Once
	ended chan struct{}
}

func (d *drip) Read(b []byte) (int, error) {
	select {
	case <-time.After(d.every):
		b[0] = 0
		return 1, nil
	case <-d.ended:
		return 0, net.ErrClosed
	}
}

func (d *drip) Close() error {
	d.once.Do(func() { close(d.ended) })
	return nil
}

// dripping is an answer that begins like this and then drips.
func dripping(begin string, every time.Duration) *http.Response {
	d := &drip{every: every, ended: make(chan struct{})}
	return &http.Response{StatusCode: http.StatusOK, Body: struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader(begin), d), d}}
}

// memoryAnd is an answer with some memory and then a list of files, for as long as its guest stands still.
func memoryAnd(files string) *http.Response {
	begin := []byte{0, 0, 0, 1, 'm', 0, 0, 0, 0}
	begin = append(binary.BigEndian.AppendUint32(begin, uint32(len(files))), files...)
	return dripping(string(begin), time.Second)
}

// A node that an instance is to come from with its memory says what is not so. The instance does not come that way, this node keeps
// nothing of it beyond its own size, and the guest goes on where it is.
func TestANodeThatLiesAboutAMachineDoesNotPassIt(t *testing.T) {
	// listed is a list of the files that there are, with a change.
	listed := func(change func(files []instance.MovedFile)) func(instance.Offered) *http.Response {
		return func(o instance.Offered) *http.Response {
			files := append(append([]instance.MovedFile{}, o.Files...), o.Live.Files...)
			change(files)
			raw, err := json.Marshal(files)
			if err != nil {
				t.Fatal(err)
			}
			return memoryAnd(string(raw))
		}
	}
	plain := func(status int, body string) func(instance.Offered) *http.Response {
		return func(instance.Offered) *http.Response { return says(status, strings.NewReader(body)) }
	}
	volume := func(files []instance.MovedFile) *instance.MovedFile {
		i := slices.IndexFunc(files, func(f instance.MovedFile) bool { return f.Name == "data.kept" })
		files[0], files[i] = files[i], files[0] // of the root disk the node that was not asked gives no hashes
		return &files[0]
	}
	for name, test := range map[string]struct {
		at   string // what is asked for
		lie  func(o instance.Offered) *http.Response
		want string
	}{
		"memory stalls":              {"memory", func(instance.Offered) *http.Response { return dripping("", time.Hour) }, ""},
		"memory drips":               {"memory", func(instance.Offered) *http.Response { return dripping("\x00\x0f\x00\x00", time.Minute) }, ""},
		"parts are too long":         {"memory", plain(200, "\xff\xff\xff\xff"), "the longest"},
		"it knows nothing of memory": {"memory", plain(404, "not found"), "404"},
		"the list is none":           {"memory", func(instance.Offered) *http.Response { return memoryAnd("garbage") }, "which disks"},
		"the list goes deep":         {"memory", func(instance.Offered) *http.Response { return memoryAnd(strings.Repeat("[", 1<<20)) }, "which disks"},
		"a disk is missing":          {"memory", func(instance.Offered) *http.Response { return memoryAnd("[]") }, "0 disks"},
		"a disk is too long":         {"memory", listed(func(files []instance.MovedFile) { volume(files).Size = 9 << 20 }), "not one of its own"},
		"a disk has no length":       {"memory", listed(func(files []instance.MovedFile) { volume(files).Size = -1 }), "not one of its own"},
		"a disk leads elsewhere":     {"memory", listed(func(files []instance.MovedFile) { volume(files).Name = "../../../elsewhere" }), "not one of its own"},
		"hashes without end":         {"pieces", func(instance.Offered) *http.Response { return says(200, endless{}) }, "does not hash"},
		"hashes drip":                {"pieces", func(instance.Offered) *http.Response { return dripping("", time.Minute) }, "hashes of its pieces broke off"},
		"it knows nothing of hashes": {"pieces", plain(404, "not found"), "404"},
		"a disk without end":         {"disk", func(instance.Offered) *http.Response { return says(206, endless{}) }, "no qcow2 image"},
		"a disk instead of a part":   {"disk", func(instance.Offered) *http.Response { return says(200, endless{}) }, "to a part of the file"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to, l, hash := newMove(t)
				defer func() { from.stop(); to.stop() }()
				from.driver.machine(hash).memory = "a process"
				o, err := from.Offer(hash)
				if err != nil {
					t.Fatal(err)
				}
				to.stop()
				to.change = func(c *instance.Config) {
					c.HTTP = &liar{l, func(r *http.Request) *http.Response {
						if strings.Contains(r.URL.Path, "/migration/"+test.at) {
							return test.lie(o)
						}
						return nil
					}}
				}
				to.begin()
				a := instance.Arrival{Source: "http://from.test", Token: o.Token, Files: o.Files, Parent: o.Parent, Live: o.Live}
				if err := to.FetchAhead(t.Context(), hash, a); err != nil {
					t.Fatal(err)
				}
				var ahead instance.Ahead
				for begin := time.Now(); time.Since(begin) < 30*time.Minute && ahead.Cold == nil && ahead.Failure == nil && err == nil; time.Sleep(10 * time.Second) {
					ahead, err = to.Ahead(hash)
				}
				if why := errors.Join(err, ahead.Cold, ahead.Failure); why == nil || !strings.Contains(why.Error(), test.want) {
					t.Errorf("got %+v, %v", ahead, err)
				}
				time.Sleep(time.Minute)
				goesOnAlone(t, hash, from, to, "a process")
				if _, err := os.Stat(filepath.Join(to.dir, "elsewhere")); err == nil {
					t.Error("it wrote elsewhere")
				}
				files, _ := filepath.Glob(filepath.Join(to.dir, "disks", "*", "*"))
				for _, path := range files {
					if info, err := os.Stat(path); err == nil && info.Size() > 8<<20 {
						t.Errorf("%s has %d bytes", path, info.Size())
					}
				}
			})
		})
	}
}
