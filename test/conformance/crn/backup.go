package crn

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/message"
)

// speaking is a raw disk that prints a letter at boot and does nothing more.
func speaking(letter byte) []byte {
	disk := make([]byte, 1<<20)
	// Letter and line end go to the serial port; then halt, again and again.
	copy(disk, []byte{0xba, 0xf8, 0x03, 0xb0, letter, 0xee, 0xb0, '\n', 0xee, 0xf4, 0xeb, 0xfd})
	disk[510], disk[511] = 0x55, 0xaa
	return disk
}

// qcow2 makes an image of a raw disk, with so many MiB. change may spoil its header.
func (r *rig) qcow2(disk []byte, mib int, change func(head []byte)) []byte {
	r.Helper()
	raw, image := filepath.Join(r.TempDir(), "raw"), filepath.Join(r.TempDir(), "qcow2")
	err := os.WriteFile(raw, disk, 0o600)
	for _, args := range [][]string{{"convert", "-f", "raw", "-O", "qcow2", raw, image}, {"resize", "-q", image, fmt.Sprint(mib) + "M"}} {
		out, failed := exec.Command("qemu-img", args...).CombinedOutput()
		if err = errors.Join(err, failed); err != nil {
			r.Fatalf("%v: %s", err, out)
		}
	}
	content, err := os.ReadFile(image)
	if err != nil {
		r.Fatal(err)
	}
	if change != nil {
		change(content)
	}
	return content
}

// operation makes one of any method, with a body, as a wallet. The query is not signed.
func (r *rig) operation(w wallet, method, target, body string, header ...string) reply {
	r.Helper()
	path, _, _ := strings.Cut(target, "?")
	return r.ask(r.node, method, target, body, append(w.headers(method, path), header...)...)
}

// upload restores an instance from an image in a field of a form.
func (r *rig) upload(w wallet, hash message.Hash, field string, image []byte) reply {
	r.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile(field, "rootfs.qcow2")
	if err == nil {
		_, err = part.Write(image)
	}
	if err = errors.Join(err, form.Close()); err != nil {
		r.Fatal(err)
	}
	return r.operation(w, "POST", machine(hash, "restore"), body.String(), "Content-Type", form.FormDataContentType())
}

// unpack writes the members of an archive into a folder of the test's and returns their paths by their names.
func (r *rig) unpack(archive string) map[string]string {
	r.Helper()
	dir, files := r.TempDir(), map[string]string{}
	for tape := tar.NewReader(strings.NewReader(archive)); ; {
		header, err := tape.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			r.Fatal(err)
		}
		content, err := io.ReadAll(tape)
		if err != nil {
			r.Fatal(err)
		}
		files[header.Name] = filepath.Join(dir, filepath.Base(header.Name))
		if err := os.WriteFile(files[header.Name], content, 0o600); err != nil {
			r.Fatal(err)
		}
	}
}

// says waits until the last letter that a machine printed is the given one.
func (r *rig) says(hash message.Hash, letter string) {
	r.Helper()
	r.until("it says "+letter, func() bool {
		got := r.operation(owner, "GET", machine(hash, "logs"), "")
		all := strings.Split(got.body, `"MESSAGE":"`)
		return got.status == 200 && len(all) > 1 && strings.HasPrefix(all[len(all)-1], letter+`"`)
	})
}

// talker is an instance with a volume whose disk says A, on a node of its own.
func (r *rig) talker() (*rig, message.Hash) {
	r.Helper()
	r = r.hosting()
	hash := r.idle(func(content map[string]any) {
		content["rootfs"].(map[string]any)["parent"] = map[string]any{"ref": r.core.Store(speaking('A')), "use_latest": false}
		content["volumes"] = []any{map[string]any{"persistence": "host", "name": "data", "mount": "/data", "size_mib": 4}}
	})
	r.want("plan", r.allot(hash), 200)
	r.says(hash, "A")
	return r, hash
}

const inProgress = `{"status":"in_progress"}`

var backupRows = []row{
	{number: 52, about: "backup and restore", checks: []check{{"a backup is made once, downloaded by its link, and deleted", func(r *rig) {
		shared := r
		r, hash := r.talker()
		defer r.allot()
		path := machine(hash, "backup")
		show := func() reply { return r.operation(owner, "GET", path, "") }
		none := `{"error":"No backup found for this VM"}`
		r.want("by a stranger", r.operation(stranger, "POST", path, ""), 403, notAllowed)
		r.want("before there is one", show(), 404, none)
		r.want("begun", r.operation(owner, "POST", path+"?include_volumes=true", ""), 202, inProgress)
		r.until("it is made", func() bool { return show().body != inProgress })
		got := show()
		made := r.object(got)
		id, _ := made["backup_id"].(string)
		sizes := map[string]any{"rootfs.qcow2": float64(8 << 20), "data.qcow2": float64(4 << 20)}
		if got.status != 200 || !strings.HasPrefix(id, string(hash)+"-20") || fmt.Sprint(made["source_sizes"]) != fmt.Sprint(sizes) || fmt.Sprint(made["volumes"]) != "[rootfs.qcow2 data.qcow2]" {
			r.Fatalf("got %d %s", got.status, got.body)
		}
		if again := r.operation(owner, "POST", path, ""); again.status != 200 || again.body != got.body {
			r.Errorf("made again: %d %s", again.status, again.body)
		}

		link, _ := made["download_url"].(string)
		target, ok := strings.CutPrefix(link, publicURL)
		if !ok {
			r.Fatalf("link %s", link)
		}
		archive := r.get(target)
		sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(archive.body)))
		for name, want := range map[string]string{
			"Content-Type": "application/x-tar", "Content-Disposition": `attachment; filename="` + id + `.tar"`, "Content-Length": fmt.Sprint(made["size"]),
			"X-Backup-Checksum": sum, "X-Source-Size": fmt.Sprint(12 << 20),
		} {
			if got := archive.header.Get(name); archive.status != 200 || got != want {
				r.Errorf("download: %d, %s is %q, want %q", archive.status, name, got, want)
			}
		}
		if made["checksum"] != sum {
			r.Errorf("the checksum is %s and not %v", sum, made["checksum"])
		}
		if part := r.get(target, "Range", "bytes=100-199"); part.status != 206 || part.body != archive.body[100:200] {
			r.Errorf("a part: %d, %d bytes", part.status, len(part.body))
		}
		for _, file := range r.unpack(archive.body) {
			if out, err := exec.Command("qemu-img", "check", "-q", file).CombinedOutput(); err != nil {
				r.Errorf("%s: %v: %s", file, err, out)
			}
		}

		parts, err := url.Parse(target)
		if err != nil {
			r.Fatal(err)
		}
		signature, expires := parts.Query().Get("signature"), parts.Query().Get("expires")
		for query, want := range map[string]struct {
			status int
			reason string
		}{
			"": {403, "Missing signature or expires parameter"}, "?signature=" + signature: {403, "Missing signature or expires parameter"},
			"?signature=" + signature + "&expires=soon":       {400, "Invalid expires parameter"},
			"?signature=" + signature + "&expires=1":          {403, "Download link has expired"},
			"?signature=" + signature + "&expires=4000000000": {403, "Invalid signature"},
			"?signature=00&expires=" + expires:                {403, "Invalid signature"},
		} {
			r.want("link with "+query, r.get(parts.Path+query), want.status, `{"error":"`+want.reason+`"}`)
		}
		r.want("a path for an id", r.get(path+"/..%2Fx?signature=a&expires=1"), 400, `{"error":"Invalid backup_id"}`)
		r.want("another's", r.get(path+"/"+strings.Repeat("0", 64)+"-1?signature=a&expires=1"), 403)

		dir := filepath.Join(r.node.dir, "backups")
		files := func() []string {
			list, _ := filepath.Glob(filepath.Join(dir, "*.tar*"))
			return list
		}
		if list := files(); !slices.Equal(list, []string{filepath.Join(dir, id+".tar"), filepath.Join(dir, id+".tar.meta.json"), filepath.Join(dir, id+".tar.sha256")}) {
			r.Errorf("files %v", list)
		}
		if err := errors.Join(os.Remove(filepath.Join(dir, id+".tar.sha256")), os.Remove(filepath.Join(dir, id+".tar.meta.json"))); err != nil {
			r.Fatal(err)
		}
		if bare := r.object(show()); bare["backup_id"] != id || bare["checksum"] != nil || bare["source_sizes"] != nil {
			r.Errorf("without the files beside it: %v", bare)
		}
		r.want("deleted by a stranger", r.operation(stranger, "DELETE", path+"/"+id, ""), 403, notAllowed)
		r.want("deleted", r.operation(owner, "DELETE", path+"/"+id, ""), 200, "Deleted backup "+id)
		gone := `{"error":"Backup ` + id + ` not found"}`
		r.want("deleted twice", r.operation(owner, "DELETE", path+"/"+id, ""), 404, gone)
		r.want("download of what was deleted", r.get(target), 404, gone)

		r.want("begun again", r.operation(owner, "POST", path+"?skip_fsfreeze=true", ""), 202, inProgress)
		r.until("it is made again", func() bool { return show().status == 200 })
		for _, file := range files() {
			old := time.Now().Add(-24 * time.Hour)
			if err := os.Chtimes(file, old, old); err != nil {
				r.Fatal(err)
			}
		}
		r.want("of a day ago", show(), 404, none)
		if list := files(); len(list) > 0 {
			r.Errorf("files %v", list)
		}
		r.want("stop", r.order(owner, hash, "stop"), 200)
		r.want("of what is stopped", r.operation(owner, "POST", path, ""), 400, `{"error":"VM must be running to create backup"}`)
		r.want("of a program", shared.programBackup(), 400, `{"error":"Backup only supported for QEMU VMs"}`)
	}}, {"the disk must have room for it", func(r *rig) {
		r = r.hosting()
		defer r.allot()
		var disk unix.Statfs_t
		if err := unix.Statfs(r.node.dir, &disk); err != nil {
			r.Fatal(err)
		}
		hash := r.idle(func(content map[string]any) {
			content["rootfs"].(map[string]any)["size_mib"] = int64(disk.Bavail) * disk.Bsize * 6 / 10 >> 20
		})
		r.want("plan", r.allot(hash), 200)
		if got := r.operation(owner, "POST", machine(hash, "backup"), ""); got.status != 507 || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") {
			r.Errorf("got %d %s", got.status, got.body)
		}
	}}, {"a root disk is restored, or stays", func(r *rig) {
		r, hash := r.talker()
		defer r.allot()
		restored := fmt.Sprintf(`{"status":"restored","vm_hash":%q}`, hash)
		good := r.qcow2(speaking('B'), 8, nil)
		r.want("by a stranger", r.upload(stranger, hash, "rootfs", good), 403, notAllowed)
		r.want("uploaded", r.upload(owner, hash, "rootfs", good), 200, restored)
		r.says(hash, "B")

		path := machine(hash, "restore")
		started := r.startedAt(hash)
		for name, bad := range map[string]struct {
			got    reply
			status int
			reason string
		}{
			"no image":             {r.upload(owner, hash, "rootfs", []byte("no image")), 400, "Uploaded file is not a valid QCOW2 disk image"},
			"a raw disk":           {r.upload(owner, hash, "rootfs", speaking('C')), 400, "Uploaded file is not a valid QCOW2 disk image"},
			"a file of the host":   {r.upload(owner, hash, "rootfs", r.qcow2(speaking('C'), 8, func(b []byte) { b[14] = 2 })), 400, "Uploaded file is not a valid QCOW2 disk image"},
			"a larger disk":        {r.upload(owner, hash, "rootfs", r.qcow2(speaking('C'), 9, nil)), 400, ""},
			"too many bytes":       {r.upload(owner, hash, "rootfs", make([]byte, 12<<20)), 413, ""},
			"another field":        {r.upload(owner, hash, "image", good), 400, "Missing 'rootfs' field in multipart upload"},
			"no reference":         {r.operation(owner, "POST", path, "{}"), 400, "Missing volume_ref in JSON body"},
			"a reference of signs": {r.operation(owner, "POST", path, `{"volume_ref":"../x"}`), 400, "Invalid volume_ref format"},
			"in upper case":        {r.operation(owner, "POST", path, `{"volume_ref":"`+strings.Repeat("AB", 32)+`"}`), 400, "Invalid volume_ref format"},
		} {
			if got := r.object(bad.got); bad.got.status != bad.status || got["error"] == nil || bad.reason != "" && got["error"] != bad.reason {
				r.Errorf("%s: %d %s", name, bad.got.status, bad.got.body)
			}
		}
		if now := r.startedAt(hash); now != started {
			r.Errorf("it was started at %s and again at %s", started, now)
		}

		// Whole as far as can be seen, but QEMU does not know what one bit of it means.
		strange := r.upload(owner, hash, "rootfs", r.qcow2(speaking('C'), 8, func(b []byte) { b[72] = 0x40 }))
		if got, _ := r.object(strange)["error"].(string); strange.status != 500 || !strings.HasPrefix(got, "Restore failed") {
			r.Errorf("of what does not start: %d %s", strange.status, strange.body)
		}
		r.until("it runs on its old disk", func() bool { return r.startedAt(hash) != "" })
		r.says(hash, "B")
		r.want("from the network", r.operation(owner, "POST", path, `{"volume_ref":"`+string(r.core.Store(r.qcow2(speaking('D'), 8, nil)))+`"}`), 200, restored)
		r.says(hash, "D")
		for _, pattern := range []string{"instances/parents/*", "instances/disks/*/rootfs*", "instances/incoming/*"} {
			if left, _ := filepath.Glob(filepath.Join(r.node.dir, pattern)); len(left) > 1 || len(left) > 0 && strings.Contains(pattern, "incoming") {
				r.Errorf("left behind: %v", left)
			}
		}
	}}}},
}

// programBackup asks for a backup of a program.
func (r *rig) programBackup() reply {
	r.Helper()
	r.want("the probe", r.ask(r.node, "GET", "/vm/"+string(r.probe)+"/count", ""), 200)
	return r.operation(owner, "POST", machine(r.probe, "backup"), "")
}
