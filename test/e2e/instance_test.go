//go:build e2e

package e2e

import (
	"testing"

	"github.com/aleph-im/aleph-go/crn/image/imagetest"
)

// TestAnInstance runs on a network of its own, because instances change the host's. Each part ends its instance; the last one
// destroys a node.
func TestAnInstance(t *testing.T) {
	if !imagetest.InOwnNetwork(t, "small") {
		return
	}
	t.Run("is paid by a stream", paidByAStream)
	t.Run("moves when its node drains and when its owner asks", movesWhenItsNodeDrainsAndWhenItsOwnerAsks)
	t.Run("comes back when its node died", comesBackWhenItsNodeDied)
}
