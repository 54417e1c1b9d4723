package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// monitor speaks QMP, QEMU's control protocol: a JSON object a line. Questions are asked one at a time.
type monitor struct {
	conn   net.Conn
	event  func(m *monitor, name string, data json.RawMessage)
	reader sync.WaitGroup

	asking  sync.Mutex // held from question to answer
	answers chan answerLine
	writing sync.Mutex // one line at a time
}

// answerLine is a line of QEMU's: an event or an answer.
type answerLine struct {
	QMP    json.RawMessage `json:"QMP"` // greeting
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
	ID     string          `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
}

// newMonitor takes the connection over and makes it ready for commands. event is called for each event, in order, and must not
// ask anything.
func newMonitor(ctx context.Context, conn net.Conn, event func(*monitor, string, json.RawMessage)) (*monitor, error) {
	m := &monitor{conn: conn, event: event, answers: make(chan answerLine, 1)}
	m.reader.Go(m.read)
	if _, err := m.ask(ctx, order{command: "qmp_capabilities"}); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *monitor) read() {
	defer close(m.answers)
	lines := bufio.NewScanner(m.conn)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line answerLine
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue
		}
		switch {
		case line.Event != "":
			m.event(m, line.Event, line.Data)
		case line.ID == askID:
			m.answers <- line
		}
	}
}

// askID marks questions whose answer somebody waits for.
const askID = "ask"

// writeLimit bounds a write. QEMU reads its commands at once, or it hangs.
const writeLimit = 2 * time.Second

func (m *monitor) write(o order, id string) error {
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments with   `json:"arguments,omitempty"`
		ID        string `json:"id,omitempty"`
	}{o.command, o.arguments, id})
	if err != nil {
		return err
	}
	line = append(line, '\n')
	m.writing.Lock()
	defer m.writing.Unlock()
	_ = m.conn.SetWriteDeadline(time.Now().Add(writeLimit))
	if o.file == nil {
		_, err = m.conn.Write(line)
		return err
	}
	_, _, err = m.conn.(*net.UnixConn).WriteMsgUnix(line, unix.UnixRights(int(o.file.Fd())), nil)
	return err
}

// send gives a command whose answer is of no interest.
func (m *monitor) send(command string) { _ = m.write(order{command: command}, "") }

var errHungUp = errors.New("QEMU hung up")

// ask gives a command and waits for its answer. When ctx ends before it comes, the monitor answers no more.
func (m *monitor) ask(ctx context.Context, o order) (json.RawMessage, error) {
	m.asking.Lock()
	defer m.asking.Unlock()
	if err := m.write(o, askID); err != nil {
		return nil, fmt.Errorf("%s: %w", o.command, err)
	}
	select {
	case line, open := <-m.answers:
		if !open {
			return nil, fmt.Errorf("%s: %w", o.command, errHungUp)
		}
		if line.Error != nil {
			return nil, fmt.Errorf("%s: %s", o.command, line.Error.Desc)
		}
		return line.Return, nil
	case <-ctx.Done():
		m.conn.Close() // a late answer must not be taken for the next
		return nil, fmt.Errorf("%s: %w", o.command, ctx.Err())
	}
}

// status is the state of the machine: "running", "paused", "shutdown" and others.
func (m *monitor) status(ctx context.Context) (string, error) {
	raw, err := m.ask(ctx, order{command: "query-status"})
	if err != nil {
		return "", err
	}
	var answer struct{ Status string }
	return answer.Status, json.Unmarshal(raw, &answer)
}

func (m *monitor) close() {
	m.conn.Close()
	m.reader.Wait()
}
