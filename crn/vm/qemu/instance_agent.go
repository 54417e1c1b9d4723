package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// frozenFile in a machine's folder says that its guest's filesystems may be frozen: whoever finds it thaws them.
	frozenFile = "frozen"
	// freezeLimit bounds the talk with the guest's agent until its filesystems are frozen (spec/crn.md §2.8).
	freezeLimit = 30 * time.Second
	// thawPause is how often it is looked whether a guest is left frozen.
	thawPause = 10 * time.Second
	// maxAgent bounds what a guest may say in one talk, in bytes.
	maxAgent = 64 << 10
)

// ErrNoAgent: nobody in the guest listens.
var ErrNoAgent = errors.New("the guest runs no agent")

// freeze has the guest write what it holds of its filesystems and hold back the rest. thaw must follow, also after an error.
func (m *Instance) freeze(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, freezeLimit)
	defer cancel()
	return m.withAgent(ctx, func(a *agent) error {
		if err := os.WriteFile(filepath.Join(m.dir, frozenFile), nil, 0o600); err != nil {
			return err
		}
		_, err := a.ask("guest-fsfreeze-freeze", nil)
		return err
	})
}

// thaw lets the guest go on, if it was held back. While its agent does not say that it does, it counts as frozen; keepThawed tries
// again. m.freezing is held.
func (m *Instance) thaw(ctx context.Context) error {
	mark := filepath.Join(m.dir, frozenFile)
	if _, err := os.Stat(mark); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, freezeLimit)
	defer cancel()
	err := m.withAgent(ctx, func(a *agent) error {
		_, err := a.ask("guest-fsfreeze-thaw", nil)
		return err
	})
	if errors.Is(err, ErrNoAgent) {
		return nil // filesystems stay frozen without it
	}
	if err != nil {
		return fmt.Errorf("thaw the guest's filesystems: %w", err)
	}
	return os.Remove(mark)
}

// keepThawed thaws the guest whenever a copy, of this node or the one before, has left it frozen.
func (m *Instance) keepThawed(again <-chan time.Time) {
	for {
		select {
		case <-again:
			m.freezing.Lock()
			_ = m.thaw(m.attached)
			m.freezing.Unlock()
		case <-m.done:
			return
		case <-m.attached.Done():
			return
		}
	}
}

// withAgent talks to the guest's agent until ctx ends.
func (m *Instance) withAgent(ctx context.Context, talk func(*agent) error) error {
	var ports []struct {
		Label string
		Open  bool `json:"frontend-open"`
	}
	if err := m.query(ctx, order{command: "query-chardev"}, &ports); err != nil {
		return err
	}
	listening := false
	for _, p := range ports {
		listening = listening || p.Label == "agent" && p.Open
	}
	if !listening {
		return ErrNoAgent
	}
	conn, err := m.dial(agentSocket)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	a := newAgent(conn)
	if err := a.sync(time.Now().UnixNano() >> 10); err != nil {
		return err
	}
	return talk(a)
}

// agent is the QEMU guest agent: a JSON object a line. What it says is the guest's word.
type agent struct {
	conn  net.Conn
	lines *bufio.Scanner
}

func newAgent(conn net.Conn) *agent {
	a := &agent{conn, bufio.NewScanner(io.LimitReader(conn, maxAgent))}
	a.lines.Buffer(nil, maxAgent)
	return a
}

// sync passes over answers to those who asked before. id is a number that they did not use.
func (a *agent) sync(id int64) error {
	if err := a.send("guest-sync", with{"id": id}); err != nil {
		return err
	}
	want := fmt.Sprint(id)
	for a.lines.Scan() {
		var line struct{ Return json.RawMessage }
		if json.Unmarshal(a.lines.Bytes(), &line) == nil && strings.TrimSpace(string(line.Return)) == want {
			return nil
		}
	}
	return a.ended()
}

// ask gives a command and returns its answer.
func (a *agent) ask(command string, arguments with) (json.RawMessage, error) {
	if err := a.send(command, arguments); err != nil {
		return nil, err
	}
	if !a.lines.Scan() {
		return nil, a.ended()
	}
	var line struct {
		Return json.RawMessage
		Error  *struct{ Desc string }
	}
	switch err := json.Unmarshal(a.lines.Bytes(), &line); {
	case err != nil:
		return nil, fmt.Errorf("read the guest agent's answer to %s: %w", command, err)
	case line.Error != nil:
		return nil, fmt.Errorf("the guest agent refuses %s: %.200s", command, line.Error.Desc)
	}
	return line.Return, nil
}

func (a *agent) send(command string, arguments with) error {
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments with   `json:"arguments,omitempty"`
	}{command, arguments})
	if err == nil {
		_, err = a.conn.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("tell the guest agent %s: %w", command, err)
	}
	return nil
}

func (a *agent) ended() error {
	if err := a.lines.Err(); err != nil {
		return fmt.Errorf("wait for the guest agent: %w", err)
	}
	return errors.New("the guest agent hung up")
}
