package crn

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/crn/image/imagetest"
)

func TestMain(m *testing.M) {
	if err := imagetest.EnterOwnNetwork(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// Instances change the network of their host, so this one has a host's network of its own. Without root, their checks are left out.
func TestConformance(t *testing.T) {
	if os.Getuid() == 0 && !imagetest.InOwnNetwork(t, "small") {
		return
	}
	Run(t)
}

func TestEveryRowOfTheListIsThere(t *testing.T) {
	var numbers []int
	for _, row := range rows() {
		ways := 0
		for _, has := range []bool{len(row.checks) > 0, row.open != "", row.elsewhere != (place{})} {
			if has {
				ways++
			}
		}
		if ways != 1 {
			t.Errorf("row %d has %d of: checks, a test that holds it elsewhere, the reason why neither", row.number, ways)
		}
		if row.elsewhere != (place{}) && !row.elsewhere.exists(t) {
			t.Errorf("row %d is held by %s in %s, which is not there", row.number, row.elsewhere.test, row.elsewhere.folder)
		}
		numbers = append(numbers, row.number)
	}
	var want []int
	for n := range 57 {
		want = append(want, n+1)
	}
	if !slices.Equal(numbers, want) {
		t.Errorf("rows %v", numbers)
	}
}

func (p place) exists(t *testing.T) bool {
	files, err := filepath.Glob(filepath.Join(imagetest.Root(), p.folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		raw, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(raw), "\nfunc "+p.test+"(t *testing.T)")
	})
}
