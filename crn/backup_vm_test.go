package crn_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

const crnURL = "http://crn.test"

// backup makes a backup and returns what is in it.
func (h *host) backup(hash message.Hash) (*client.Backup, map[string][]byte) {
	h.t.Helper()
	b, err := h.client.StartBackup(h.t.Context(), h.owner, crnURL, hash, client.BackupOptions{Volumes: true})
	if errors.Is(err, client.ErrInProgress) {
		b, err = h.client.AwaitBackup(h.t.Context(), h.owner, crnURL, hash)
	}
	var archive bytes.Buffer
	if err == nil {
		err = h.client.DownloadBackup(h.t.Context(), crnURL, b, &archive)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	images := map[string][]byte{}
	for r := tar.NewReader(&archive); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return b, images
		}
		if err == nil {
			images[header.Name], err = io.ReadAll(r)
		}
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

// comesBack backs a running instance up, whose volume is vdc, and restores it: what the guest wrote to its root disk before is there
// again, what it wrote after is gone. The guest's own root is in memory, so the far end of the disk stands for a file.
func (h *host) comesBack(t *testing.T, hash message.Hash) {
	t.Helper()
	const (
		write = "dd of=/dev/vda bs=512 seek=1000000 conv=notrunc 2>/dev/null; sync"
		read  = "dd if=/dev/vda bs=512 skip=1000000 count=1 2>/dev/null | head -n 1"
	)
	h.ssh(hash, "echo before | "+write+"; echo old > /vol/vdc/later; sync")
	// It goes on writing while it is copied.
	h.ssh(hash, "(i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo $i | dd of=/dev/vda bs=512 seek=$((900000+i*40)) conv=notrunc,fsync 2>/dev/null; done) >/dev/null 2>&1 &")
	b, images := h.backup(hash)
	if !slices.Equal(b.Volumes, []string{"rootfs.qcow2", "kept.qcow2", "begun.qcow2"}) || !strings.HasPrefix(b.URL, "https://crn.test/control/machine/") {
		t.Errorf("got %+v", b)
	}
	dir := t.TempDir()
	for name, raw := range images {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("qemu-img", "check", "-q", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	kept := filepath.Join(dir, "kept")
	if out, err := exec.Command("qemu-img", "convert", "-O", "raw", filepath.Join(dir, "kept.qcow2"), kept).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("/sbin/debugfs", "-R", "cat /later", kept).Output(); err != nil || string(out) != "old\n" {
		t.Errorf("the volume's copy holds %q, %v", out, err)
	}

	stranger, err := ethereum.Generate()
	if err != nil {
		t.Fatal(err)
	}
	image := images["rootfs.qcow2"]
	if err := h.client.RestoreImage(t.Context(), stranger, crnURL, hash, bytes.NewReader(image), int64(len(image))); client.KindOf(err) != client.KindNotAllowed {
		t.Errorf("by a stranger: %v", err)
	}

	h.ssh(hash, "echo after | "+write+"; echo new > /vol/vdc/later; sync")
	if err := h.client.RestoreImage(t.Context(), h.owner, crnURL, hash, bytes.NewReader(image), int64(len(image))); err != nil {
		t.Fatal(err)
	}
	if got := h.ssh(hash, read); got != "before" {
		t.Errorf("the root disk holds %q", got)
	}
	if got := h.ssh(hash, "cat /vol/vdc/later"); got != "new" {
		t.Errorf("the volume holds %q", got)
	}
	h.kill()
	h.start()
	again, err := h.client.GetBackup(t.Context(), h.owner, crnURL, hash)
	if err != nil || again.ID != b.ID || again.URL != b.URL {
		t.Errorf("after a restart of the node: %+v, %v", again, err)
	}
}
