package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/logfile"
	"github.com/aleph-im/aleph-go/devnet"
	"github.com/aleph-im/aleph-go/message"
)

// asking is what asks the instances, each for itself.
type asking struct {
	node      *devnet.Process
	dir       string // its data
	cancel    context.CancelFunc
	running   sync.WaitGroup
	instances []*asked
	lost      atomic.Int64
}

// asked is an instance as those see it who ask it.
type asked struct {
	hash     message.Hash
	address  string
	answered atomic.Int64
	failure  atomic.Pointer[error] // of the last request; nil when it was answered, or is the first
}

// add waits until more instances answer, and goes on asking them while the context lasts.
func (a *asking) add(ctx context.Context, instances []message.Hash) error {
	list, err := client.New(client.Config{BaseURL: a.node.URL}).Executions(ctx, a.node.URL)
	if err != nil {
		return err
	}
	for _, hash := range instances {
		x := &asked{hash: hash, address: fmt.Sprintf("%s:%d", restartHost, list[hash].Networking.MappedPorts["22"].Host)}
		a.instances = append(a.instances, x)
		a.running.Go(func() { a.keepAsking(ctx, x) })
	}
	return a.round(ctx, restartBoots)
}

func (a *asking) keepAsking(ctx context.Context, x *asked) {
	for ctx.Err() == nil {
		switch err := ask(ctx, x.address); {
		case err == nil:
			x.failure.Store(nil)
			x.answered.Add(1)
		case ctx.Err() == nil:
			x.failure.Store(&err)
			if x.answered.Load() > 0 { // it has booted
				a.lost.Add(1)
				fmt.Fprintf(os.Stderr, "instance %s: %v\n", x.hash, err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(restartPause):
		}
	}
}

// ask opens a connection to a guest's SSH server and waits for its greeting.
func ask(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{Timeout: time.Minute}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, len("SSH-2.0")))
	return err
}

// round waits until each instance has answered what it was asked from now on. The error says what is known of those that have not
// within the limit.
func (a *asking) round(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// What each is to reach is noted of all before the first is waited for: they answer at the same time, not one after the other.
	enough := make([]int64, len(a.instances))
	for i, x := range a.instances {
		enough[i] = x.answered.Load() + 2 // the first may have been asked earlier
	}
	for i, x := range a.instances {
		for x.answered.Load() < enough[i] {
			select {
			case <-ctx.Done():
				return fmt.Errorf("wait for the answers of %d instances: %w%s", len(a.instances), ctx.Err(), a.describe(enough))
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// describe says of each instance that has not answered often enough how that shows: to who asks it, to the node and on its console.
func (a *asking) describe(enough []int64) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // the benchmark's own may have ended
	defer cancel()
	var b strings.Builder
	list, err := client.New(client.Config{BaseURL: a.node.URL}).Executions(ctx, a.node.URL)
	if err != nil {
		fmt.Fprintf(&b, "\nthe node does not say what it runs: %v", err)
	}
	for i, x := range a.instances {
		answered := x.answered.Load()
		if answered >= enough[i] {
			continue
		}
		fmt.Fprintf(&b, "\ninstance %d (%s) at %s has answered %d times, %d short", i, x.hash, x.address, answered, enough[i]-answered)
		if failure := x.failure.Load(); failure != nil {
			fmt.Fprintf(&b, ", its last request failed: %v", *failure)
		}
		if e, found := list[x.hash]; found {
			fmt.Fprintf(&b, "\n  the node says: running %t, port 22 at %d, error %q", e.Running, e.Networking.MappedPorts["22"].Host, e.Error)
		} else if err == nil {
			b.WriteString("\n  the node does not have it")
		}
		b.WriteString(consoleEnd(filepath.Join(a.dir, "instances", "logs", string(x.hash)+".log")))
	}
	return b.String()
}

// consoleLines is how many of a console are of interest.
const consoleLines = 8

// consoleEnd returns the last lines of a console.
func consoleEnd(path string) string {
	file, err := logfile.Read(path)
	if err != nil {
		return "\n  its console: " + err.Error()
	}
	defer file.Close()
	var lines []string
	for line := range logfile.Lines(file) {
		lines = append(lines, "\n  | "+line.Time.Format(time.TimeOnly)+" "+line.Text)
	}
	if len(lines) == 0 {
		return "\n  its console is empty"
	}
	return strings.Join(lines[max(0, len(lines)-consoleLines):], "")
}

// stop ends the asking and says how many requests were answered, and how many were not.
func (a *asking) stop() (answered, lost int64) {
	a.cancel()
	a.running.Wait()
	for _, x := range a.instances {
		answered += x.answered.Load()
	}
	return answered, a.lost.Load()
}
