// Package pages holds the Markdown pages of the repository to what can be checked of them.
package pages

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

var (
	fenced = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	code   = regexp.MustCompile("`[^`\n]*`")
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	title  = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	sign   = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// pages are all Markdown files but those of others.
func pages(t *testing.T) (list []string) {
	t.Helper()
	others := map[string]bool{"node_modules": true, "build": true, ".venv": true, ".git": true, ".devnet": true, "dist": true}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && others[e.Name()]:
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			list = append(list, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 50 {
		t.Fatalf("%d pages are fewer than there were", len(list))
	}
	return list
}

// links are what the prose of a page leads to.
func links(page string) (targets []string) {
	prose := code.ReplaceAllString(fenced.ReplaceAllString(page, ""), "")
	for _, match := range link.FindAllStringSubmatch(prose, -1) {
		targets = append(targets, match[1])
	}
	return targets
}

// anchors are the names by which the headlines of a page are led to, as hosts of repositories make them.
func anchors(page string) map[string]bool {
	names := map[string]bool{}
	for _, match := range title.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		names[strings.ReplaceAll(sign.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-")] = true
	}
	return names
}

func TestLinksLeadSomewhere(t *testing.T) {
	followed := 0
	for _, path := range pages(t) {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range links(string(page)) {
			to, err := url.Parse(text)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			if to.Scheme != "" { // the world is not asked
				continue
			}
			followed++
			target := path
			if to.Path != "" {
				target = filepath.Join(filepath.Dir(path), filepath.FromSlash(to.Path))
			}
			if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s leads to %s, which is not there", path, text)
				continue
			}
			if to.Fragment == "" {
				continue
			}
			if there, err := os.ReadFile(target); err != nil || !anchors(string(there))[to.Fragment] {
				t.Errorf("%s leads to %s, which has no such headline (%v)", path, text, err)
			}
		}
	}
	if followed < 60 {
		t.Errorf("%d links are fewer than there were", followed)
	}
}

func TestLinksAreRead(t *testing.T) {
	const page = "# A *first*, and `code`\n[a](b.md) and `[no](c.md)`\n```\n[no](d.md)\n# no\n```\n[e](f.md#g)"
	if got := strings.Join(links(page), " "); got != "b.md f.md#g" {
		t.Errorf("links %s", got)
	}
	if got := anchors(page); len(got) != 1 || !got["a-first-and-code"] {
		t.Errorf("anchors %v", got)
	}
}
