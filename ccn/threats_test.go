package ccn_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName = regexp.MustCompile("`((?:Test|Fuzz)\\w+)(?:/([^`]+))?`")
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

// Each line of the threat model names a test, and each of these exists.
func TestEveryThreatIsGuardedByATestThatExists(t *testing.T) {
	sources := map[string]string{} // by test
	for _, folder := range []string{".", "../message", "../signature", "../test"} {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			raw, err := os.ReadFile(path)
			for _, match := range testFunc.FindAllStringSubmatch(string(raw), -1) {
				sources[match[1]] = string(raw)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile("../docs/threats-ccn.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(string(raw)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| Attempt |") {
			continue
		}
		lines++
		named := testName.FindAllStringSubmatch(line, -1)
		if len(named) == 0 {
			t.Errorf("no test guards this: %s", line)
		}
		for _, name := range named {
			source, ok := sources[name[1]]
			if !ok {
				t.Errorf("there is no %s", name[1])
			} else if name[2] != "" && !strings.Contains(source, `"`+name[2]+`"`) {
				t.Errorf("%s has no part %q", name[1], name[2])
			}
		}
	}
	if lines < 30 {
		t.Errorf("only %d lines were found", lines)
	}
}
