// Package vmtest is what every [vm.Driver] must do, run on real machines. A driver's own test calls [Run].
package vmtest

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/guest"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/guest/wire"
)

// patience bounds every wait. An emulated machine on a busy host takes ten seconds to boot.
const patience = 90 * time.Second

// Run runs the suite. open returns the driver for a folder; calling it again on the same folder is a node that starts anew.
func Run(t *testing.T, open func(t *testing.T, dir string) vm.Driver) {
	images := imagetest.Get(t)
	spec := func(id string, drives ...vm.Drive) vm.Spec {
		return vm.Spec{
			ID: id, VCPUs: 1, MemoryMiB: 128, Kernel: images.Kernel.Path, Initrd: images.Initramfs, Channel: wire.PortName, Card: true,
			Drives: append([]vm.Drive{{Path: images.Runtime, ReadOnly: true}}, drives...),
		}
	}
	// One machine shows a life from boot to power-off; drives, channel and figures are looked at on the way.
	t.Run("a machine boots, speaks, and turns itself off", func(t *testing.T) {
		dir := t.TempDir()
		d := open(t, dir)
		print, err := d.Fingerprint(t.Context())
		if err != nil || print.Driver == "" || print.Version == "" || (print.Accelerator != "kvm" && print.Accelerator != "tcg") {
			t.Fatalf("fingerprint %+v, %v", print, err)
		}
		note := filepath.Join(t.TempDir(), "a,comma.img")
		if err := os.WriteFile(note, []byte("#!/bin/sh\ncat /proc/partitions; exit 7\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := d.Start(t.Context(), spec("life", vm.Drive{Path: note, ReadOnly: true}))
		if err != nil {
			t.Fatal(err)
		}
		defer end(t, m)
		if s := m.Inspect(); !s.Running || s.PID == 0 || s.Started.IsZero() {
			t.Errorf("status of a running machine: %+v", s)
		}
		if _, err := d.Start(t.Context(), spec("life")); err == nil {
			t.Error("a second machine of the same id was started")
		}
		s := configure(t, m, note)
		var exit *guest.ExitError
		select {
		case <-s.Done():
			exit, _ = s.Err().(*guest.ExitError)
		case <-time.After(patience):
		}
		if exit == nil || exit.Code != 7 {
			t.Fatalf("the guest's program ended with %v", s.Err())
		}
		if status := m.Inspect(); status.RSSKiB == 0 || status.CPUTime == 0 {
			t.Errorf("figures of a machine that worked: %+v", status)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := s.Stop(ctx, time.Second); err != nil {
			t.Error(err)
		}
		wait(t, m)
		if err := m.Err(); err != nil {
			t.Errorf("a machine that turned itself off: %v", err)
		}
		if err := m.Stop(ctx); err != nil {
			t.Errorf("stopping what has ended: %v", err)
		}
		if s := m.Inspect(); s.Running {
			t.Errorf("status of a machine that ended: %+v", s)
		}
		if ids, err := open(t, dir).Reap(t.Context()); err != nil || len(ids) != 0 {
			t.Errorf("a machine that ended left %v behind (%v)", ids, err)
		}
	})

	t.Run("a machine is stopped while it boots", func(t *testing.T) {
		m, err := open(t, t.TempDir()).Start(t.Context(), spec("stopped"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := m.Stop(ctx); err != nil {
			t.Error(err)
		}
		wait(t, m)
	})

	t.Run("when patience is over a machine is killed", func(t *testing.T) {
		m, err := open(t, t.TempDir()).Start(t.Context(), spec("killed"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = m.Stop(ctx)
		wait(t, m)
	})

	t.Run("what a killed node left behind is ended", func(t *testing.T) {
		dir := t.TempDir()
		m, err := open(t, dir).Start(t.Context(), spec("left"))
		if err != nil {
			t.Fatal(err)
		}
		ids, err := open(t, dir).Reap(t.Context())
		if err != nil || len(ids) != 1 || ids[0] != "left" {
			t.Errorf("reaped %v, %v", ids, err)
		}
		wait(t, m)
		if m.Err() == nil {
			t.Error("a machine that was killed from outside ended without an error")
		}
	})

	t.Run("a wrong drive is an error that names it", func(t *testing.T) {
		m, err := open(t, t.TempDir()).Start(t.Context(), spec("wrong", vm.Drive{Path: "/absent.img"}))
		if err == nil {
			wait(t, m)
			err = m.Err()
		}
		if err == nil || !strings.Contains(err.Error(), "/absent.img") {
			t.Errorf("got %v", err)
		}
	})

	t.Run("a saved machine goes on in copies", func(t *testing.T) { snapshots(t, open, spec) })

	t.Run("ids that are no names are refused", func(t *testing.T) {
		for _, id := range []string{"", "../other", "UPPER", "a/b", "a b"} {
			if _, err := open(t, t.TempDir()).Start(t.Context(), spec(id)); err == nil {
				t.Errorf("id %q was accepted", id)
			}
		}
	})
}

// configure makes the guest run the script that the second drive holds.
func configure(t *testing.T, m vm.Machine, script string) *guest.Session {
	t.Helper()
	info, err := os.Stat(script)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := guest.Open(ctx, m.Channel(), wire.Config{
		Hostname: "test", Root: "vda", Dir: wire.CodeDir, Args: []string{"./script"}, Env: []string{"PATH=/usr/bin:/bin"}, Copies: true,
		Archives: []wire.Archive{{Device: "vdb", Encoding: "plain", Size: info.Size(), Dir: wire.CodeDir, Name: "script"}},
	}, func(l wire.LogLine) {
		raw, _ := json.Marshal(l)
		t.Logf("guest: %s", raw)
	})
	if err != nil {
		t.Fatalf("the guest does not answer on its channel: %v", err)
	}
	t.Cleanup(s.Close)
	useCard(t, s, m)
	return s
}

func useCard(t *testing.T, s *guest.Session, m vm.Machine) {
	t.Helper()
	if m.Card() == nil {
		return // the driver has none
	}
	if err := s.UseCard(m.Card(), nil); err != nil {
		t.Fatal(err)
	}
}

func wait(t *testing.T, m vm.Machine) {
	t.Helper()
	select {
	case <-m.Done():
	case <-time.After(patience):
		t.Fatal("the machine did not end")
	}
}

func end(t *testing.T, m vm.Machine) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = m.Stop(ctx)
}
