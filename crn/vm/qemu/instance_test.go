package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/vm"
)

func TestAnInstanceGetsWhatItsMessageSays(t *testing.T) {
	spec := InstanceSpec{
		ID: "a", VCPUs: 2, MemoryMiB: 2048, Root: "/d/root,fs", Seed: "/d/seed",
		Drives: []vm.Drive{{Path: "/d/data"}, {Path: "/d/fixed", ReadOnly: true}}, Tap: "vmtap2048", MAC: "52:54:00:00:00:01",
	}
	args, err := instanceArguments(spec, "kvm")
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Join(args, " ")
	at := -1
	for _, want := range []string{
		"id=drive0,format=qcow2,l2-cache-size=8M,read-only=off,file=/d/root,,fs", "id=drive1,format=raw,read-only=on,file=/d/seed",
		"id=drive2,format=raw,read-only=off,file=/d/data", "id=drive3,format=raw,read-only=on,file=/d/fixed",
	} {
		if i := strings.Index(line, want); i <= at {
			t.Errorf("%q is missing or out of order: %s", want, line)
		} else {
			at = i
		}
	}
	for _, want := range []string{"-m 2048M", "-smp 2", "-cpu host", "tap,id=net0,fd=6", "mac=52:54:00:00:00:01", "-action shutdown=pause", "org.qemu.guest_agent.0"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is missing: %s", want, line)
		}
	}
	if strings.Contains(line, "-no-reboot") || !slices.Contains(args, "-sandbox") {
		t.Errorf("the guest may reboot, and QEMU is confined: %s", line)
	}
	spec.Tap = ""
	if args, err = instanceArguments(spec, "tcg"); err != nil || strings.Contains(strings.Join(args, " "), "virtio-net") {
		t.Errorf("without a tap there is no network card: %v, %v", args, err)
	}
	for _, wrong := range []InstanceSpec{{MemoryMiB: 1, Root: "r", Seed: "s"}, {VCPUs: 1, Root: "r", Seed: "s"}, {VCPUs: 1, MemoryMiB: 1, Seed: "s"}} {
		if _, err := instanceArguments(wrong, "tcg"); err == nil {
			t.Errorf("%+v was accepted", wrong)
		}
	}
}

func TestFoldersOfMachinesThatAreGoneAreRemoved(t *testing.T) {
	d, err := New(Config{Dir: t.TempDir(), Accelerator: "tcg"})
	if err != nil {
		t.Fatal(err)
	}
	i, err := d.Instances(filepath.Join(t.TempDir(), "run"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(record{PID: os.Getpid(), Start: 1, BootID: bootID()}) // this process has the number, and is another
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"other": string(raw), "half": "{", "early": ""} {
		dir := filepath.Join(i.dir, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if content != "" {
			if err := os.WriteFile(filepath.Join(dir, recordFile), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	adopted, err := i.Adopt(t.Context(), func(string) (io.WriteCloser, error) { return nil, errors.New("not to be opened") })
	left, _ := os.ReadDir(i.dir)
	if err != nil || len(adopted) != 0 || len(left) != 0 {
		t.Errorf("adopted %v, left %v, %v", adopted, left, err)
	}
}

func TestTheMonitorTellsEventsFromAnswers(t *testing.T) {
	host, qemu := net.Pipe()
	go func() {
		defer qemu.Close()
		_, _ = io.WriteString(qemu, `{"QMP":{}}`+"\n")
		commands := json.NewDecoder(qemu)
		for {
			var c struct{ Execute, ID string }
			if commands.Decode(&c) != nil {
				return
			}
			switch {
			case c.Execute == "query-status":
				_, _ = io.WriteString(qemu, `{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-shutdown"}}`+"\n"+`{"return":{},"id":"other"}`+"\n"+
					`not json`+"\n"+`{"return":{"status":"running"},"id":"`+c.ID+`"}`+"\n")
			case c.Execute == "quit":
				return
			default:
				_, _ = io.WriteString(qemu, `{"return":{},"id":"`+c.ID+`"}`+"\n")
			}
		}
	}()
	var events []string
	m, err := newMonitor(t.Context(), host, func(_ *monitor, name string, data json.RawMessage) { events = append(events, name+string(data)) })
	if err != nil {
		t.Fatal(err)
	}
	if state, err := m.status(t.Context()); err != nil || state != "running" {
		t.Errorf("got %q, %v", state, err)
	}
	m.send("quit")
	if _, err := m.status(t.Context()); err == nil {
		t.Error("an answer of a QEMU that is gone")
	}
	m.close()
	if want := []string{`SHUTDOWN{"guest":true,"reason":"guest-shutdown"}`}; !slices.Equal(events, want) {
		t.Errorf("events %q", events)
	}
}

func TestAMonitorThatDoesNotAnswerIsGivenUp(t *testing.T) {
	host, qemu := net.Pipe()
	defer qemu.Close()
	go func() { _, _ = io.Copy(io.Discard, qemu) }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := newMonitor(ctx, host, func(*monitor, string, json.RawMessage) {}); err == nil {
		t.Error("it was taken for ready")
	}
}
