//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/devnet/chain"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// TestMessagesReachTheProgramThatAskedForThem publishes on one core node; the program runs where the plan has put it.
func TestMessagesReachTheProgramThatAskedForThem(t *testing.T) {
	folder := t.TempDir()
	if err := imagetest.BuildGo("./crn/testdata/probe", filepath.Join(folder, "probe")); err != nil {
		t.Fatal(err)
	}
	owner, err := ethereum.NewAccount(chain.Accounts()[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	c := client.New(client.Config{BaseURL: network.Core[0].URL})
	info, err := c.GetMessage(t.Context(), message.Hash(deploy(t, folder, "--entrypoint", "probe")))
	if err != nil {
		t.Fatal(err)
	}
	content, err := message.ParseContent(message.TypeProgram, info.Message.Content)
	if err != nil {
		t.Fatal(err)
	}
	program := content.(*message.Program)
	program.Time = 0 // now
	program.On.Message = []json.RawMessage{json.RawMessage(`{"type":"POST","channel":"E2E-EVENTS"}`)}
	m, _, err := c.Send(t.Context(), owner, message.TypeProgram, program, client.SendOptions{Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	events := func(ctx context.Context) (string, error) {
		place, err := c.Allocation(ctx, m.ItemHash)
		if err != nil {
			return "", err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, place.Node.URL+"/vm/"+string(m.ItemHash)+"/events", nil)
		if err != nil {
			return "", err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", response.Status, body)
		}
		return string(body), err
	}
	eventually(t, 2*time.Minute, func(ctx context.Context) error { _, err := events(ctx); return err })

	// Its node may hear of the plan after the first caller was sent there: messages go out until one has come.
	var posted []message.Hash
	eventually(t, time.Minute, func(ctx context.Context) error {
		post := map[string]any{"address": owner.Address(), "time": float64(time.Now().UnixMilli()) / 1000, "type": "note", "content": map[string]any{}}
		p, _, err := c.Send(ctx, owner, message.TypePost, post, client.SendOptions{Channel: "E2E-EVENTS", Sync: true})
		if err != nil {
			return err
		}
		posted = append(posted, p.ItemHash)
		got, err := events(ctx)
		if err != nil {
			return err
		}
		for _, hash := range posted {
			if strings.Contains(got, "POST aleph.message "+string(hash)) {
				return nil
			}
		}
		return fmt.Errorf("none of %d messages came; the program has %q", len(posted), got)
	})
}
