package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	connections    = 32
	requestTimeout = time.Minute
)

// load posts envelopes to one node over keep-alive connections and waits for each answer before the next on the same
// connection. It shares the cores with the node, so it does little: a request is bytes that are written, of an answer
// only the status counts.
type load struct {
	url    string
	sync   bool
	marks  []int64     // counts at which the time is noted, ascending
	times  []time.Time // of marks
	counts [600]atomic.Int64
}

// run sends what next returns until that is nil and returns how long it took.
func (l *load) run(ctx context.Context, next func() ([]byte, error)) (time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.times = make([]time.Time, len(l.marks))
	var lock sync.Mutex // guards next
	var done atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range connections {
		wg.Go(func() {
			c, err := l.dial(ctx)
			if err != nil {
				cancel(err)
				return
			}
			defer c.Close()
			for ctx.Err() == nil {
				lock.Lock()
				envelope, err := next()
				lock.Unlock()
				if err != nil {
					cancel(err)
				}
				if envelope == nil {
					return
				}
				status, err := c.post(envelope, l.sync)
				if err != nil {
					cancel(fmt.Errorf("post a message to %s: %w", l.url, err))
					return
				}
				l.counts[min(max(status, 0), len(l.counts)-1)].Add(1)
				n := done.Add(1)
				for i, mark := range l.marks {
					if n == mark {
						l.times[i] = time.Now()
					}
				}
			}
		})
	}
	wg.Wait()
	return time.Since(began), context.Cause(ctx)
}

// failures describes the answers that are not a success, "" when there are none.
func (l *load) failures() string {
	var parts []string
	for status := range l.counts {
		if n := l.counts[status].Load(); n > 0 && status != http.StatusOK && status != http.StatusAccepted {
			parts = append(parts, fmt.Sprintf("%d answers with status %d", n, status))
		}
	}
	return strings.Join(parts, ", ")
}

// connection is one keep-alive connection.
type connection struct {
	net.Conn
	host string
	in   *bufio.Reader
	out  []byte
}

func (l *load) dial(ctx context.Context) (*connection, error) {
	host := strings.TrimPrefix(l.url, "http://")
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", l.url, err)
	}
	return &connection{Conn: conn, host: host, in: bufio.NewReader(conn)}, nil
}

// post sends one envelope and returns the status of the answer.
func (c *connection) post(envelope []byte, sync bool) (int, error) {
	const head, tail = `{"sync":`, `,"message":`
	flag := strconv.FormatBool(sync)
	c.out = append(c.out[:0], "POST /api/v0/messages HTTP/1.1\r\nHost: "...)
	c.out = append(c.out, c.host...)
	c.out = append(c.out, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	c.out = strconv.AppendInt(c.out, int64(len(head)+len(flag)+len(tail)+len(envelope)+1), 10)
	c.out = append(c.out, "\r\n\r\n"...)
	c.out = append(c.out, head...)
	c.out = append(c.out, flag...)
	c.out = append(c.out, tail...)
	c.out = append(c.out, envelope...)
	c.out = append(c.out, '}')
	if err := c.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return 0, err
	}
	if _, err := c.Write(c.out); err != nil {
		return 0, err
	}
	return c.answer()
}

// answer reads an answer and returns its status.
func (c *connection) answer() (status int, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	fields := bytes.SplitN(line, []byte(" "), 3)
	if len(fields) < 2 {
		return 0, fmt.Errorf("the answer begins with %q", line)
	}
	if status, err = strconv.Atoi(string(fields[1])); err != nil {
		return 0, fmt.Errorf("status of the answer: %w", err)
	}
	length := -1
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch value = bytes.TrimSpace(value); {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, fmt.Errorf("length of the answer: %w", err)
			}
		case bytes.EqualFold(name, []byte("Connection")) && bytes.EqualFold(value, []byte("close")):
			return 0, fmt.Errorf("answer with status %d: the node closes a keep-alive connection", status)
		}
	}
	if length < 0 {
		return 0, fmt.Errorf("answer with status %d has no length", status)
	}
	_, err = c.in.Discard(length)
	return status, err
}

// each returns a function that yields the envelopes one after the other, then nil.
func each(envelopes [][]byte) func() ([]byte, error) {
	return func() ([]byte, error) {
		if len(envelopes) == 0 {
			return nil, nil
		}
		e := envelopes[0]
		envelopes = envelopes[1:]
		return e, nil
	}
}

// lines does the same with the lines of a stream.
func lines(r io.Reader) func() ([]byte, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	return func() ([]byte, error) {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return line, err
	}
}
