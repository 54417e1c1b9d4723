package clienttest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/clienttest"
	"github.com/aleph-im/aleph-go/message"
)

// remember is what a user's own code may look like: it keeps a note on the network and finds it again.
func remember(t *testing.T, c *client.Client, by client.Account, text string) string {
	t.Helper()
	sent, err := c.SendPost(t.Context(), by, "note", "", map[string]string{"text": text}, client.SendOptions{Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	post, err := c.Post(t.Context(), sent.Hash)
	if err != nil {
		t.Fatal(err)
	}
	return string(post.Content)
}

func TestNodeKeepsWhatItIsGiven(t *testing.T) {
	began := time.Now()
	node := clienttest.Start(t)
	t.Logf("the node was there after %v", time.Since(began))
	if got := remember(t, node.Client(), node.Account(0), "hello"); got != `{"text":"hello"}` {
		t.Errorf("got %s", got)
	}
}

func TestNodeChecksFunds(t *testing.T) {
	node := clienttest.Start(t)
	c := node.Client()
	rich, poor := node.Account(20_000), node.Account(0)
	node.GiveCredits(rich.Address(), 5000)
	b, err := c.Balance(t.Context(), rich.Address())
	if err != nil || b.Balance != 20_000 || b.Credits != 5000 {
		t.Fatalf("balance %+v, %v", b, err)
	}
	image, err := c.UploadFile(t.Context(), rich, strings.NewReader("an image"), client.UploadOptions{Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	program, err := c.CreateProgram(t.Context(), rich, client.NewProgram("site", image.MessageHash, "main:app", image.MessageHash), client.SendOptions{Sync: true})
	if err != nil || program.Status != message.StatusProcessed {
		t.Errorf("a program that is paid for: %+v, %v", program, err)
	}
	instance := func() *message.Instance {
		return client.NewInstance("box", image.MessageHash, 20480, "ssh-ed25519 AAAA")
	}
	sent, err := c.CreateInstance(t.Context(), rich, instance(), client.SendOptions{Sync: true})
	if err != nil || sent.Status != message.StatusProcessed {
		t.Fatalf("an instance that is paid for: %+v, %v", sent, err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if place, err := c.Placed(soon, sent.Hash); err == nil || !strings.Contains(err.Error(), "no compute node has taken") {
		t.Errorf("placed on %+v, %v", place, err)
	}
	_, err = c.CreateInstance(t.Context(), poor, instance(), client.SendOptions{Sync: true})
	var funds *client.InsufficientFundsError
	if !errors.As(err, &funds) || funds.Required != "1000.000000000000000000" || funds.Available != "0" {
		t.Errorf("an instance that nobody pays for: %v", err)
	}
}
