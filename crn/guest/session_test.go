package guest

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/yamux"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// bubble runs a test on a clock of its own. yamux keeps its timers in a global pool, and one of a bubble must not be used outside:
// two collections empty the pool.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	empty := func() { runtime.GC(); runtime.GC() }
	empty()
	defer empty()
	synctest.Test(t, f)
}

// copied speaks the part of a copy over a pipe: it goes on as told, and its program exits when the host follows it.
func copied(t *testing.T, answer wire.Resumed) (conn net.Conn, streams *atomic.Int32) {
	host, far := net.Pipe()
	streams = &atomic.Int32{}
	go func() {
		defer far.Close()
		order, epoch, err := wire.ReadResume(far)
		if err != nil || order.Entropy == ([wire.EntropySize]byte{}) || order.Time.IsZero() {
			t.Errorf("told %+v, %v", order, err)
		}
		if answer.Write(far, epoch) != nil {
			return
		}
		mux, err := yamux.Server(far, wire.Mux())
		if err != nil {
			return
		}
		defer mux.Close()
		for {
			stream, err := mux.AcceptStream()
			if err != nil {
				return
			}
			streams.Add(1)
			kind := make([]byte, 1)
			if _, err := io.ReadFull(stream, kind); err == nil && kind[0] == wire.StreamControl {
				_ = json.NewEncoder(stream).Encode(wire.Event{State: wire.StateReady}) // which it was already
				_ = json.NewEncoder(stream).Encode(wire.Event{State: wire.StateExited, Code: 3})
			}
		}
	}()
	return host, streams
}

func TestACopyIsFollowedBehindItsFirstCallOrWhenSomethingWentWrong(t *testing.T) {
	for name, wrong := range map[string]bool{"in time": false, "at once": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				conn, streams := copied(t, wire.Resumed{Card: true})
				s, err := Resume(t.Context(), conn, func(wire.LogLine) {})
				if err != nil {
					t.Fatal(err)
				}
				<-s.Ready()
				synctest.Wait()
				if n := streams.Load(); n != 0 || !s.atCard {
					t.Errorf("%d streams before the first call, reached at its card: %v", n, s.atCard)
				}
				if wrong {
					s.Follow()
					synctest.Wait()
					if streams.Load() != 2 {
						t.Errorf("%d streams", streams.Load())
					}
				}
				var exit *ExitError
				if err := s.Err(); !errors.As(err, &exit) || exit.Code != 3 || exit.WhileInit {
					t.Errorf("the program ended with %v", err)
				}
				s.Close()
			})
		})
	}
}

func TestACopyThatCannotGoOnSaysWhy(t *testing.T) {
	conn, _ := copied(t, wire.Resumed{Error: "no randomness"})
	var setup *SetupError
	if _, err := Resume(t.Context(), conn, nil); !errors.As(err, &setup) || setup.Text != "no randomness" {
		t.Errorf("got %v", err)
	}
}

func TestACopyThatEndsBeforeItIsFollowedIsLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		conn, _ := copied(t, wire.Resumed{})
		s, err := Resume(t.Context(), conn, nil)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if err := s.Err(); !errors.Is(err, ErrLost) {
			t.Errorf("got %v", err)
		}
		if err := s.Stop(t.Context(), 0); err == nil {
			t.Error("it was told to stop")
		}
		s.Close()
	})
}
