// Package guest is the host's side of the channel to the program that is PID 1 in our machines (guest, guest/wire): configure it,
// follow what becomes of the user's program, open connections to it, lead it to the internet where it may have that (internet.go), stop
// it. crn/execution calls it.
package guest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// Session is one configured guest.
type Session struct {
	conn    *held
	mux     *yamux.Session
	running sync.WaitGroup

	wanted  chan struct{} // closed when the streams are not to wait any longer
	hurry   sync.Once     // closes it
	opened  chan struct{} // closed when the streams were opened; they are set before, nil where that failed
	lines   *yamux.Stream
	control *yamux.Stream

	card   *card // set before anybody dials; nil without one
	atCard bool  // the guest says that the program is reached at its card; set before ready is closed
	renews bool  // the guest says that the whole program waits to be renewed in a copy; set before ready is closed

	ready chan struct{} // closed when the program listens
	done  chan struct{} // closed when the program has ended or the channel is lost; err is set before
	err   error
	once  sync.Once
}

// SetupError says that the guest could not do what its configuration asks: the user's archive or volumes are at fault, or the
// runtime.
type SetupError struct{ Text string }

func (e *SetupError) Error() string { return e.Text }

// ExitError says that the program ended.
type ExitError struct {
	Code      int
	Signal    string // empty when it exited by itself
	OOM       bool   // the kernel killed it, or a part of it, for want of memory
	Output    string // the last of what it printed
	WhileInit bool   // it never listened on its port
}

func (e *ExitError) Error() string {
	switch {
	case e.OOM:
		return "the program used up the memory of its machine and was killed"
	case e.Signal != "":
		return "the program was ended by " + e.Signal
	case e.WhileInit:
		return fmt.Sprintf("the program exited with status %d before it listened on port %d", e.Code, wire.ProgramPort)
	}
	return fmt.Sprintf("the program exited with status %d", e.Code)
}

// ErrLost says that the machine is gone or broke the protocol.
var ErrLost = errors.New("the connection to the virtual machine was lost")

// Open greets the guest, waits until it answers, and sends it the configuration. Lines of the program's output go to logs, which
// is called from one goroutine. The session owns the connection from here on; ctx bounds only the greeting.
func Open(ctx context.Context, conn net.Conn, config wire.Config, logs func(wire.LogLine)) (*Session, error) {
	config.Time = time.Now()
	if err := within(ctx, conn, func() error { return wire.HostHandshake(conn, newEpoch()) }); err != nil {
		return nil, err
	}
	s, err := newSession(conn)
	if err != nil {
		return nil, err
	}
	if err := s.openStreams(config); err != nil {
		s.mux.Close()
		return nil, err
	}
	close(s.opened)
	s.running.Go(func() { readLogs(s.lines, logs) })
	s.running.Go(s.readEvents)
	return s, nil
}

// Resume greets a guest that was parked, or a copy of one, makes it a machine of its own, which has the time and randomness that no
// other has, and waits until its program may answer: the session is ready. The error is a *SetupError when the program cannot go on. The
// rest is as with Open.
func Resume(ctx context.Context, conn net.Conn, logs func(wire.LogLine)) (*Session, error) {
	order := wire.Resume{Time: time.Now()}
	rand.Read(order.Entropy[:])
	var answer wire.Resumed
	err := within(ctx, conn, func() (err error) {
		if answer, err = wire.HostResume(conn, newEpoch(), order); err == nil && answer.Error != "" {
			err = &SetupError{answer.Error}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s, err := newSession(conn)
	if err != nil {
		return nil, err
	}
	s.atCard = answer.Card
	close(s.ready)
	s.running.Go(func() { s.openLater(logs) })
	return s, nil
}

// within greets a guest and closes the connection when that fails.
func within(ctx context.Context, conn net.Conn, greet func() error) error {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err := greet()
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
	}
	return err
}

func newSession(conn net.Conn) (*Session, error) {
	s := &Session{conn: &held{Conn: conn}, opened: make(chan struct{}), wanted: make(chan struct{}), ready: make(chan struct{}), done: make(chan struct{})}
	settings := wire.Mux()
	settings.AcceptBacklog = wire.MaxAPIStreams
	var err error
	if s.mux, err = yamux.Client(s.conn, settings); err != nil {
		conn.Close()
		return nil, fmt.Errorf("start the multiplexer: %w", err)
	}
	return s, nil
}

// openStreams opens the stream of logs, first, so that the program's first words have somewhere to go, and that of control.
func (s *Session) openStreams(orders ...any) (err error) {
	if s.lines, err = s.open(wire.StreamLogs); err == nil {
		s.control, err = s.open(wire.StreamControl)
	}
	for _, order := range orders {
		if err == nil {
			err = json.NewEncoder(s.control).Encode(order)
		}
	}
	if err != nil {
		return fmt.Errorf("configure the guest: %w", err)
	}
	return nil
}

// firstCall is how long the streams of a copy wait, so that its first call comes before them: whatever runs in an emulated copy for
// the first time takes long, and what the program prints is kept meanwhile.
const firstCall = 250 * time.Millisecond

// openLater opens the streams of a guest that needs no configuration, and follows it.
func (s *Session) openLater(logs func(wire.LogLine)) {
	select {
	case <-time.After(firstCall):
	case <-s.wanted:
	case <-s.mux.CloseChan():
	}
	err := s.openStreams()
	close(s.opened)
	if err != nil {
		s.end(ErrLost)
		return
	}
	s.running.Go(func() { readLogs(s.lines, logs) })
	s.readEvents()
}

func newEpoch() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}

func (s *Session) open(kind byte) (*yamux.Stream, error) {
	stream, err := s.mux.OpenStream()
	if err != nil {
		return nil, err
	}
	if _, err := stream.Write([]byte{kind}); err != nil {
		stream.Close()
		return nil, err
	}
	return stream, nil
}

// maxLogLine bounds a line of the log stream: JSON may need six bytes for one.
const maxLogLine = 8 * wire.MaxLine

func readLogs(r io.Reader, logs func(wire.LogLine)) {
	lines := newLines(r, maxLogLine)
	for {
		var line wire.LogLine
		if lines.next(&line) != nil {
			return
		}
		logs(line)
	}
}

// readEvents follows the program until the channel ends. The guest is not trusted to follow the order of states.
func (s *Session) readEvents() {
	lines := newLines(s.control, wire.MaxConfig)
	isReady := false
	select {
	case <-s.ready:
		isReady = true
	default:
	}
	for {
		var e wire.Event
		if err := lines.next(&e); err != nil {
			s.end(ErrLost)
			return
		}
		switch e.State {
		case wire.StateReady:
			if !isReady {
				isReady = true
				s.atCard, s.renews = e.Card, e.Renews
				close(s.ready)
			}
		case wire.StateFailed:
			s.end(&SetupError{e.Error})
		case wire.StateExited:
			s.end(&ExitError{Code: e.Code, Signal: e.Signal, OOM: e.OOM, Output: e.Output, WhileInit: !isReady})
		}
	}
}

// end records the first reason.
func (s *Session) end(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.done)
	})
}

// Ready is closed when the program listens on its port.
func (s *Session) Ready() <-chan struct{} { return s.ready }

// Renews reports whether each process of the program waits to hear that it was copied, and makes new what it holds then. Valid
// after Ready.
func (s *Session) Renews() bool { return s.renews }

// Done is closed when the program has ended, could not be started, or the channel is lost.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err says why the session is done: a *SetupError, an *ExitError or ErrLost. Valid after Done.
func (s *Session) Err() error { <-s.done; return s.err }

// UseCard has connections to the program go over the machine's network card, when the guest says that it is reached there. To be
// called right after the session began. The conn is the machine's and is not closed here. The program
// reaches the internet that way unless outside is nil.
func (s *Session) UseCard(conn net.Conn, outside *Internet) error {
	c, err := newCard(conn, outside, wire.CardHost)
	if err != nil {
		return err
	}
	s.card = c
	return nil
}

// Dial opens a connection to the program's port. Valid after Ready. ctx bounds only the dialling.
func (s *Session) Dial(ctx context.Context) (Conn, error) {
	if s.atCard && s.card != nil {
		conn, err := s.card.dial(ctx)
		if err != nil {
			return nil, s.reason(fmt.Errorf("connect to the program: %w", err))
		}
		return conn, nil
	}
	stream, err := s.open(wire.StreamProxy)
	if err != nil {
		return nil, s.reason(fmt.Errorf("connect to the program: %w", err))
	}
	return &channelConn{Stream: stream}, nil
}

// reason says why something went wrong: the end of the session, where that is it.
func (s *Session) reason(err error) error {
	select {
	case <-s.done:
		return s.err
	default:
		return err
	}
}

// Follow has a copy tell of its program from now on, and not a moment after it went on. To be called where something went wrong.
func (s *Session) Follow() { s.hurry.Do(func() { close(s.wanted) }) }

// Stop asks the program to end, allowing it the grace, and the machine to turn itself off after syncing its disks. It returns
// when the channel is closed, which the guest does last, or when ctx ends.
func (s *Session) Stop(ctx context.Context, grace time.Duration) error {
	if err := s.command(wire.Command{Stop: true, Grace: grace}, grace); err != nil {
		return fmt.Errorf("ask the guest to stop: %w", err)
	}
	select {
	case <-s.mux.CloseChan():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the guest to stop: %w", ctx.Err())
	}
}

// Park has the guest end the session, keep the program and wait to be greeted by [Resume], in this machine or a copy of it. It
// returns when the guest has done so. The session is of no more use then; its connection stays open until the machine ends, as
// the guest of a machine that is about to be copied must not see it close.
func (s *Session) Park(ctx context.Context) error {
	s.conn.keep.Store(true)
	stop := context.AfterFunc(ctx, func() { s.mux.Close() })
	defer stop()
	if err := s.command(wire.Command{Park: true}, 0); err != nil {
		return fmt.Errorf("ask the guest to end the session: %w", err)
	}
	<-s.mux.CloseChan()
	s.running.Wait()
	s.card.close()
	if ctx.Err() != nil {
		return fmt.Errorf("wait for the guest to end the session: %w", ctx.Err())
	}
	return nil
}

// command sends a last command. The guest may have followed it, and ended the session, before the write here returns.
func (s *Session) command(c wire.Command, within time.Duration) error {
	s.Follow()
	<-s.opened
	if s.control == nil {
		return ErrLost
	}
	if within > 0 {
		_ = s.control.SetWriteDeadline(time.Now().Add(within))
	}
	if err := json.NewEncoder(s.control).Encode(c); !errors.Is(err, yamux.ErrSessionShutdown) {
		return err
	}
	return nil
}

// held is the connection of a session. When keep is set, ending the session ends only its reading.
type held struct {
	net.Conn
	keep atomic.Bool
}

func (h *held) Close() error {
	if h.keep.Load() {
		return h.SetReadDeadline(time.Unix(1, 0))
	}
	return h.Conn.Close()
}

// Close ends the session at once and waits for its goroutines.
func (s *Session) Close() {
	s.mux.Close()
	s.card.close()
	s.running.Wait()
}
