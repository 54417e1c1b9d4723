//go:build e2e

package e2e

import (
	"path/filepath"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

// backsUp backs a running instance up and restores it, as its owner does on the command line.
func backsUp(t *testing.T, hash message.Hash) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "backup.tar")
	for _, args := range [][]string{
		{"create"}, {"download", "--to", file}, {"restore", "--file", file}, {"delete"},
	} {
		command := append([]string{"--yes", "--network", network.ParametersPath(), "instance", "backup", args[0], string(hash)}, args[1:]...)
		if _, code := aleph(t, command...); code != 0 {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}
