package instance

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/message"
)

// qcow2 is the beginning of an image of that kind.
func qcow2(version uint32, backing, size, features uint64) []byte {
	head := make([]byte, 512)
	copy(head, "QFI\xfb")
	binary.BigEndian.PutUint32(head[4:], version)
	binary.BigEndian.PutUint64(head[8:], backing)
	binary.BigEndian.PutUint64(head[24:], size)
	binary.BigEndian.PutUint64(head[72:], features)
	return head
}

func bootable(size int) []byte {
	disk := make([]byte, size)
	disk[510], disk[511] = 0x55, 0xaa
	return disk
}

func TestParentImagesAreWholeDisks(t *testing.T) {
	for name, test := range map[string]struct {
		image  []byte
		format string // empty when it is refused
		size   int64
	}{
		"qcow2":                    {qcow2(3, 0, 1<<30, 0), "qcow2", 1 << 30},
		"old qcow2":                {qcow2(2, 0, 1<<30, 1<<2), "qcow2", 1 << 30},
		"raw with boot sector":     {bootable(4096), "raw", 4096},
		"raw without":              {make([]byte, 4096), "", 0},
		"based on a host's file":   {qcow2(3, 512, 1<<30, 0), "", 0},
		"data in a host's file":    {qcow2(3, 0, 1<<30, 1<<2), "", 0},
		"qcow":                     {qcow2(1, 0, 1<<30, 0), "", 0},
		"larger than can be":       {qcow2(3, 0, 1<<60, 0), "", 0},
		"VMDK":                     {append([]byte("KDMV"), make([]byte, 600)...), "", 0},
		"nothing":                  {nil, "", 0},
		"the beginning of a qcow2": {qcow2(3, 0, 1<<30, 0)[:100], "", 0},
	} {
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, test.image, 0o600); err != nil {
			t.Fatal(err)
		}
		format, size, err := probeImage(path)
		if format != test.format || size != test.size || (err == nil) != (test.format != "") {
			t.Errorf("%s: got %q, %d, %v", name, format, size, err)
		}
	}
}

func FuzzProbeImage(f *testing.F) {
	f.Add(qcow2(3, 0, 1<<30, 0))
	f.Add(bootable(512))
	f.Add([]byte{})
	path := filepath.Join(f.TempDir(), "image")
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, size, err := probeImage(path); err == nil && size < 0 {
			t.Errorf("size %d", size)
		}
	})
}

func TestAnOverlayIsBasedOnItsImageAlone(t *testing.T) {
	parent := message.HashBytes([]byte("image"))
	overlay := func(backing string, change func([]byte)) []byte {
		image := qcow2(3, 256, 1<<30, 0)
		binary.BigEndian.PutUint32(image[16:], uint32(len(backing)))
		copy(image[256:], backing)
		if change != nil {
			change(image)
		}
		return image
	}
	own := "../../parents/" + string(parent)
	for name, test := range map[string]struct {
		image []byte
		good  bool
	}{
		"its image":           {overlay(own, nil), true},
		"a file of the host":  {overlay("/etc/shadow", nil), false},
		"another image":       {overlay("../../parents/"+strings.Repeat("0", 64), nil), false},
		"options for QEMU":    {overlay("json:{}", nil), false},
		"no image":            {overlay("", nil), false},
		"data in a file":      {overlay(own, func(b []byte) { binary.BigEndian.PutUint64(b[72:], qcow2ExternalData) }), false},
		"a name past the end": {overlay(own, func(b []byte) { binary.BigEndian.PutUint64(b[8:], 1<<63) }), false},
		"an endless name":     {overlay(own, func(b []byte) { binary.BigEndian.PutUint32(b[16:], 1<<31) }), false},
		"a raw disk":          {bootable(4096), false},
		"nothing":             {nil, false},
	} {
		path := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(path, test.image, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := checkOverlay(path, parent); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExtentsHoldAllThatIsNotZero(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, err := os.CreateTemp("", "sparse")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(f.Name())
		defer f.Close()
		size := rapid.Int64Range(0, 64<<20).Draw(t, "size")
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		written := rapid.SliceOfN(rapid.Int64Range(0, max(0, size-1)), 0, 6).Draw(t, "written")
		if size == 0 {
			written = nil
		}
		for _, at := range written {
			if _, err := f.WriteAt([]byte{1}, at); err != nil {
				t.Fatal(err)
			}
		}
		list, err := extents(f, size)
		if err != nil {
			t.Fatal(err)
		}
		end := int64(0)
		for _, e := range list {
			if e[0] < end || e[1] <= 0 || e[0]+e[1] > size {
				t.Fatalf("extents %v of %d bytes", list, size)
			}
			end = e[0] + e[1]
		}
		for _, at := range written {
			if !slices.ContainsFunc(list, func(e [2]int64) bool { return e[0] <= at && at < e[0]+e[1] }) {
				t.Errorf("byte %d is in none of %v", at, list)
			}
		}
	})
}

func TestTheSeedSaysWhatCloudInitReads(t *testing.T) {
	hash := message.Hash(strings.Repeat("deca", 16))
	m := &message.Instance{}
	m.AuthorizedKeys = []string{`ssh-ed25519 AAAA it's "me": #1`}
	a := tap.AddressesOf(netip.MustParsePrefix("fc00:1:2:3::/64"), 3, hash, tap.KindInstance)
	servers := []netip.Addr{netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("2620:fe::fe")}
	dir := t.TempDir()
	path := filepath.Join(dir, "seed.iso")
	if err := writeSeed(t.Context(), path, newSeed(record{Hash: hash, Internet: true}, m, a, servers)); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("files %v", left)
	}
	read := func(name string) string {
		out, err := exec.Command("isoinfo", "-J", "-i", path, "-x", "/"+name).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	head, user, _ := strings.Cut(read("user-data"), "\n")
	if head != "#cloud-config" {
		t.Errorf("user-data begins with %q", head)
	}
	want := `{"disable_root":false,"hostname":"33fn5sw6zlpmvxwk33fn5sw6zlpmvxwk33fn5sw6zlpmvxwk33fa","package_update":true,` +
		`"packages":["qemu-guest-agent"],"resize_rootfs":true,"runcmd":["systemctl start qemu-guest-agent.service"],` +
		`"ssh_authorized_keys":["ssh-ed25519 AAAA it's \"me\": #1"],"ssh_pwauth":false,"updates":{"network":{"when":["boot-new-instance","boot"]}}}`
	if strings.TrimSpace(user) != want {
		t.Errorf("user-data %s", user)
	}
	if got := read("meta-data"); !strings.Contains(got, `"instance-id":"iid-instance-`+string(hash)+`"`) {
		t.Errorf("meta-data %s", got)
	}
	network := `{"ethernets":{"eth0":{"addresses":["172.16.3.2/24","fc00:1:2:3:3:deca:deca:dec1/124"],"gateway4":"172.16.3.1",` +
		`"gateway6":"fc00:1:2:3:3:deca:deca:dec0","match":{"driver":"virtio_net"},"nameservers":{"addresses":["9.9.9.9","2620:fe::fe"]}}},"version":2}`
	if got := strings.TrimSpace(read("network-config")); got != network {
		t.Errorf("network-config %s", got)
	}
	raw, err := json.Marshal(newSeed(record{Hash: hash}, m, a, servers)["network-config"])
	if err != nil || string(raw) != `{"ethernets":{},"version":2}` {
		t.Errorf("without network: %s, %v", raw, err)
	}
	special := newSeed(record{Hash: hash, Hardware: &hardware{Confidential: true, GPUs: []string{"10de:27b0"}}}, m, a, servers)["user-data"].(map[string]any)
	early, _ := special["bootcmd"].([]string)
	if len(early) != 5 || !strings.Contains(early[1], "cryptsetup resize cr_root") || !strings.Contains(early[3], "pci=realloc=off pci=noaer") || special["packages"] != nil {
		t.Errorf("a confidential one with a card: %v", special)
	}
}

func TestConsoleLinesAreTheSameHoweverTheyCome(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.StringMatching(`[a-z ]{0,20}`), 0, 8).Draw(t, "lines")
		text := strings.Join(lines, "\r\n")
		dir, err := os.MkdirTemp("", "console")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		p := &Pool{cfg: Config{Dir: dir}}
		if err := os.Mkdir(filepath.Join(dir, logDir), 0o700); err != nil {
			t.Fatal(err)
		}
		c, err := p.openConsole("a")
		if err != nil {
			t.Fatal(err)
		}
		for rest := []byte(text); len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "part")
			if _, err := c.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		seq, closer, err := p.Logs("a")
		if err != nil {
			t.Fatal(err)
		}
		defer closer.Close()
		var got []string
		for line := range seq {
			got = append(got, line.Text)
		}
		want := strings.Join(lines, "\n")
		if strings.TrimSuffix(want, "\n") != strings.Join(got, "\n") {
			t.Errorf("got %q, want %q", got, lines)
		}
	})
}

func TestALineWithoutEndIsCut(t *testing.T) {
	p := &Pool{cfg: Config{Dir: t.TempDir()}}
	if err := os.Mkdir(filepath.Join(p.cfg.Dir, logDir), 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := p.openConsole("a")
	if err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		if _, err := c.Write(bytes.Repeat([]byte("x"), 10_000)); err != nil {
			t.Fatal(err)
		}
	}
	if held := len(c.(*console).line); held > 8<<10 {
		t.Errorf("%d bytes are held", held)
	}
	files, _ := filepath.Glob(p.logPath("a") + "*")
	var size int64
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > logLimit+64<<10 {
		t.Errorf("the log has %d bytes", size)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsOfANewerNodeAreNotTouched(t *testing.T) {
	path := filepath.Join(t.TempDir(), recordsFile)
	r, err := openRecords(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open(sqliteDriver, "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := openRecords(path); err == nil || !strings.Contains(err.Error(), "newer node") {
		t.Errorf("got %v", err)
	}
}
