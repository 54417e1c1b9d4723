// Package chaintest runs a development chain for the time of a test.
package chaintest

import (
	"context"
	"testing"

	"github.com/aleph-im/aleph-go/devnet/chain"
)

// Start starts a chain and returns it when it answers. It ends, without an error, with the test.
func Start(t testing.TB) *chain.Chain {
	t.Helper()
	c, err := chain.New(chain.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-c.Ready():
	case err := <-ended:
		ended <- err
		t.Fatal("the chain did not come up")
	}
	return c
}
