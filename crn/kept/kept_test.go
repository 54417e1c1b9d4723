package kept_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aleph-im/aleph-go/crn/kept"
)

// put makes a file of so many bytes that was used so many hours ago.
func put(t *testing.T, dir, name string, size, hours int) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	touch(t, path, hours)
}

func touch(t *testing.T, path string, hours int) {
	t.Helper()
	at := time.Now().Add(-time.Duration(hours) * time.Hour)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestWhatWasNotUsedForLongestLeaves(t *testing.T) {
	for _, test := range []struct {
		name string
		cfg  kept.Config
		want []string
	}{
		{"too many bytes", kept.Config{Bytes: 250}, []string{".part", "c", "d"}},
		{"too many entries", kept.Config{Entries: 3}, []string{".part", "b", "c", "d"}},
		{"too old", kept.Config{Age: 150 * time.Minute}, []string{".part", "c", "d"}},
		{"no bound", kept.Config{}, []string{".part", "a", "b", "c", "d"}},
		{"within all bounds", kept.Config{Bytes: 400, Entries: 4, Age: 5 * time.Hour}, []string{".part", "a", "b", "c", "d"}},
		{"in use", kept.Config{Bytes: 250, Remove: func(name string) (bool, error) { return false, nil }}, []string{".part", "a", "b", "c", "d"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for i, name := range []string{"a", "b", "c", "d"} {
				put(t, dir, name, 100, 4-i)
			}
			put(t, dir, ".part", 1000, 9)
			test.cfg.Dir, test.cfg.What = dir, "things"
			f, err := kept.Open(test.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if got := names(t, dir); !slices.Equal(got, test.want) {
				t.Errorf("kept %q, want %q", got, test.want)
			}
			if bytes, n := f.Size(); n != len(test.want)-1 || bytes != int64(100*n) {
				t.Errorf("counts %d entries of %d bytes", n, bytes)
			}
		})
	}
}

func TestAFolderStaysWithinItsBoundsWhileItGrows(t *testing.T) {
	dir, registry := t.TempDir(), prometheus.NewRegistry()
	var log bytes.Buffer
	f, err := kept.Open(kept.Config{Dir: dir, What: "things", Entries: 160, Bytes: 1 << 20, Metrics: registry, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	var removed []string
	for i := range 400 {
		name := fmt.Sprintf("%03d", i)
		put(t, dir, name, 10, 0)
		gone, err := f.Note(name)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(gone, name) {
			t.Errorf("%s is removed as it comes", name)
		}
		removed = append(removed, gone...)
		if left := names(t, dir); len(left) > 160 {
			t.Fatalf("%d entries after %d came", len(left), i+1)
		}
	}
	if left := names(t, dir); len(left)+len(removed) != 400 {
		t.Errorf("%d are left, %d were said to be removed", len(left), len(removed))
	}
	if n := strings.Count(log.String(), "\n"); n == 0 || n > 400/10 {
		t.Errorf("%d lines of log", n)
	}
	for range 2 { // gone, and said twice
		if err := os.RemoveAll(filepath.Join(dir, "399")); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Note("399"); err != nil {
			t.Fatal(err)
		}
	}
	put(t, dir, "398", 25, 0)
	if _, err := f.Note("398"); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		m := family.GetMetric()[0]
		got[family.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	left := 400 - len(removed) - 1
	want := map[string]float64{
		"aleph_crn_kept_removed_total": float64(len(removed)), "aleph_crn_kept_entries": float64(left),
		"aleph_crn_kept_bytes": float64(10*left + 15), "aleph_crn_kept_limit_bytes": 1 << 20,
	}
	if !maps.Equal(got, want) {
		t.Errorf("metrics say %v, want %v", got, want)
	}
}

func TestFoldersCountWithAllThatIsInThem(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "old/deep/one", 600, 0)
	put(t, dir, "young/one", 300, 0)
	shared := filepath.Join(t.TempDir(), "shared")
	if err := os.WriteFile(shared, make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(shared, filepath.Join(dir, "young", "shared")); err != nil {
		t.Fatal(err)
	}
	touch(t, filepath.Join(dir, "old"), 2)
	touch(t, filepath.Join(dir, "young"), 1)
	f, err := kept.Open(kept.Config{Dir: dir, What: "things", Bytes: 800})
	if err != nil {
		t.Fatal(err)
	}
	bytes, _ := f.Size()
	if left := names(t, dir); !slices.Equal(left, []string{"young"}) || bytes != 300 {
		t.Errorf("kept %q of %d bytes", left, bytes)
	}
}
