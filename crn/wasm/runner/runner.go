// Package runner is the program in the process of one WebAssembly program. crn/wasm starts it, and tells it over the guest
// channel (guest/wire) what to run, as it would tell the program that is PID 1 in a virtual machine.
//
// It compiles the module once, keeps what the compiler made on disk for the next process, and gives every request an instance
// of its own: request and answer are those of CGI/1.1. It trusts the host and nothing else.
package runner

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/hashicorp/yamux"
	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/guest/wire"
)

// Files that the process inherits.
const (
	ChannelFD = 3 // the guest channel
	DriveFD   = 4 // the first drive, vda; the others follow
)

// HeartbeatInterval is how often the process writes a byte to its standard output. A call that cannot be interrupted, endless
// recursion for one, can bring the whole of Go's runtime to a halt, and then only the host can end it.
const HeartbeatInterval = time.Second

// Version names the compiler and its version.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/tetratelabs/wazero" {
				return "wazero " + m.Version
			}
		}
	}
	return "wazero"
}

// Main runs until the host asks for the end, or is gone.
func Main() error {
	memory := flag.Int("memory", 128, "what all instances together may have, in MiB")
	limit := flag.Int("limit", 640, "what the process may have, in MiB")
	cpus := flag.Int("cpus", 1, "processors")
	cache := flag.String("cache", "", "folder of compiled modules")
	flag.Parse()
	// Beyond this Go ends the process. What instances may have is refused to them before that.
	bound := &unix.Rlimit{Cur: uint64(*limit) << 20, Max: uint64(*limit) << 20}
	if err := unix.Setrlimit(unix.RLIMIT_DATA, bound); err != nil {
		return fmt.Errorf("bound the memory of the process: %w", err)
	}
	// One more than the program has: what ends its calls must run beside them.
	runtime.GOMAXPROCS(*cpus + 1)
	debug.SetGCPercent(400) // little of it lives long, and a collection is a part of somebody's call

	file := os.NewFile(ChannelFD, "channel")
	channel, err := net.FileConn(file)
	if err != nil {
		return fmt.Errorf("open the channel: %w", err)
	}
	file.Close()
	defer channel.Close()
	if _, err := wire.GuestHandshake(channel); err != nil {
		return err
	}
	mux, err := yamux.Server(channel, wire.Mux())
	if err != nil {
		return fmt.Errorf("start the multiplexer: %w", err)
	}
	go beat()
	r := &runner{mux: mux, logs: newLogs(), memoryMiB: *memory, cacheDir: *cache, streams: newListener()}
	for {
		stream, err := mux.AcceptStream()
		if err != nil {
			return nil // the host is gone, and took everything it wanted
		}
		go r.serve(stream)
	}
}

// beat ends with the process, or ends it when the host is gone.
func beat() {
	for range time.Tick(HeartbeatInterval) {
		if _, err := os.Stdout.Write([]byte{'.'}); err != nil {
			os.Exit(1)
		}
	}
}

// runner is what the streams share.
type runner struct {
	mux       *yamux.Session
	logs      *logs
	memoryMiB int
	cacheDir  string
	streams   *listener // connections of callers
}

// serve handles one stream by its kind.
func (r *runner) serve(stream *yamux.Stream) {
	var kind [1]byte
	if _, err := io.ReadFull(stream, kind[:]); err != nil {
		stream.Close()
		return
	}
	switch kind[0] {
	case wire.StreamControl:
		r.control(stream)
		r.mux.Close() // the control stream lives as long as the process
	case wire.StreamLogs:
		r.logs.send(stream)
	case wire.StreamProxy:
		r.streams.add(&conn{Stream: stream})
	default:
		stream.Close()
	}
}

// control makes the program ready and serves it until the host says stop.
func (r *runner) control(stream *yamux.Stream) {
	encoder, decoder := json.NewEncoder(stream), json.NewDecoder(stream)
	var config wire.Config
	if err := decoder.Decode(&config); err != nil {
		return
	}
	program, err := load(context.Background(), config, r.memoryMiB, r.cacheDir, r.logs)
	if err != nil {
		_ = encoder.Encode(wire.Event{State: wire.StateFailed, Error: err.Error()})
	} else {
		server := &http.Server{Handler: program, MaxHeaderBytes: 256 << 10, ReadHeaderTimeout: time.Minute, IdleTimeout: time.Minute}
		go func() { _ = server.Serve(r.streams) }()
		_ = encoder.Encode(wire.Event{State: wire.StateReady})
	}
	var command wire.Command
	for !command.Stop {
		if err := decoder.Decode(&command); err != nil {
			return
		}
	}
}

// listener hands streams to the HTTP server.
type listener struct{ conns chan net.Conn }

func newListener() *listener { return &listener{make(chan net.Conn)} }

func (l *listener) add(c net.Conn) { l.conns <- c }

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) { return <-l.conns, nil }

// Close implements [net.Listener]. The process ends soon after.
func (l *listener) Close() error { return nil }

// Addr implements [net.Listener].
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: wire.PortName, Net: "unix"} }

// readArchive returns the archive that a drive holds.
func readArchive(a wire.Archive) (*io.SectionReader, error) {
	if len(a.Device) != 3 {
		return nil, fmt.Errorf("%q is no drive", a.Device)
	}
	file := os.NewFile(DriveFD+uintptr(a.Device[2]-'a'), a.Device)
	if file == nil {
		return nil, errors.New("there is no drive " + a.Device)
	}
	return io.NewSectionReader(file, 0, a.Size), nil
}
