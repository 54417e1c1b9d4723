// Command hardware stands in for QEMU on a host that has what the hosts of tests have not: a secure processor, and graphics cards. It is
// started as QEMU is, in the same jail, and speaks QMP on the sockets that it inherits. Its machines have no guest: they print their
// arguments on the console, heed the power button, and once a confidential one was given its secret, print the passphrase in it.
//
// The processor is that of package sevtest, in ../share/qemu/platform.json beside this program.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aleph-im/aleph-go/client/sev/sevtest"
)

func main() {
	if slices.Contains(os.Args, "--version") {
		fmt.Println("QEMU emulator version 7.2.0 (stand-in)")
		return
	}
	if err := run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "qemu-system-x86_64:", err)
		os.Exit(1)
	}
}

// machine is what there is of one.
type machine struct {
	platform *sevtest.Platform
	args     []string

	mu      sync.Mutex
	state   string // as query-status says it
	guest   *sevtest.Guest
	policy  uint32
	printed strings.Builder
	serial  net.Conn
}

func run(args []string) error {
	raw, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(args[0])), "share", "qemu", "platform.json"))
	if err != nil {
		return err
	}
	m := &machine{args: args, state: "running"}
	if m.platform, err = sevtest.Unmarshal(raw); err != nil {
		return err
	}
	if m.value("-machine") == "none" {
		return m.control(3)
	}
	if slices.Contains(args, "-S") {
		m.state = "prelaunch"
	}
	if object := m.value("-object"); strings.HasPrefix(object, "sev-guest,") {
		if err := m.launch(options(object)); err != nil {
			return fmt.Errorf("sev_launch_start: LAUNCH_START: %w", err)
		}
	}
	m.print("arguments: " + strings.Join(args[1:], " "))
	serial, err := listener(3)
	if err != nil {
		return err
	}
	go m.console(serial)
	return m.control(4)
}

// value is that of the first option of a name.
func (m *machine) value(name string) string {
	if i := slices.Index(m.args, name); i >= 0 && i+1 < len(m.args) {
		return m.args[i+1]
	}
	return ""
}

func options(text string) map[string]string {
	set := map[string]string{}
	for _, option := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(option, "=")
		set[name] = value
	}
	return set
}

func (m *machine) launch(o map[string]string) error {
	var parts [2][]byte
	for i, name := range []string{"dh-cert-file", "session-file"} {
		raw, err := os.ReadFile(o[name])
		if err == nil {
			parts[i], err = base64.StdEncoding.DecodeString(strings.TrimSpace(string(raw)))
		}
		if err != nil {
			return err
		}
	}
	var firmware []byte
	for i, arg := range m.args {
		if arg == "-drive" && strings.HasPrefix(m.args[i+1], "if=pflash") {
			var err error
			if firmware, err = os.ReadFile(options(m.args[i+1])["file"]); err != nil {
				return err
			}
		}
	}
	device, err := os.OpenFile(o["sev-device"], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	device.Close()
	policy, err := strconv.ParseUint(o["policy"], 0, 32)
	if err != nil {
		return err
	}
	m.policy = uint32(policy)
	m.guest, err = m.platform.Launch(m.policy, parts[0], parts[1], firmware)
	return err
}

func (m *machine) print(line string) {
	m.printed.WriteString(line + "\n")
	if m.serial != nil {
		fmt.Fprintln(m.serial, line)
	}
}

func listener(fd uintptr) (net.Listener, error) {
	f := os.NewFile(fd, "socket")
	defer f.Close()
	return net.FileListener(f)
}

// console serves one connection after the other. Only the first gets what was printed before it.
func (m *machine) console(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		if m.serial == nil {
			fmt.Fprint(conn, m.printed.String())
		}
		m.serial = conn
		m.mu.Unlock()
	}
}

func (m *machine) control(fd uintptr) error {
	l, err := listener(fd)
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		if m.talk(conn) {
			return nil
		}
	}
}

// talk reports whether QEMU is to end.
func (m *machine) talk(conn net.Conn) (quit bool) {
	defer conn.Close()
	fmt.Fprintln(conn, `{"QMP":{}}`)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		var c struct {
			Execute   string
			Arguments map[string]string
			ID        string
		}
		_ = json.Unmarshal(lines.Bytes(), &c) // arguments of others are not read
		m.mu.Lock()
		value, err := m.do(c.Execute, c.Arguments)
		m.mu.Unlock()
		answer := map[string]any{"return": value, "id": c.ID}
		if err != nil {
			answer = map[string]any{"error": map[string]string{"class": "GenericError", "desc": err.Error()}, "id": c.ID}
		}
		if c.Execute == "system_powerdown" && m.state == "shutdown" {
			fmt.Fprintln(conn, `{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-shutdown"}}`)
		}
		raw, err := json.Marshal(answer)
		if err != nil {
			panic(err) // of maps of texts and numbers
		}
		fmt.Fprintf(conn, "%s\n", raw)
		if c.Execute == "quit" {
			return true
		}
	}
	return false
}

// do carries out a command.
func (m *machine) do(command string, arguments map[string]string) (any, error) {
	done := map[string]any{}
	switch command {
	case "query-status":
		return map[string]any{"status": m.state, "running": m.state == "running", "singlestep": false}, nil
	case "query-sev-capabilities":
		chain := m.platform.Certificates()
		return map[string]any{
			"pdh": chain[:2084], "cert-chain": chain[2084:], "cpu0-id": []byte{}, "cbitpos": 51, "reduced-phys-bits": 1,
		}, nil
	case "query-sev":
		state := "running"
		if m.state == "prelaunch" {
			state = "launch-secret"
		}
		return map[string]any{
			"enabled": true, "api-major": sevtest.Major, "api-minor": sevtest.Minor, "build-id": sevtest.Build, "policy": m.policy, "state": state, "handle": 1,
		}, nil
	case "query-sev-launch-measure":
		if m.guest == nil {
			return nil, errors.New("SEV is not enabled")
		}
		return map[string]any{"data": m.guest.Measure()}, nil
	case "sev-inject-launch-secret":
		var parts [2][]byte
		for i, name := range []string{"packet-header", "secret"} {
			raw, err := base64.StdEncoding.DecodeString(arguments[name])
			if err != nil {
				return nil, err
			}
			parts[i] = raw
		}
		if m.state != "prelaunch" {
			return nil, errors.New("SEV: Not in correct state. (LSECRET) 3")
		}
		return done, m.guest.Inject(parts[0], parts[1])
	case "cont":
		if m.state == "prelaunch" {
			m.state = "running"
			m.print("passphrase: " + m.guest.Passphrase())
		}
	case "system_powerdown":
		if m.state == "running" {
			m.state = "shutdown"
		}
	}
	return done, nil
}
