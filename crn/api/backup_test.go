package api

import (
	"archive/tar"
	"bytes"
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/crn/backup"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/message"
)

// newBackups is a store with one backup, and a link to it.
func newBackups(t *testing.T, hash message.Hash) (s *backup.Store, archive []byte, link url.Values, id string) {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: "rootfs.qcow2", Size: 5, Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("image")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	id = string(hash) + "-20250101T000000Z"
	if err := os.WriteFile(filepath.Join(dir, id+".tar"), out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret.tar"), []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := backup.New(backup.Config{Machines: noMachines{}, Dir: dir, Secret: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Latest(hash)
	if err != nil {
		t.Fatal(err)
	}
	return s, out.Bytes(), s.Link(b), id
}

type noMachines struct{ backup.Machines }

func (noMachines) Disks(context.Context, message.Hash, bool) ([]instance.Disk, error) {
	return nil, instance.ErrNotRunning
}

func TestALinkOpensItsBackupAlone(t *testing.T) {
	hash := message.HashBytes([]byte("instance"))
	backups, archive, link, id := newBackups(t, hash)
	s := serverOn(t, nil, func(c *Config) { c.Backups = backups })
	at := "/control/machine/" + string(hash) + "/backup/"
	good := link.Encode()
	if w := s.do("GET", at+id+"?"+good, ""); w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), archive) || w.Header().Get("Content-Type") != "application/x-tar" {
		t.Errorf("got %d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
	}
	if w := s.do("GET", at+id+"?"+good, "", "Range", "bytes=512-516"); w.Code != http.StatusPartialContent || w.Body.String() != "image" {
		t.Errorf("a part: %d %q", w.Code, w.Body)
	}
	other := message.HashBytes([]byte("other"))
	for name, test := range map[string]struct {
		path   string
		status int
		reason string
	}{
		"no link":                   {at + id, 403, "Missing signature or expires parameter"},
		"a link for longer":         {at + id + "?" + strings.Replace(good, "expires=", "expires=1", 1), 403, "Invalid signature"},
		"a link of long ago":        {at + id + "?signature=" + link.Get("signature") + "&expires=1", 403, "Download link has expired"},
		"a time that is none":       {at + id + "?signature=" + link.Get("signature") + "&expires=1e9", 400, "Invalid expires parameter"},
		"another backup's":          {at + strings.Replace(id, "2025", "2026", 1) + "?" + good, 403, "Invalid signature"},
		"another instance's":        {"/control/machine/" + string(other) + "/backup/" + id + "?" + good, 403, "The backup is not one of this VM"},
		"another file of the store": {at + "secret?" + good, 403, "The backup is not one of this VM"},
		"a path":                    {at + "..%2F" + id + "?" + good, 400, "Invalid backup_id"},
		"a path in another way":     {at + string(hash) + `-%5C..?` + good, 400, "Invalid backup_id"},
		"no hash":                   {"/control/machine/x/backup/" + id + "?" + good, 400, "Invalid message reference: x"},
	} {
		if w := s.do("GET", test.path, ""); w.Code != test.status || w.Body.String() != `{"error":"`+test.reason+`"}` {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if err := backups.Delete(id); err != nil {
		t.Fatal(err)
	}
	if w := s.do("GET", at+id+"?"+good, ""); w.Code != http.StatusNotFound || w.Body.String() != `{"error":"Backup `+id+` not found"}` {
		t.Errorf("what was deleted: %d %s", w.Code, w.Body)
	}
	if w := serverOn(t, nil, nil).do("GET", at+id+"?"+good, ""); w.Code != http.StatusNotFound {
		t.Errorf("on a node without instances: %d %s", w.Code, w.Body)
	}
}

func TestBackupsAreTheirOwners(t *testing.T) {
	hash := message.HashBytes([]byte("instance"))
	backups, _, _, id := newBackups(t, hash)
	s := serverOn(t, nil, func(c *Config) {
		c.Backups, c.Instances = backups, &fakeInstances{known: map[message.Hash]bool{hash: true}}
	})
	at := "/control/machine/" + string(hash)
	for _, request := range [][2]string{{"POST", "/backup"}, {"GET", "/backup"}, {"DELETE", "/backup/" + id}, {"POST", "/restore"}} {
		if w := s.do(request[0], at+request[1], `{"volume_ref":"`+string(hash)+`"}`); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "X-SignedPubKey") {
			t.Errorf("%v by nobody: %d %s", request, w.Code, w.Body)
		}
	}
	if _, err := backups.Latest(hash); err != nil {
		t.Errorf("it is gone: %v", err)
	}
}
