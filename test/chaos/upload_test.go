package chaos

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// link is a way to a node that stays the same when the node moves, and counts what is sent on it.
type link struct {
	listener net.Listener
	target   atomic.Value // of string: where the node is
	sent     atomic.Int64 // bytes to the node
	open     sync.WaitGroup
}

func newLink(t *testing.T) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{listener: listener}
	l.open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			l.open.Go(func() { l.carry(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		l.open.Wait()
	})
	return l
}

func (l *link) leadTo(n *node) { l.target.Store(n.url[len("http://"):]) }

// carry moves bytes both ways until one side ends.
func (l *link) carry(conn net.Conn) {
	defer conn.Close()
	node, err := net.Dial("tcp", l.target.Load().(string))
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(conn, node) // either end may be gone
		conn.Close()
	})
	_, _ = io.Copy(counting{node, &l.sent}, conn)
	node.Close()
	back.Wait()
}

type counting struct {
	net.Conn
	n *atomic.Int64
}

func (c counting) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// comes returns when the node has more than so many bytes of the only upload in its folder, or ctx ends.
func comes(ctx context.Context, folder string, than int64) {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		parts, _ := filepath.Glob(filepath.Join(folder, "uploads", "*.part")) // the pattern is good
		for _, part := range parts {
			if info, err := os.Stat(part); err == nil && info.Size() > than {
				return
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// TestUploadGoesOnAfterItsNodeWasKilled ends an upload as Ctrl-C does, begins it again, and kills the node in the middle of it.
// Each time only what is missing may be sent.
func TestUploadGoesOnAfterItsNodeWasKilled(t *testing.T) {
	const size = 24 << 20
	folder := t.TempDir()
	database := "sqlite:" + filepath.Join(folder, "aleph.db")
	file := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(file) // never fails
	account, err := ethereum.Generate()
	if err != nil {
		t.Fatal(err)
	}
	way := newLink(t)
	killed := startNode(t, database, folder)
	way.leadTo(killed)
	api := client.New(client.Config{BaseURL: "http://" + way.listener.Addr().String()})

	bounded, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	interrupted, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	_, err = api.UploadFile(interrupted, account, bytes.NewReader(file), client.UploadOptions{Progress: func(sent, _ int64) {
		if sent > size/4 {
			comes(bounded, folder, 0)
			interrupt()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the upload was not interrupted: %v", err)
	}

	// The same again. In its middle the sender waits until the node is killed and another runs in its place.
	var resumed []int64 // where it went on
	var sent []int64    // what had been sent by then
	dead, alive := make(chan struct{}), make(chan struct{})
	var once sync.Once
	ended := make(chan error, 1)
	go func() {
		up, err := api.UploadFile(t.Context(), account, bytes.NewReader(file), client.UploadOptions{
			Sync: true,
			Resumed: func(at int64) {
				resumed, sent = append(resumed, at), append(sent, way.sent.Load())
			},
			Progress: func(sent, _ int64) {
				if sent > size*3/4 {
					once.Do(func() {
						if len(resumed) > 0 {
							comes(bounded, folder, resumed[0])
						}
						close(dead)
						<-alive
					})
				}
			},
		})
		if err == nil && up.Status != message.StatusProcessed {
			err = errors.New("its message is " + string(up.Status))
		}
		ended <- err
	}()
	select {
	case <-dead:
	case err := <-ended:
		t.Fatalf("the upload ended before the node was killed: %v", err)
	}
	killed.kill(t)
	next := startNode(t, database, folder)
	defer func() {
		next.stdin.Close()
		if err := next.cmd.Wait(); err != nil {
			t.Errorf("the node: %v\n%s", err, next.log)
		}
	}()
	way.leadTo(next)
	close(alive)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if len(resumed) != 2 || resumed[0] == 0 || resumed[1] <= resumed[0] {
		t.Fatalf("the upload went on at %d of %d bytes", resumed, size)
	}
	const around = 64 << 10 // headers, and questions for the message
	if rest := way.sent.Load() - sent[1]; rest < size-resumed[1] || rest > size-resumed[1]+around {
		t.Errorf("%d bytes were sent after the node was killed, %d were missing", rest, size-resumed[1])
	}
	var got bytes.Buffer
	if _, err := api.DownloadFile(t.Context(), message.HashBytes(file), &got); err != nil || !bytes.Equal(got.Bytes(), file) {
		t.Errorf("other bytes come back: %v", err)
	}
}
