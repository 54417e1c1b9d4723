package ipfs

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/ccn/files"
)

func TestLookupFindsEveryFileOfAFolderAndNoOther(t *testing.T) {
	n := open(t)
	for id, tree := range trees() {
		if strings.HasPrefix(id, "threshold-") { // as hamt-short
			continue
		}
		root, _, err := n.AddFolder(t.Context(), tree, 1)
		if err != nil {
			t.Fatal(err)
		}
		step := len(tree)/100 + 1 // of large folders some
		i := 0
		err = fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
			if i++; err != nil || entry.IsDir() || i%step != 0 {
				return err
			}
			h, err := n.Lookup(t.Context(), root, path)
			if err != nil {
				return err
			}
			f, _, err := n.Open(t.Context(), h)
			if err != nil {
				return err
			}
			got, err := io.ReadAll(f)
			if want := tree[path].Data; err == nil && string(got) != string(want) {
				t.Errorf("%s: %s has %.20q, want %.20q", id, path, got, want)
			}
			for _, wrong := range []string{path + "x", "x" + path, path + "/x", "00" + path} {
				if _, err := n.Lookup(t.Context(), root, wrong); !errors.Is(err, files.ErrNotFound) {
					t.Errorf("%s: %s: %v, want that it is not found", id, wrong, err)
				}
			}
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", id, err)
		}
		if h, err := n.Lookup(t.Context(), root, ""); h != root || err != nil {
			t.Errorf("%s itself: %s, %v", id, h, err)
		}
	}
}
