package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

const theBackup = "c5b1-20250101T000000Z"

// archiveOf is a backup with one image in it.
func archiveOf(t *testing.T, name, image string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(image)), Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, image); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// keepsBackups answers as a compute node does that makes a backup in no time.
func (n *fakeNode) keepsBackups(mux *http.ServeMux) {
	const at = "/control/machine/{hash}/"
	note := func(r *http.Request, what string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.operated = append(n.operated, what)
	}
	mux.HandleFunc("POST "+at+"backup", func(w http.ResponseWriter, r *http.Request) {
		note(r, "backup?"+r.URL.RawQuery)
		if n.backup != nil {
			n.showBackup(w, r)
			return
		}
		n.backup = n.disks
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, `{"status":"in_progress"}`)
	})
	mux.HandleFunc("GET "+at+"backup", n.showBackup)
	mux.HandleFunc("GET "+at+"backup/{id}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(n.backup))
	})
	mux.HandleFunc("DELETE "+at+"backup/{id}", func(w http.ResponseWriter, r *http.Request) {
		note(r, "delete "+r.PathValue("id"))
		n.backup = nil
	})
	mux.HandleFunc("POST "+at+"restore", func(w http.ResponseWriter, r *http.Request) {
		if file, _, err := r.FormFile("rootfs"); err == nil {
			raw, _ := io.ReadAll(file)
			note(r, "restore "+string(raw))
			return
		}
		raw, _ := io.ReadAll(r.Body)
		note(r, "restore "+string(raw))
	})
}

func (n *fakeNode) showBackup(w http.ResponseWriter, r *http.Request) {
	if n.backup == nil {
		http.Error(w, `{"error":"No backup found for this VM"}`, http.StatusNotFound)
		return
	}
	fmt.Fprintf(w, `{"backup_id":%q,"size":%d,"volumes":["rootfs.qcow2"],"expires_at":"2025-01-02T00:00:00Z","checksum":"sha256:%x","download_url":"https://crn.example.org/control/machine/%s/backup/%s?signature=s&expires=1"}`,
		theBackup, len(n.backup), sha256.Sum256(n.backup), r.PathValue("hash"), theBackup)
}

func TestABackupIsMadeFetchedRestoredAndDeleted(t *testing.T) {
	node := newFakeNode(t)
	node.disks = archiveOf(t, "rootfs.qcow2", "QFI\xfbdisk")
	u := newUser(t, node.URL)
	hash := string(message.HashBytes([]byte("instance")))
	file := filepath.Join(t.TempDir(), "backup.tar")
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, []byte("QFI\xfbother"), 0o600); err != nil {
		t.Fatal(err)
	}
	ref := string(message.HashBytes([]byte("volume")))
	for _, step := range []struct {
		args []string
		code int
		out  string
	}{
		{[]string{"list", hash}, exitNotFound, ""},
		{[]string{"create", hash, "--include-volumes", "--wait=false"}, exitPending, ""},
		{[]string{"create", hash, "--skip-fsfreeze"}, 0, theBackup},
		{[]string{"info", hash}, 0, "2025-01-02T00:00:00Z"},
		{[]string{"download", hash, "--to", file}, 0, file},
		{[]string{"restore", hash, "--file", file}, exitUsage, ""}, // it asks
		{[]string{"restore", hash, "--yes"}, exitUsage, ""},
		{[]string{"restore", hash, "--file", file, "--yes"}, 0, hash},
		{[]string{"restore", hash, "--file", image, "--yes"}, 0, hash},
		{[]string{"restore", hash, "--file", os.Args[0], "--yes"}, exitUsage, ""},
		{[]string{"restore", hash, "--volume-ref", ref, "--yes"}, 0, hash},
		{[]string{"delete", hash, "--yes"}, 0, theBackup},
		{[]string{"delete", hash, "--yes"}, exitNotFound, ""},
		{[]string{"create", hash}, 0, theBackup},
	} {
		code, out, errOut := u.run(append([]string{"--no-input", "instance", "backup"}, step.args...)...)
		if code != step.code || !strings.Contains(out, step.out) {
			t.Errorf("%v: exit code %d: %s%s", step.args, code, out, errOut)
		}
	}
	want := []string{
		"backup?include_volumes=true", "backup?skip_fsfreeze=true", "restore QFI\xfbdisk", "restore QFI\xfbother", `restore {"volume_ref":"` + ref + `"}`,
		"delete " + theBackup, "backup?",
	}
	if !slices.Equal(node.operated, want) {
		t.Errorf("the node was told %q", node.operated)
	}
	raw, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(raw, node.disks) {
		t.Errorf("fetched %d bytes, %v", len(raw), err)
	}
	var v backupView
	if _, out, _ := u.run("-o", "json", "instance", "backup", "list", hash); json.Unmarshal([]byte(out), &v) != nil || v.ID != theBackup || string(v.ItemHash) != hash {
		t.Errorf("printed %s", out)
	}
}
