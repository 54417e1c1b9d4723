package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

// stalled is an IPFS that does not know for a long time what a file is.
type stalled struct{ IPFS }

func (stalled) Stat(ctx context.Context, _ message.Hash) (files.Info, error) {
	<-ctx.Done()
	return files.Info{}, ctx.Err()
}

func TestWhoWaitsForIPFSIsToldAfterAWhile(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.IPFS = stalled{c.IPFS}
		c.Limits.Stat = 10 * time.Millisecond
		c.Fetch = func(ctx context.Context, _ message.Hash, _ int64) (int64, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}
	})
	archive, root := car([]byte("file"))
	r.form("/api/v0/ipfs/add_car", part{"file", "", archive}, metadataOf(r.storing(root, nil), true)).
		is(t, "CAR", 504, "504: Timed out waiting for IPFS stat")
	elsewhere := strings.Repeat("ab", 32)
	for _, name := range []string{elsewhere, string(root)} {
		kind := message.Hash(name).Kind()
		question, err := json.Marshal(map[string]any{"message": map[string]any{"type": "STORE", "item_type": kind, "item_hash": name}})
		if err != nil {
			t.Fatal(err)
		}
		r.do(http.MethodPost, "/api/v0/price/estimate", strings.NewReader(string(question))).
			is(t, "price", 504, "504: Timed out waiting for the content of "+name)
	}
}

func TestUploadsAreJudgedAsTheirMessages(t *testing.T) {
	r := newRig(t)
	r.params.MaxUnauthenticated = 10
	r.params.CutOffs.CreditOnly = 0
	credit := map[string]any{"payment": map[string]any{"chain": "ETH", "type": "credit"}}
	file := []byte(strings.Repeat("x", 1000))
	hash := message.HashBytes(file)
	envelope := r.storing(hash, credit)
	upload := func() answer { return r.form(addFilePath, part{"file", "", file}, metadataOf(envelope, true)) }
	upload().is(t, "without credits", 402, "402: Payment Required")
	r.get("/api/v0/storage/metadata/"+string(hash)).check(t, "nothing is recorded of it", 404, "")
	r.get("/api/v0/messages/"+string(hashIn(t, envelope))).check(t, "nor of the message", 404, "")
	r.grant(100) // a second costs a little more than 0.001, and a day must be paid for
	upload().check(t, "with too few", 402, "402: Payment Required")
	r.send(envelope, false).check(t, "the message without its file", 202, "pending")
	r.grant(1e9)
	upload().check(t, "with enough", 200, "success")
	upload().check(t, "again, with the same message", 200, "success")
	// What is no longer allowed is not for want of funds: the message tells it.
	held := r.form(addFilePath, part{"file", "", file}, metadataOf(r.storing(hash, map[string]any{"time": 1700000009.0}), true))
	if held.status == http.StatusPaymentRequired {
		t.Errorf("a way to pay that is not allowed: %d %s", held.status, held.body)
	}
}
