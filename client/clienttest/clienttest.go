// Package clienttest runs a core node inside a test, so that programs that use package client are tested against the network's
// real rules: signatures are verified, funds are checked, messages are applied. It is the node itself on a folder that the test
// removes, with the parameters of development networks, and it is alone: it gossips with nobody and reads no chain.
//
// Programs and instances are accepted, and run nowhere: the node has no compute node.
package clienttest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn"
	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// Node is a core node of one test.
type Node struct {
	URL    string // base URL of its API
	Params *params.Network

	t         testing.TB
	authority *ethereum.Account
	height    int // of the balances that were published last
}

// startTime bounds the start of a node and each thing that the test makes happen.
const startTime = 30 * time.Second

// Start runs a node until the test ends. A node that cannot start fails the test.
func Start(t testing.TB) *Node {
	t.Helper()
	authority, err := ethereum.Generate()
	if err != nil {
		t.Fatalf("start a core node: %v", err)
	}
	p := params.Devnet()
	for _, publisher := range []*params.Publisher{&p.Balances, &p.Credits, &p.Scores, &p.Corechannel, &p.Pricing} {
		publisher.Addresses = []string{authority.Address()}
	}
	node, err := ccn.New(t.Context(), ccn.Config{
		Params: p, DataDir: folder(t), HTTPListen: "127.0.0.1:0", Version: "clienttest", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatalf("start a core node: %v", err)
	}
	// The context of the test ends before its cleanup; the node must outlive what the test still does then.
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("core node: %v", err)
		}
	})
	return &Node{URL: "http://" + node.HTTPAddr(), Params: p, t: t, authority: authority}
}

// folder returns a new one for the node's data: in memory where the system has such a place, as a node makes many small files.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "aleph-clienttest-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the data of the core node: %v", err)
		}
	})
	return dir
}

// Client returns a client of the node.
func (n *Node) Client() *client.Client {
	return client.New(client.Config{BaseURL: n.URL, Backoff: 5 * time.Millisecond})
}

// Account returns a new account that holds tokens, in ALEPH.
func (n *Node) Account(tokens int64) *ethereum.Account {
	n.t.Helper()
	a, err := ethereum.Generate()
	if err != nil {
		n.t.Fatalf("make an account: %v", err)
	}
	if tokens > 0 {
		n.Fund(a.Address(), tokens)
	}
	return a
}

// Fund sets what an address holds, in ALEPH.
func (n *Node) Fund(address string, tokens int64) {
	n.t.Helper()
	n.height++
	n.publish(n.Params.Balances, map[string]any{
		"tags": []string{"mainnet"}, "chain": "ETH", "platform": n.Params.Nodes.BalancePlatform, "main_height": n.height,
		"balances": map[string]int64{address: tokens},
	})
}

// GiveCredits adds credits to an address.
func (n *Node) GiveCredits(address string, amount int64) {
	n.t.Helper()
	n.publish(n.Params.Credits, map[string]any{"distribution": map[string]any{
		"token": "TEST", "chain": "ETH",
		"credits": []any{map[string]any{"address": address, "amount": amount, "price": "1", "tx_hash": "", "provider": "clienttest"}},
	}})
}

// SetAggregate merges members into an aggregate of the network's authority, such as its prices.
func (n *Node) SetAggregate(key string, members any) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), startTime)
	defer cancel()
	sent, err := n.Client().SetAggregate(ctx, n.authority, key, members, client.SendOptions{Sync: true})
	n.expect(err, sent)
}

// Authority is the address of the account that the node believes in what concerns the network.
func (n *Node) Authority() string { return n.authority.Address() }

// publish sends a post of the first kind that is believed of a publisher.
func (n *Node) publish(as params.Publisher, content any) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), startTime)
	defer cancel()
	o := client.SendOptions{Sync: true}
	if len(as.Channels) > 0 {
		o.Channel = as.Channels[0]
	}
	sent, err := n.Client().SendPost(ctx, n.authority, as.PostTypes[0], "", content, o)
	n.expect(err, sent)
}

func (n *Node) expect(err error, sent *client.Sent) {
	n.t.Helper()
	if err == nil && sent.Status != message.StatusProcessed {
		err = fmt.Errorf("message %s is %s", sent.Hash, sent.Status)
	}
	if err != nil {
		n.t.Fatalf("prepare the core node: %v", err)
	}
}
