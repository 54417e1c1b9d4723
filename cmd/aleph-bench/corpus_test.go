package main

import (
	"bytes"
	"testing"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
)

func TestCorpusIsValidAndTheSameInEveryRun(t *testing.T) {
	c, err := newCorpus()
	if err != nil {
		t.Fatal(err)
	}
	const n = 2 * corpusDistance
	envelopes, err := c.some(t.Context(), 0, n)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.some(t.Context(), n-100, n)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range again {
		if !bytes.Equal(e, envelopes[n-100+i]) {
			t.Fatalf("message %d differs between runs", n-100+i)
		}
	}
	verifier := signature.Default()
	at := make(map[message.Hash]*message.Message, n)
	counts := make(map[string]int)
	for i, e := range envelopes {
		m, content, err := message.Parse(e)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if err := verifier.Verify(m); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if at[m.ItemHash] != nil {
			t.Fatalf("message %d is there twice", i)
		}
		at[m.ItemHash] = m
		counts[string(m.Type)]++
		var target message.Hash
		switch content := content.(type) {
		case *message.Forget:
			target = content.Hashes[0]
		case *message.Post:
			if content.PostType == message.PostTypeAmend {
				counts["amend"]++
				target = message.Hash(content.Ref)
			}
		}
		if target != "" && (at[target] == nil || at[target].Sender != m.Sender) {
			t.Errorf("message %d names %s, which no earlier message of the same sender is", i, target)
		}
	}
	// The first messages name no others, as there are none.
	for kind, want := range map[string]int{"AGGREGATE": 14 * n / 100, "STORE": 5 * n / 100, "FORGET": n/100 - 15, "amend": 3 * (n/100 - 15)} {
		if counts[kind] != want {
			t.Errorf("%d of %s, want %d", counts[kind], kind, want)
		}
	}
}
