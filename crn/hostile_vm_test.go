package crn_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// A program that is root in its machine does its worst, beside a neighbour that must not notice. What costs is booting, so the
// attacks that leave the machine alive share one.
func TestHostilePrograms(t *testing.T) {
	n := start(t, func(c *crn.Config) { c.MemoryMiB = 800 }) // room for two machines
	neighbour := n.probe(t, nil)
	attacker := n.probe(t, func(c map[string]any) {
		c["variables"] = map[string]string{"ROLE": "attacker"}
		c["resources"].(map[string]any)["seconds"] = 20
		c["volumes"] = []any{map[string]any{"ephemeral": true, "mount": "/scratch", "size_mib": 16}}
	})
	born := strings.Fields(n.get(t, neighbour, "/count").body)[0]
	// attack calls the attacker and then looks whether the neighbour's machine is still the same.
	attack := func(t *testing.T, method, path, body string) reply {
		t.Helper()
		r := n.do(t, method, "/vm/"+string(attacker)+path, body)
		if after := n.get(t, neighbour, "/count"); after.status != 200 || strings.Fields(after.body)[0] != born {
			t.Errorf("the neighbour, started at %s, answers %+v", born, after)
		}
		return r
	}

	t.Run("a full disk is the program's own", func(t *testing.T) {
		if r := attack(t, "GET", "/fill?path=/scratch/fill", ""); !strings.Contains(r.body, "no space left") {
			t.Errorf("got %+v", r)
		}
		if size := treeSize(t, filepath.Join(n.dir, "executions", "scratch")); size > 17<<20 {
			t.Errorf("a disk of 16 MiB takes %d bytes", size)
		}
	})

	t.Run("images of the network cannot be changed", func(t *testing.T) {
		before := hashes(t, filepath.Join(n.dir, "cache", "files"))
		for _, device := range []string{"/dev/vda", "/dev/vdb"} {
			if r := attack(t, "GET", "/overwrite?path="+device, ""); r.body == "<nil>" || r.status != 200 {
				t.Errorf("%s: %+v", device, r)
			}
		}
		if after := hashes(t, filepath.Join(n.dir, "cache", "files")); after != before {
			t.Error("a file of the cache changed")
		}
	})

	t.Run("other users of the host see nothing of it", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("becoming another user needs root")
		}
		if err := os.Chmod(filepath.Dir(n.dir), 0o755); err != nil {
			t.Fatal(err)
		}
		find := exec.Command("find", n.dir, "-readable", "!", "-path", n.dir)
		find.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, _ := find.Output(); len(out) > 0 { // it also complains of folders that are closed
			t.Errorf("readable: %s", out)
		}
		if _, err := os.Stat(filepath.Join(n.dir, "lock")); err != nil || find.ProcessState == nil {
			t.Errorf("nothing was looked at: %v", err)
		}
	})

	t.Run("a flood of output is kept within its bound", func(t *testing.T) {
		if r := attack(t, "GET", "/flood", ""); r.status != 200 {
			t.Errorf("got %+v", r)
		}
		if size := treeSize(t, filepath.Join(n.dir, "executions", "logs")); size > 5<<20 {
			t.Errorf("9 MB of output take %d bytes", size)
		}
	})

	t.Run("neither metadata nor host nor neighbours can be reached", func(t *testing.T) {
		// At the other end of the card is the node's TCP, which takes no connection.
		if r := attack(t, "GET", "/interfaces", ""); strings.Join(strings.Fields(r.body), " ") != "lo "+wire.CardName {
			t.Errorf("interfaces: %+v", r)
		}
		_, port, err := net.SplitHostPort(n.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		for _, address := range []string{"169.254.169.254:80", "127.0.0.1:" + port, "10.0.2.2:" + port, "172.16.4.1:" + port, "172.16.5.2:8080", "[fe80::1]:" + port, wire.CardHost + ":" + port, wire.CardHost + ":22"} {
			if r := attack(t, "GET", "/dial?address="+address, ""); r.body == "<nil>" || r.status != 200 {
				t.Errorf("%s: %+v", address, r)
			}
		}
	})

	t.Run("answers that are none are answered for", func(t *testing.T) {
		for name, test := range map[string]struct{ sent, says string }{
			"noise":           {"\x00\xff not HTTP\r\n\r\n", "Invalid response from VM"},
			"nothing":         {"", "without an answer"},
			"endless headers": {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 1_200), "Invalid response from VM"},
			"two lengths":     {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "Invalid response from VM"},
		} {
			if r := attack(t, "POST", "/raw", test.sent); r.status != 502 || !strings.Contains(r.body, test.says) {
				t.Errorf("%s: %d %.300s", name, r.status, r.body)
			}
		}
	})

	t.Run("a claim of ten gigabytes costs nothing", func(t *testing.T) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		request, err := http.NewRequestWithContext(t.Context(), "POST", n.url+"/vm/"+string(attacker)+"/raw",
			strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\nthat is all"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var body bytes.Buffer
		if _, err := body.ReadFrom(response.Body); err == nil || body.String() != "that is all" {
			t.Errorf("a broken answer looks whole: %q %v", body.String(), err)
		}
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
			t.Errorf("the node grew by %d bytes", grown)
		}
	})

	t.Run("a clock that jumps in the guest stays there", func(t *testing.T) {
		if r := attack(t, "GET", "/clock", ""); r.body != "<nil>" {
			t.Fatalf("got %+v", r)
		}
		if r := attack(t, "GET", "/count", ""); r.status != 200 || !strings.Contains(r.header.Get("Server-Timing"), "app;dur=") {
			t.Errorf("after it: %+v", r)
		}
	})

	t.Run("noise on the guest channel ends that machine alone", func(t *testing.T) {
		first := strings.Fields(n.get(t, attacker, "/count").body)[0]
		if r := attack(t, "GET", "/garbage", ""); r.status != 502 {
			t.Fatalf("got %+v", r)
		}
		if r := attack(t, "GET", "/count", ""); r.status != 200 || strings.Fields(r.body)[0] == first {
			t.Errorf("the next call: %+v", r)
		}
	})

	t.Run("a QEMU that is killed under a call is answered for", func(t *testing.T) {
		late := make(chan reply, 1)
		go func() { late <- n.get(t, attacker, "/slow") }()
		eventually(t, "the call is in progress", func() bool {
			raw, _ := os.ReadFile(filepath.Join(n.dir, "executions", "logs", string(attacker)+".log"))
			return bytes.Contains(raw, []byte("probe: slow"))
		})
		for _, pid := range machines(n.dir) {
			if raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); bytes.Contains(raw, []byte(string(attacker)[:40])) {
				if err := unix.Kill(pid, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
		if r := <-late; r.status != 502 || !strings.Contains(r.body, "VM did not respond and was shut down") {
			t.Errorf("got %+v", r)
		}
		if r := attack(t, "GET", "/count", ""); r.status != 200 {
			t.Errorf("the next call: %+v", r)
		}
	})

	t.Run("a program that will not end is ended, and makes place", func(t *testing.T) {
		if r := attack(t, "GET", "/ignore", ""); r.status != 200 {
			t.Fatalf("got %+v", r)
		}
		_ = n.get(t, neighbour, "/count") // so that the attacker is idle the longest
		third := n.probe(t, func(c map[string]any) { c["variables"] = map[string]string{"ROLE": "third"} })
		if r := n.get(t, third, "/count"); r.status != 200 {
			t.Errorf("got %+v", r)
		}
	})

	t.Run("a fork bomb fills its own machine", func(t *testing.T) {
		_ = n.get(t, neighbour, "/count")
		bomb := n.probe(t, func(c map[string]any) {
			c["variables"] = map[string]string{"ROLE": "bomb"}
			c["resources"].(map[string]any)["seconds"] = 3
		})
		if r := n.get(t, bomb, "/fork"); r.status != 504 && r.status != 502 {
			t.Errorf("got %+v", r)
		}
		if after := n.get(t, neighbour, "/count"); after.status != 200 || strings.Fields(after.body)[0] != born {
			t.Errorf("the neighbour, started at %s, answers %+v", born, after)
		}
		// The node must be able to end it: its machine is the one to make place.
		if r := n.get(t, attacker, "/count"); r.status != 200 {
			t.Errorf("after the bomb: %+v", r)
		}
	})
}

// machines returns the processes of the machines of a node, by the mark in their environment.
func machines(dir string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		var pid int
		if raw, err := os.ReadFile(file); err == nil && bytes.Contains(raw, []byte("ALEPH_MACHINE="+dir)) {
			_, _ = fmt.Sscanf(file, "/proc/%d/", &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

func treeSize(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// hashes sums up the content of a folder.
func hashes(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("files: %v %v", files, err)
	}
	sum := sha256.New()
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(sum, "%s %x\n", file, sha256.Sum256(raw))
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

func TestHostileArchives(t *testing.T) {
	n := start(t, nil)
	program := func(code []byte, encoding message.Encoding, entrypoint string) message.Hash {
		return n.core.Publish(message.TypeProgram, corenodetest.Program(n.core.Store(code), n.runtime, encoding, entrypoint))
	}
	zipped := func(write func(w *zip.Writer) error) []byte {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		if err := write(w); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	link := zipped(func(w *zip.Writer) error {
		h := &zip.FileHeader{Name: "out"}
		h.SetMode(os.ModeSymlink | 0o777)
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = f.Write([]byte("/"))
		}
		return err
	})
	bomb := zipped(func(w *zip.Writer) error {
		f, err := w.Create("zeros")
		for range 300 {
			if err == nil {
				_, err = f.Write(make([]byte, 1<<20))
			}
		}
		return err
	})
	// A gigabyte of zeros behind a few kilobytes; only what is read of it is unpacked, and only in the guest.
	tree, image := t.TempDir(), filepath.Join(t.TempDir(), "image")
	probe := filepath.Join(imagetest.Root(), "build", "guest", "probe")
	if err := imagetest.BuildGo("./crn/testdata/probe", probe); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(probe, filepath.Join(tree, "probe")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "zeros"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(tree, "zeros"), 1<<30); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(tree, "out")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mksquashfs", tree, image, "-quiet", "-no-progress").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	squashed, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}

	for _, test := range []struct {
		name string
		hash message.Hash
		says string
	}{
		{"a path out of the archive", program(imagetest.Zip(t, map[string]string{"../../etc/cron.d/x": "x"}), message.EncodingZip, "main:app"), "leads out of the archive"},
		{"a link out of the archive", program(link, message.EncodingZip, "main:app"), "symbolic link"},
		{"a bomb", program(bomb, message.EncodingZip, "main:app"), "give the program more memory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if r := n.get(t, test.hash, "/"); r.status != 500 || !strings.Contains(r.body, test.says) {
				t.Errorf("want %q, got %+v", test.says, r)
			}
		})
	}
	t.Run("an image that would unpack to a gigabyte is only mounted", func(t *testing.T) {
		hash := program(squashed, message.EncodingSquashfs, "probe")
		before := treeSize(t, n.dir)
		if r := n.get(t, hash, "/count"); r.status != 200 {
			t.Fatalf("got %+v", r)
		}
		if grown := treeSize(t, n.dir) - before; grown > int64(len(squashed))+1<<20 {
			t.Errorf("the node's folder grew by %d bytes for an image of %d", grown, len(squashed))
		}
		// Its link leads to the guest's own root, of which nothing is the host's.
		if r := n.get(t, hash, "/file?path=/opt/code/out"+n.dir+"/lock"); r.status != 404 {
			t.Errorf("the host's file: %+v", r)
		}
	})
	t.Run("a file that the network lost", func(t *testing.T) {
		lost := n.core.Publish(message.TypeStore, map[string]any{"item_type": "storage", "item_hash": message.HashBytes([]byte("lost"))})
		hash := n.core.Publish(message.TypeProgram, corenodetest.Program(lost, n.runtime, message.EncodingZip, "main:app"))
		if r := n.get(t, hash, "/"); r.status != 400 || !strings.Contains(r.body, "Code, runtime or data not available") {
			t.Errorf("got %+v", r)
		}
	})
}

func TestAFullHostDiskIsSaidAndSurvived(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	disk := t.TempDir()
	if err := unix.Mount("small", disk, "tmpfs", 0, "size=120m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Errorf("something still uses the disk: %v", err)
		}
	})
	n := start(t, func(c *crn.Config) { c.DataDir = filepath.Join(disk, "data"); c.DiskMiB = 500 })
	wants := func(mib int) message.Hash {
		return n.probe(t, func(c map[string]any) {
			c["volumes"] = []any{map[string]any{"ephemeral": true, "mount": "/scratch", "size_mib": mib}}
		})
	}
	if r := n.get(t, wants(100), "/count"); r.status != 503 || !strings.Contains(r.body, "the disk of this node is full") {
		t.Errorf("a disk that does not fit: %+v", r)
	}
	runs := wants(10)
	if r := n.get(t, runs, "/count"); r.status != 200 {
		t.Fatalf("one that fits: %+v", r)
	}
	filler := filepath.Join(disk, "filler")
	if err := fillDisk(filler); err != nil {
		t.Fatal(err)
	}
	if r := n.get(t, runs, "/flood"); r.status != 200 {
		t.Errorf("a program that prints while the disk is full: %+v", r)
	}
	if r := n.get(t, runs, "/count"); r.status != 200 {
		t.Errorf("and after that: %+v", r)
	}
	other := n.core.Publish(message.TypeProgram, corenodetest.Program(n.core.Store(imagetest.Zip(t, map[string]string{"main.py": "pass"})), n.runtime, message.EncodingZip, "main:app"))
	if r := n.get(t, other, "/"); r.status < 500 || !strings.Contains(r.body, "disk of this node is full") {
		t.Errorf("code that cannot be stored: %+v", r)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if r := n.get(t, wants(11), "/count"); r.status != 200 {
		t.Errorf("with room again: %+v", r)
	}
}

// fillDisk leaves no byte free.
func fillDisk(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	return nil
}

func TestTheNodeSaysHowMachinesAreConfined(t *testing.T) {
	n := start(t, nil)
	print := n.Fingerprint()
	if len(print.Isolation.InForce) == 0 || print.OverheadMiB == 0 {
		t.Errorf("got %+v", print)
	}
	var status struct {
		Isolation struct {
			InForce []string `json:"in_force"`
			Missing []string
		}
	}
	if err := json.Unmarshal([]byte(n.do(t, "GET", "/status/config", "").body), &status); err != nil || !slices.Equal(status.Isolation.InForce, print.Isolation.InForce) || !slices.Equal(status.Isolation.Missing, print.Isolation.Missing) {
		t.Errorf("got %+v, %v; want %+v", status, err, print.Isolation)
	}
	if len(print.Isolation.Missing) == 0 {
		return
	}
	strict := config(t.TempDir(), n.core.URL)
	strict.RequireIsolation = true
	if _, err := crn.New(strict); err == nil || !strings.Contains(err.Error(), print.Isolation.Missing[0]) {
		t.Errorf("a node that requires isolation: %v", err)
	}
}
