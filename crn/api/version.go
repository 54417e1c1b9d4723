package api

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// release is a version as PEP 440 orders them: numbers, then whether it comes before (development, alpha, beta, candidate) or
// after its release.
type release struct {
	epoch   int
	numbers []int
	suffix  [4]int // pre-release phase, its number, post number, dev number
}

var releaseForm = regexp.MustCompile(`^v?(?:(\d+)!)?(\d+(?:\.\d+)*)` +
	`(?:[-_.]?(alpha|a|beta|b|preview|pre|c|rc)[-_.]?(\d*))?(?:(?:-(\d+))|(?:[-_.]?(post|rev|r)[-_.]?(\d*)))?(?:[-_.]?(dev)[-_.]?(\d*))?` +
	`(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?$`)

// last comes after every number that a version may have.
const last = 1 << 30

// parseRelease reads a version. Its local part, behind a plus sign, does not count.
func parseRelease(text string) (r release, ok bool) {
	m := releaseForm.FindStringSubmatch(strings.ToLower(strings.TrimSpace(text)))
	if m == nil {
		return r, false
	}
	ok = true
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		ok = ok && (text == "" || err == nil && n < last)
		return n
	}
	r.epoch = number(m[1])
	for part := range strings.SplitSeq(m[2], ".") {
		r.numbers = append(r.numbers, number(part))
	}
	for len(r.numbers) > 1 && r.numbers[len(r.numbers)-1] == 0 {
		r.numbers = r.numbers[:len(r.numbers)-1]
	}
	pre, post, dev := m[3] != "", m[5] != "" || m[6] != "", m[8] != ""
	switch {
	case pre:
		r.suffix[0], r.suffix[1] = map[byte]int{'a': 1, 'b': 2, 'p': 3, 'c': 3, 'r': 3}[m[3][0]], number(m[4])
	case !post && dev:
		r.suffix[0] = 0 // a development version of the release itself comes before its alpha
	default:
		r.suffix[0] = last
	}
	r.suffix[2], r.suffix[3] = -1, last
	if post {
		r.suffix[2] = number(m[5] + m[7])
	}
	if dev {
		r.suffix[3] = number(m[9])
	}
	return r, ok
}

func (r release) compare(other release) int {
	return cmp.Or(cmp.Compare(r.epoch, other.epoch), slices.Compare(r.numbers, other.numbers), slices.Compare(r.suffix[:], other.suffix[:]))
}

// checkVersion answers GET /status/check/version: whether this node follows the given release or a later one.
func (s *Server) checkVersion(w http.ResponseWriter, r *http.Request) {
	reference := r.URL.Query().Get("reference")
	if reference == "" {
		fail(w, http.StatusBadRequest, "Query field 'reference' must be specified")
		return
	}
	wanted, ok := parseRelease(reference)
	if !ok {
		fail(w, http.StatusBadRequest, "Invalid version: '"+reference+"'")
		return
	}
	if own, _ := parseRelease(Version); own.compare(wanted) < 0 {
		fail(w, http.StatusForbidden, fmt.Sprintf("Outdated: version %s < %s", Version, reference))
		return
	}
	plain(w, http.StatusOK, fmt.Sprintf("Up-to-date: version %s >= %s", Version, reference))
}
