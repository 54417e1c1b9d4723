package ipfs

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

// archive writes a CARv1.
func archive(root cid.Cid, nodes ...ipld.Node) []byte {
	// {"roots": [<root>], "version": 1}
	header := append([]byte("\xa2\x65roots\x81\xd8\x2a\x58"), byte(root.ByteLen()+1), 0)
	header = append(append(header, root.Bytes()...), "\x67version\x01"...)
	out := section(header)
	for _, n := range nodes {
		out = append(out, section(append(n.Cid().Bytes(), n.RawData()...))...)
	}
	return out
}

func section(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }

func raw(text string) ipld.Node { return merkledag.NewRawNode([]byte(text)) }

// file is an inner node of a file whose parts claim the given sizes.
func file(t testing.TB, total uint64, parts []ipld.Node, sizes ...uint64) ipld.Node {
	t.Helper()
	fs := unixfs.NewFSNode(pb.Data_File)
	for _, s := range sizes {
		fs.AddBlockSize(s)
	}
	data, err := fs.GetBytes()
	if err != nil {
		t.Fatal(err)
	}
	if total != fs.FileSize() {
		data = append(data[:len(data):len(data)], 0x18) // the last member of that number counts
		data = binary.AppendUvarint(data, total)
	}
	n := merkledag.NodeWithData(data)
	for _, p := range parts {
		if err := n.AddNodeLink("", p); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func directory(t testing.TB, entries ...any) ipld.Node {
	t.Helper()
	n := unixfs.EmptyDirNode()
	for i := 0; i < len(entries); i += 2 {
		if err := n.AddNodeLink(entries[i].(string), entries[i+1].(ipld.Node)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func TestArchivesAreImported(t *testing.T) {
	one, two := raw("one"), raw("second")
	both := file(t, 9, []ipld.Node{one, two}, 3, 6)
	dir := directory(t, "both.txt", both, "one.txt", one)
	size := func(nodes ...ipld.Node) (total int64) {
		for _, n := range nodes {
			total += int64(len(n.RawData()))
		}
		return total
	}
	n := open(t)
	for name, test := range map[string]struct {
		car  []byte
		root ipld.Node
		size int64 // of all blocks, each as often as it is linked
		info files.Info
	}{
		"file":           {archive(both.Cid(), both, one, two), both, size(both, one, two), files.Info{Size: 9}},
		"in other order": {archive(both.Cid(), two, both, one, one), both, size(both, one, two), files.Info{Size: 9}},
		"folder":         {archive(dir.Cid(), dir, both, one, two), dir, size(dir, both, one, two, one), files.Info{Dir: true, Size: size(dir, both, one, two, one)}},
	} {
		h, got, err := n.ImportCAR(t.Context(), bytes.NewReader(test.car), int64(len(test.car)), func(root message.Hash) error {
			if string(root) != test.root.Cid().String() {
				t.Errorf("%s: asked about root %s", name, root)
			}
			return nil
		})
		if err != nil || string(h) != test.root.Cid().String() || got != test.size {
			t.Errorf("%s: %s of %d bytes, %v; want %s of %d", name, h, got, err, test.root.Cid(), test.size)
			continue
		}
		if info, err := n.Stat(t.Context(), h); err != nil || info.Size != test.info.Size || info.Dir != test.info.Dir || info.Stored.IsZero() {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
	f, _, err := n.Open(t.Context(), message.Hash(both.Cid().String()))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f); err != nil || string(got) != "onesecond" {
		t.Fatalf("%q, %v", got, err)
	}

	var buffer bytes.Buffer
	if err := n.WriteTar(t.Context(), message.Hash(dir.Cid().String()), &buffer); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"": "", "/both.txt": "onesecond", "/one.txt": "one"}
	for r := tar.NewReader(&buffer); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(h.Name, dir.Cid().String())
		text, ok := want[name]
		if got, err := io.ReadAll(r); err != nil || !ok || string(got) != text {
			t.Errorf("entry %q: %q, %v", h.Name, got, err)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("not in the archive: %v", want)
	}
}

func TestBadArchivesAreRefused(t *testing.T) {
	one, two := raw("one"), raw("second")
	both := file(t, 9, []ipld.Node{one, two}, 3, 6)
	good := archive(both.Cid(), both, one, two)
	wrong, err := blocks.NewBlockWithCid([]byte("other bytes"), one.Cid())
	if err != nil {
		t.Fatal(err)
	}
	dagCBOR := cid.NewCidV1(cid.DagCBOR, one.Cid().Hash())
	for name, test := range map[string]struct {
		car  []byte
		want error
	}{
		"nothing":                   {nil, ErrInvalidCAR},
		"no archive":                {[]byte("not an archive at all"), ErrInvalidCAR},
		"giant header":              {append(binary.AppendUvarint(nil, 1<<40), good...), ErrInvalidCAR},
		"endless varint":            {bytes.Repeat([]byte{0xff}, 100), ErrInvalidCAR},
		"version 2":                 {[]byte("\x0a\xa1\x67version\x02"), ErrInvalidCAR},
		"no roots":                  {section([]byte("\xa2\x65roots\x80\x67version\x01")), ErrInvalidCAR},
		"header cut":                {good[:20], ErrInvalidCAR},
		"block cut":                 {good[:len(good)-1], ErrInvalidCAR},
		"empty section":             {append(good[:len(good):len(good)], 0), ErrInvalidCAR},
		"giant block":               {append(good[:len(good):len(good)], binary.AppendUvarint(nil, 1<<62)...), ErrInvalidCAR},
		"block larger than allowed": {archive(both.Cid(), raw(strings.Repeat("x", maxBlock+1))), ErrInvalidCAR},
		"other bytes":               {append(archive(both.Cid(), both, two), section(append(one.Cid().Bytes(), wrong.RawData()...))...), ErrInvalidCAR},
		"other codec":               {append(good[:len(good):len(good)], section(append(dagCBOR.Bytes(), "one"...))...), ErrInvalidCAR},
		"missing leaf":              {archive(both.Cid(), both, one), ErrIncomplete},
		"missing root":              {archive(both.Cid(), one, two), ErrIncomplete},
		"no UnixFS":                 {archive(merkledag.NodeWithData([]byte("x")).Cid(), merkledag.NodeWithData([]byte("x"))), ErrMalformed},
		"part with a false size":    malformed(file(t, 10, []ipld.Node{one, two}, 4, 6), one, two),
		"file with a false size":    malformed(file(t, 8, []ipld.Node{one, two}, 3, 6), one, two),
		"part without a size":       malformed(file(t, 3, []ipld.Node{one, two}, 3), one, two),
		"sizes that overflow":       malformed(file(t, 2, []ipld.Node{one, two}, 1<<63+1, 1<<63+1), one, two),
		"folder as part of a file":  malformed(file(t, 3, []ipld.Node{directory(t, "a", one)}, 3), directory(t, "a", one), one),
		"name with a way out":       malformed(directory(t, "../a", one), one),
		"name of the parent":        malformed(directory(t, "..", one), one),
	} {
		n := open(t)
		if _, _, err := n.ImportCAR(t.Context(), bytes.NewReader(test.car), 1<<30, nil); !errors.Is(err, test.want) {
			t.Errorf("%s: %v; want %v", name, err, test.want)
		}
		if err := n.Walk(t.Context(), func(i files.Info) error { return errors.New(string(i.Hash)) }); err != nil {
			t.Errorf("%s: pinned %v", name, err)
		}
	}
	n := open(t)
	if _, _, err := n.ImportCAR(t.Context(), bytes.NewReader(good), int64(len(good)-1), nil); !errors.Is(err, files.ErrTooLarge) {
		t.Errorf("larger than allowed: %v", err)
	}
	refusal := errors.New("another root was declared")
	if _, _, err := n.ImportCAR(t.Context(), bytes.NewReader(good), 0, func(message.Hash) error { return refusal }); !errors.Is(err, refusal) {
		t.Errorf("refused by the caller: %v", err)
	}
	if size, err := n.Size(t.Context()); err != nil || size >= int64(len(good)) {
		t.Errorf("%d bytes stored, %v", size, err)
	}
}

func malformed(root ipld.Node, others ...ipld.Node) struct {
	car  []byte
	want error
} {
	return struct {
		car  []byte
		want error
	}{archive(root.Cid(), append([]ipld.Node{root}, others...)...), ErrMalformed}
}

// TestSmallArchivesThatSpellOutHugeFilesAreRefused builds files of files that double in size.
func TestSmallArchivesThatSpellOutHugeFilesAreRefused(t *testing.T) {
	all := []ipld.Node{raw("12345678")}
	size := uint64(8)
	for size <= maxSize {
		below := all[len(all)-1]
		size *= 2
		all = append(all, file(t, size, []ipld.Node{below, below}, size/2, size/2))
	}
	car := archive(all[len(all)-1].Cid(), all...)
	if _, _, err := open(t).ImportCAR(t.Context(), bytes.NewReader(car), 0, nil); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	deep := []ipld.Node{raw("leaf")}
	for range maxDepth + 1 {
		deep = append(deep, directory(t, "d", deep[len(deep)-1]))
	}
	car = archive(deep[len(deep)-1].Cid(), deep...)
	if _, _, err := open(t).ImportCAR(t.Context(), bytes.NewReader(car), 0, nil); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
}

func TestFetchBringsADAGFromOthers(t *testing.T) {
	from, to := open(t), open(t)
	text := strings.Repeat("0123456789", 60_000)
	for version := range 2 {
		h, _, err := from.Add(t.Context(), strings.NewReader(text), 0, version)
		if err != nil {
			t.Fatal(err)
		}
		to.exchange = nil
		if _, err := to.Fetch(t.Context(), h, 0); !errors.Is(err, files.ErrNotFound) {
			t.Fatalf("without others: %v", err)
		}
		to.exchange = from
		if _, err := to.Fetch(t.Context(), h, 500_000); !errors.Is(err, files.ErrTooLarge) {
			t.Fatalf("more than wanted: %v", err)
		}
		if info, err := to.Fetch(t.Context(), h, 1_000_000); err != nil || info.Size != int64(len(text)) {
			t.Fatalf("%+v, %v", info, err)
		}
		if _, _, err := to.Collect(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := to.Verify(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzImportCAR(f *testing.F) {
	one, two := raw("one"), raw("second")
	both := file(f, 9, []ipld.Node{one, two}, 3, 6)
	f.Add(archive(both.Cid(), both, one, two))
	f.Add(archive(one.Cid(), one))
	f.Add(archive(directory(f, "a", one).Cid(), directory(f, "a", one), one))
	f.Add([]byte("\x0a\xa1\x67version\x02"))
	f.Add(bytes.Repeat([]byte{0xff}, 20))
	n := open(f) // one for all inputs: opening it takes longer than an import
	f.Fuzz(func(t *testing.T, car []byte) {
		h, _, err := n.ImportCAR(t.Context(), bytes.NewReader(car), 1<<20, nil)
		if err != nil {
			return
		}
		if err := n.Verify(t.Context(), h); err != nil {
			t.Fatalf("imported and does not verify: %v", err)
		}
	})
}

// FuzzDecode decodes blocks and reads what they claim to be, so that each claim is followed.
func FuzzDecode(f *testing.F) {
	one := raw("one")
	f.Add(file(f, 3, []ipld.Node{one}, 3).RawData())
	f.Add(directory(f, "a", one).RawData())
	f.Add(unixfs.FilePBData([]byte("x"), 1))
	f.Add([]byte{0x0a, 0x04, 0x08, 0x02, 0x18, 0x00})
	n := open(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := merkledag.V0CidPrefix().Sum(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.write(t.Context(), one.Cid(), one.RawData()); err != nil {
			t.Fatal(err)
		}
		if err := n.write(t.Context(), c, b); err != nil {
			t.Fatal(err)
		}
		h := message.Hash(c.String())
		info, err := n.Keep(t.Context(), h)
		if err != nil {
			return
		}
		if err := n.WriteTar(t.Context(), h, io.Discard); err != nil {
			t.Fatalf("kept %+v and cannot be read: %v", info, err)
		}
	})
}
