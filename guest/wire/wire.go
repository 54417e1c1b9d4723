// Package wire is what the host (crn/guest) and the program that is PID 1 in the guest (guest) say to each other over the one
// serial port of a virtual machine.
//
// The port is a byte pipe without connections: it exists before the guest opens it and it outlives whoever holds an end. So the
// host speaks first, with a frame that names an epoch; the guest answers with the same epoch; both skip whatever comes before
// such a frame. From then on the pipe carries yamux. Who opens a stream says with its first byte what it is for. The host opens:
//
//   - [StreamControl]: JSON lines; [Config] first, unless the program is there already, and [Command] later from the host, [Event]
//     from the guest.
//   - [StreamLogs]: JSON lines, [LogLine], from the guest.
//   - [StreamProxy]: one connection to the program's port, where the machine has no network card. Bytes to the program are raw; bytes from it come in frames that
//     carry how long the program took, see [FrameHeader].
//
// And the guest:
//
//   - [StreamAPI]: one connection of the program to the guest API (spec/crn.md §3.5), raw both ways.
//
// A machine that is to be copied is parked first ([Command]): the guest ends the session, keeps the program and waits for the
// next greeting. Nothing of the first session is left on either side when the machine's state is kept, so that whoever greets
// the machine or a copy of it begins with a clean one. Right behind that greeting comes [Resume], and the guest answers [Resumed]
// when the program may be called, before anything is multiplexed: a copy has run nothing yet, and each thing that it does for the
// first time takes long where it is emulated.
package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/yamux"
)

// PortName is the name of the virtio-serial port.
const PortName = "aleph.guest.0"

// Version of the protocol. Host and guest program are built from the same tree, so they must be equal.
const Version = 4

// ProgramPort is the TCP port that programs listen on, on the guest's loopback (spec/crn.md §3.2).
const ProgramPort = 8080

// CodeDir is where the guest finds the user's code.
const CodeDir = "/opt/code"

// BootMark is the line that the guest program prints on the console first. Who sees it knows that the machine boots.
const BootMark = "aleph guest: started"

// The first byte of a stream.
const (
	StreamControl byte = 'C'
	StreamLogs    byte = 'L'
	StreamProxy   byte = 'P'
	StreamAPI     byte = 'A'
)

// Config tells the guest what to set up and run. The host decides everything; the guest has no defaults of its own.
type Config struct {
	Hostname string    `json:"hostname"`
	Time     time.Time `json:"time"` // the host's clock
	Root     string    `json:"root"` // device of the read-only root filesystem (squashfs): "vda"
	Archives []Archive `json:"archives,omitempty"`
	Volumes  []Volume  `json:"volumes,omitempty"`
	Args     []string  `json:"args"` // program and arguments; a relative path is taken from Dir, a bare name from PATH
	Dir      string    `json:"dir"`
	Env      []string  `json:"env"` // NAME=value, the whole environment
	API      *API      `json:"api,omitempty"`
	// Seconds is how long a WebAssembly program may compute without a sign of life; machines do not read it.
	Seconds int `json:"seconds,omitempty"`
	// Internet says that what the program sends elsewhere leaves by the network card. Its name server is at CardHost.
	Internet bool `json:"internet,omitempty"`
	// Copies says that the machine may be copied once the program is ready: the guest listens at RenewSocket for it and writes
	// NodePreload.
	Copies bool `json:"copies,omitempty"`
}

// RenewSocket is a Unix socket in the guest of a program that may be copied. A program that holds what must differ between
// copies, as the state of a random number generator, connects to it before it listens. In a copy it is sent a line, once time
// and randomness of the kernel are fresh, and no request comes before it has answered with a line: an empty one, or [RenewInPast].
const RenewSocket = "/run/aleph/renew.sock"

// RenewInPast is the answer of a program that is to be asked once more while the clock of the machine stands before its boot:
// generators of OpenSSL take a new seed when they are used then. It is sent the same line, and answers with an empty one.
const RenewInPast = "past"

// ASGIServer is a program in Python that serves an application of ASGI. The guest writes it where an argument of the program names it.
const ASGIServer = "/run/aleph/asgi.py"

// NodePreload is a module that Node loads before a program (--require). It waits at RenewSocket for the program, and makes new what
// Node itself holds.
const NodePreload = "/run/aleph/node.cjs"

// Resume is what a parked guest is told instead of a configuration.
type Resume struct {
	Time    time.Time         // the host's clock
	Entropy [EntropySize]byte // random bytes that no other machine was given
}

// EntropySize is how much randomness a machine is given to go on with, in bytes.
const EntropySize = 64

// Resumed is the guest's answer, when all is done that was to be done.
type Resumed struct {
	Card  bool   // the program is reached at the machine's network card
	Error string // why the program cannot go on; empty when it can, at most [maxReason] bytes
}

const maxReason = 1 << 10

// API says where in the guest the program reaches the guest API. Without it there is none.
type API struct {
	Socket string `json:"socket"` // path of a Unix socket
	Port   int    `json:"port"`   // TCP port on the loopback
}

// A machine may have a network card besides. Over it the host reaches the program by TCP with nobody in between: packets to
// 127.0.0.1 come in at the card, whose addresses are fixed, as nothing else is at its other end.
const (
	CardName    = "eth0"
	CardAddress = "52:54:00:12:34:56" // hardware address of the guest's card
	CardGuest   = "169.254.0.2"
	CardHost    = "169.254.0.1"
	CardBits    = 30    // length of the prefix of both
	CardMTU     = 65520 // bytes of a packet: fewer packets, and each costs an emulated guest a good deal
)

// MaxAPIStreams is how many connections to the guest API a program may have at the same time.
const MaxAPIStreams = 32

// Archive is code or data of the user, as the bytes of a block device.
type Archive struct {
	Device   string `json:"device"`
	Encoding string `json:"encoding"` // "zip", "tar", "tar.gz", "squashfs" or "plain"
	Size     int64  `json:"size"`     // bytes; a device is padded to whole sectors
	Dir      string `json:"dir"`      // where its content goes
	Name     string `json:"name"`     // plain: the file to write in Dir
	// MaxUnpacked bounds what an archive may unpack to, in bytes; MaxFiles how many entries it may have.
	MaxUnpacked int64 `json:"max_unpacked"`
	MaxFiles    int   `json:"max_files"`
}

// Volume is a block device to mount.
type Volume struct {
	Device   string `json:"device"`
	Mount    string `json:"mount"`
	FS       string `json:"fs"` // "squashfs" or "ext4"
	ReadOnly bool   `json:"read_only"`
	Grow     bool   `json:"grow,omitempty"` // ext4: the filesystem may be smaller than the device and is to fill it
}

// Command is sent by the host after the configuration.
type Command struct {
	// Stop asks the program to end (SIGTERM), kills it after the grace, syncs the disks and turns the machine off.
	Stop bool `json:"stop"`
	// Grace is how long the program may take to end.
	Grace time.Duration `json:"grace"`
	// Park ends the session and keeps the program.
	Park bool `json:"park,omitempty"`
}

// State is what an [Event] reports.
type State string

const (
	StateFailed  State = "failed"  // the guest could not be set up; Error says why. Final
	StateRunning State = "running" // the program's process exists
	StateReady   State = "ready"   // the program listens on ProgramPort
	StateExited  State = "exited"  // the program ended. Final
)

// Event is a change of state in the guest.
type Event struct {
	State  State  `json:"state"`
	Error  string `json:"error,omitempty"`
	Code   int    `json:"code,omitempty"`   // exit status
	Signal string `json:"signal,omitempty"` // name of the signal that ended it
	Card   bool   `json:"card,omitempty"`   // ready: the program is reached at the machine's network card
	Renews bool   `json:"renews,omitempty"` // ready: every process of the machine waits at RenewSocket
	OOM    bool   `json:"oom,omitempty"`    // the kernel killed a process because the machine's memory was used up
	Output string `json:"output,omitempty"` // the last of what the program printed
}

// LogLine is one line of the program's output.
type LogLine struct {
	Time   time.Time `json:"t"`
	Stream string    `json:"s"` // "stdout" or "stderr"
	Text   string    `json:"m"`
}

// MaxLine is the longest line, in bytes; the rest of a longer one becomes the next line.
const MaxLine = 8 << 10

// MaxConfig bounds a line of the control stream, in bytes.
const MaxConfig = 4 << 20

// FrameHeader precedes bytes that come from the program. Elapsed is the time between the last byte that was handed to the
// program and the first of these that came from it: for a request and its answer, what the program itself took. Measuring it
// beside the program is what lets the host tell the program's time from that of the way there.
type FrameHeader struct {
	Length  uint32 // bytes that follow
	Elapsed time.Duration
}

// FrameHeaderSize is its size on the wire: two big-endian 32-bit numbers, length and elapsed microseconds.
const FrameHeaderSize = 8

// Put writes h to the first FrameHeaderSize bytes of b.
func (h FrameHeader) Put(b []byte) {
	binary.BigEndian.PutUint32(b, h.Length)
	binary.BigEndian.PutUint32(b[4:], uint32(min(h.Elapsed.Microseconds(), 1<<32-1)))
}

// ParseFrameHeader reads a header from the first FrameHeaderSize bytes of b.
func ParseFrameHeader(b []byte) FrameHeader {
	return FrameHeader{binary.BigEndian.Uint32(b), time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Microsecond}
}

// The hello frame: magic, version, epoch.
var magic = [8]byte{'A', 'L', 'E', 'P', 'H', 'V', 'M', 0}

const helloSize = len(magic) + 2 + 8

func writeHello(w io.Writer, version uint16, epoch uint64) error {
	var b [helloSize]byte
	copy(b[:], magic[:])
	binary.BigEndian.PutUint16(b[8:], version)
	binary.BigEndian.PutUint64(b[10:], epoch)
	_, err := w.Write(b[:])
	return err
}

// maxSkipped bounds how much foreign matter is read while looking for a hello.
const maxSkipped = 1 << 20

// readHello skips to the next hello. It reads not one byte beyond it: what follows belongs to yamux.
func readHello(r io.Reader) (version uint16, epoch uint64, err error) {
	var b [helloSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, 0, err
	}
	for skipped := 0; [8]byte(b[:8]) != magic; skipped++ {
		if skipped == maxSkipped {
			return 0, 0, errors.New("no hello on the guest channel")
		}
		copy(b[:], b[1:])
		if _, err := io.ReadFull(r, b[helloSize-1:]); err != nil {
			return 0, 0, err
		}
	}
	return binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint64(b[10:]), nil
}

// HostHandshake greets the guest and waits for its answer to this epoch; answers to earlier epochs are skipped.
func HostHandshake(rw io.ReadWriter, epoch uint64) error {
	if err := writeHello(rw, Version, epoch); err != nil {
		return fmt.Errorf("greet the guest: %w", err)
	}
	return awaitHello(rw, epoch)
}

func awaitHello(r io.Reader, epoch uint64) error {
	for {
		version, got, err := readHello(r)
		if err != nil {
			return fmt.Errorf("wait for the guest's greeting: %w", err)
		}
		if got != epoch {
			continue
		}
		if version != Version {
			return fmt.Errorf("the guest program speaks version %d of the channel protocol, this node %d: build both from the same source", version, Version)
		}
		return nil
	}
}

// HostResume greets a guest that was parked, or a copy of one, and waits until its program may be called.
func HostResume(rw io.ReadWriter, epoch uint64, r Resume) (Resumed, error) {
	var b bytes.Buffer
	_ = writeHello(&b, Version, epoch)
	_ = binary.Write(&b, binary.BigEndian, r.Time.UnixNano())
	b.Write(r.Entropy[:])
	if _, err := rw.Write(b.Bytes()); err != nil {
		return Resumed{}, fmt.Errorf("greet the guest: %w", err)
	}
	if err := awaitHello(rw, epoch); err != nil {
		return Resumed{}, err
	}
	var head [3]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return Resumed{}, fmt.Errorf("wait for the guest to go on: %w", err)
	}
	length := binary.BigEndian.Uint16(head[1:])
	if length > maxReason {
		return Resumed{}, fmt.Errorf("wait for the guest to go on: it says %d bytes, at most %d are read", length, maxReason)
	}
	reason := make([]byte, length)
	if _, err := io.ReadFull(rw, reason); err != nil {
		return Resumed{}, fmt.Errorf("wait for the guest to go on: %w", err)
	}
	return Resumed{Card: head[0] != 0, Error: string(reason)}, nil
}

// ReadResume waits for the greeting of a parked guest and what follows it. [Resumed.Write] answers both.
func ReadResume(r io.Reader) (Resume, uint64, error) {
	version, epoch, err := readHello(r)
	if err != nil {
		return Resume{}, 0, fmt.Errorf("wait for the host's greeting: %w", err)
	}
	if version != Version {
		return Resume{}, 0, fmt.Errorf("the host speaks version %d of the channel protocol, this guest %d", version, Version)
	}
	var b [8 + EntropySize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return Resume{}, 0, fmt.Errorf("wait to be told to go on: %w", err)
	}
	return Resume{Time: time.Unix(0, int64(binary.BigEndian.Uint64(b[:]))), Entropy: [EntropySize]byte(b[8:])}, epoch, nil
}

// Write answers the greeting of an epoch.
func (r Resumed) Write(w io.Writer, epoch uint64) error {
	reason := r.Error[:min(len(r.Error), maxReason)]
	var card byte
	if r.Card {
		card = 1
	}
	var b bytes.Buffer
	_ = writeHello(&b, Version, epoch)
	b.WriteByte(card)
	_ = binary.Write(&b, binary.BigEndian, uint16(len(reason)))
	b.WriteString(reason)
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("answer the host's greeting: %w", err)
	}
	return nil
}

// GuestHandshake waits for the host's greeting, answers it and returns its epoch.
func GuestHandshake(rw io.ReadWriter) (epoch uint64, err error) {
	version, epoch, err := readHello(rw)
	if err != nil {
		return 0, fmt.Errorf("wait for the host's greeting: %w", err)
	}
	if err := writeHello(rw, Version, epoch); err != nil {
		return 0, fmt.Errorf("answer the host's greeting: %w", err)
	}
	if version != Version {
		return 0, fmt.Errorf("the host speaks version %d of the channel protocol, this guest %d", version, Version)
	}
	return epoch, nil
}

// Parked is the guest's last word when it has ended a session and waits for the next greeting: a hello of no epoch. It is no
// frame of the multiplexer, whose first byte is its version, so that the host's end of the session breaks on it.
func Parked(w io.Writer) error {
	if err := writeHello(w, Version, 0); err != nil {
		return fmt.Errorf("say that the session is over: %w", err)
	}
	return nil
}

// Mux returns the yamux settings of both ends. There is no keep-alive: a dead machine closes the pipe, and a machine that is
// starved of CPU or was suspended is not dead.
func Mux() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false
	c.AcceptBacklog = 1024
	c.ConnectionWriteTimeout = 2 * time.Minute
	c.StreamOpenTimeout = 0
	c.StreamCloseTimeout = time.Minute
	c.LogOutput = io.Discard
	return c
}
