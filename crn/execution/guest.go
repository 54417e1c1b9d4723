package execution

import (
	"context"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/crn/guest"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// guestHook configures the guest and waits until the program listens. A copy comes with all that.
type guestHook struct{ *Pool }

// SilentError says that a program runs and does not listen.
type SilentError struct{ After time.Duration }

func (e *SilentError) Error() string {
	return fmt.Sprintf("the program did not listen on port %d within %s; it must accept connections at 127.0.0.1:%d (see its logs)",
		wire.ProgramPort, e.After.Round(time.Second), wire.ProgramPort)
}

// BootError says that the machine did not come up, for a reason that is not the program's.
type BootError struct{ Err error }

func (e *BootError) Error() string { return "the virtual machine did not start: " + e.Err.Error() }
func (e *BootError) Unwrap() error { return e.Err }

func (h guestHook) start(ctx context.Context, x *Execution) error {
	if x.session != nil {
		return nil
	}
	if err := h.configure(ctx, x); err != nil || x.snapshot == "" {
		return err
	}
	if !h.willing(x) {
		h.snapshots.refuse(x.snapshot)
		x.snapshot = ""
		return nil
	}
	return h.goOnAsCopy(ctx, x)
}

func (h guestHook) configure(ctx context.Context, x *Execution) error {
	s, err := guest.Open(ctx, x.machine.Channel(), guestConfig(x, x.snapshot != ""), x.logs.Add)
	if err != nil {
		// The channel breaks a moment before the process is seen to end, and only that says why.
		select {
		case <-x.machine.Done():
			err = errors.Join(x.machine.Err(), err)
		case <-time.After(time.Second):
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no sign of life within %s", h.cfg.InitTimeout)
		}
		return &BootError{err}
	}
	x.talk(s)
	select {
	case <-s.Ready():
		return nil
	case <-s.Done():
		return x.describe(s.Err())
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			if isWasm(x.program) {
				return fmt.Errorf("the module was not compiled within %s", h.cfg.InitTimeout)
			}
			return &SilentError{h.cfg.InitTimeout}
		}
		return ctx.Err()
	}
}

// programGrace is how long a program may take to end after SIGTERM.
const programGrace = 3 * time.Second

func (h guestHook) stop(ctx context.Context, x *Execution) {
	if x.session == nil {
		return
	}
	x.http.CloseIdleConnections()
	select {
	case <-x.machine.Done():
	default:
		ctx, cancel := context.WithTimeout(ctx, programGrace+3*time.Second)
		if err := x.session.Stop(ctx, programGrace); err != nil && !errors.Is(x.session.Err(), guest.ErrLost) {
			h.cfg.Log.Warn("guest did not stop in order", "hash", x.hash, "error", err)
		}
		cancel()
	}
	x.session.Close()
}

// guestConfig says what the guest sets up and runs; with copies, such that it can go on in some.
func guestConfig(x *Execution, copies bool) wire.Config {
	c := wire.Config{
		Hostname: HostLabel(x.hash), Root: runtimeDrive, Archives: x.archives, Volumes: x.volumes,
		Dir: wire.CodeDir, Copies: copies, Internet: x.program.Environment.Internet,
	}
	if isWasm(x.program) {
		return wasmConfig(x, c)
	}
	code := x.program.Code
	if code.EffectiveInterface() == message.InterfaceASGI {
		module, app := pythonModule(code.Entrypoint)
		c.Args = []string{"python3", wire.ASGIServer}
		if copies {
			c.Args = []string{"python3", "-c", reseedScript, wire.RenewSocket, wire.ASGIServer}
		}
		c.Args = append(c.Args, module+":"+app, "--host", "127.0.0.1", "--port", fmt.Sprint(wire.ProgramPort),
			"--forwarded-allow-ips", "127.0.0.1,"+wire.CardHost, // the node says who called
			"--no-access-log", "--lifespan", "auto", "--loop", "auto", "--http", "auto")
	} else {
		c.Args = []string{"./" + strings.TrimPrefix(code.Entrypoint, "/")}
	}
	env := map[string]string{
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
		"PORT": fmt.Sprint(wire.ProgramPort), "ALEPH_ADDRESS_TO_USE": c.Hostname,
		"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1",
		// Where users mount a volume with packages, and where runtimes of the reference have theirs (spec/crn.md §3.4.6).
		"PYTHONPATH": "/opt/packages:/opt/aleph/libs",
	}
	if x.offersAPI() {
		c.API = &wire.API{Socket: apiSocket, Port: apiPort}
		maps.Copy(env, apiVariables())
	}
	maps.Copy(env, x.program.Variables)
	if copies {
		env["NODE_OPTIONS"] = strings.TrimSpace("--require " + wire.NodePreload + " " + env["NODE_OPTIONS"])
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		c.Env = append(c.Env, name+"="+env[name])
	}
	return c
}

// HostLabel is the DNS label of a program: the 32 bytes of its hash in base32 (spec/crn.md §2.2). It also names the guest.
func HostLabel(hash message.Hash) string {
	raw, err := hex.DecodeString(string(hash))
	if err != nil {
		return "guest"
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))
}

// ParseHostLabel is the inverse of [HostLabel], in any case.
func ParseHostLabel(label string) (message.Hash, bool) {
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(label))
	if err != nil || len(raw) != 32 {
		return "", false
	}
	return message.Hash(hex.EncodeToString(raw)), true
}
