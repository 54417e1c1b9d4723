// Package threatstest holds pages of threats to the tests that they name.
package threatstest

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

// Check fails unless each line of the tables of a page, at least so many, names a test, and each of these is in one of the folders, with
// the part that is named. Paths are relative to the folder of the package that is tested.
func Check(t *testing.T, page string, least int, folders ...string) {
	t.Helper()
	sources := map[string]string{} // by test
	for _, folder := range folders {
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
	raw, err := os.ReadFile(page)
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
	if lines < least {
		t.Errorf("only %d lines were found", lines)
	}
}
