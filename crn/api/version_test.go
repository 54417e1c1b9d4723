package api

import (
	"strings"
	"testing"
)

func TestReleasesAreOrderedAsPEP440Says(t *testing.T) {
	// Each comes before the next; those of a line are equal.
	order := []string{
		"0.9", "1.0.dev1", "1.0a1.dev1", "1.0a1 v1.0-alpha.1", "1.0b2", "1.0rc1.dev2", "1.0rc1 1.0c1 1.0-preview1", "1.0 1.0.0 1 1.0+local.3",
		"1.0.post1.dev3", "1.0.post1 1.0-1 1.0.r1", "1.0.1", "1.2", "1.10", Version, "1.14.1rc1", "2", "1!0.1",
	}
	for i, line := range order {
		for j, other := range order {
			for a := range strings.FieldsSeq(line) {
				for b := range strings.FieldsSeq(other) {
					x, ok := parseRelease(a)
					y, also := parseRelease(b)
					if !ok || !also {
						t.Fatalf("not read: %s or %s", a, b)
					}
					if got := x.compare(y); (got < 0) != (i < j) || (got > 0) != (i > j) {
						t.Errorf("%s and %s compare to %d", a, b, got)
					}
				}
			}
		}
	}
	for _, text := range []string{"", "x", "1.", "1..2", "1.0-", "1.0x", "1.0+", "99999999999999999999"} {
		if _, ok := parseRelease(text); ok {
			t.Errorf("%q was read", text)
		}
	}
}

func FuzzRelease(f *testing.F) {
	for _, text := range []string{"1.14.0", "1!2.3a4.post5.dev6+x", "9999999999999"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if r, ok := parseRelease(text); ok && r.compare(r) != 0 {
			t.Errorf("%q is not itself", text)
		}
	})
}
