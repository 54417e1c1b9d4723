package crn_test

import (
	"testing"

	"github.com/aleph-im/aleph-go/internal/threatstest"
)

// Each line of the threat model names a test, and each of these exists.
func TestEveryThreatIsGuardedByATestThatExists(t *testing.T) {
	threatstest.Check(t, "../docs/threats.md", 20, ".", "../guest")
}
