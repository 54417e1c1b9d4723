package convergence

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/ccn/api"
	diskfiles "github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// TestSameMessagesGiveTheSameAnswers asks two nodes everything that users can ask. One heard a story in order and keeps it
// in SQLite, the other heard it otherwise and keeps it in PostgreSQL. Both have the same clock, so that what they tell of
// their own time is equal too.
func TestSameMessagesGiveTheSameAnswers(t *testing.T) {
	t.Parallel()
	inFile, onServer := folder(t.TempDir()), newServer(t)
	disk, err := diskfiles.OpenDisk(filepath.Join(t.TempDir(), "files"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	asked := 0
	check(t, 200, func(t *rapid.T, told *telling) {
		answers := func(p place, batches ...[]news) (text string) {
			live(t, p, told, func(db *store.Store) {
				c := &client{handler: handler(t, db, disk, told)}
				c.askAll(told)
				text, asked = c.text.String(), asked+c.asked
			}, batches...)
			return text
		}
		want, got := answers(inFile, told.ordered), answers(onServer, told.batches...)
		if got != want {
			t.Fatalf("%s\n%s", difference(want, got), told)
		}
	})
	t.Logf("%d answers compared", asked/2)
}

// handler returns the API of a node that takes nothing in any more.
func handler(t *rapid.T, db *store.Store, disk *diskfiles.Disk, told *telling) http.Handler {
	p := params.Devnet()
	pipeline, err := intake.New(intake.Config{
		Params: p, Store: db, State: state.New(state.Config{Params: p, Now: told.now}), Files: disk, Now: told.now,
		Verify: func(*message.Message) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return api.New(api.Config{
		Params: p, Store: db, Files: disk, Intake: pipeline, Version: "test", Now: told.now,
		Publish: func(context.Context, []byte) error { return nil }, Addresses: func() []string { return nil },
	})
}

// client asks and writes down what it hears.
type client struct {
	handler http.Handler
	text    strings.Builder
	asked   int
}

// What funds a message failed on is told as of its last judgement, which differs from node to node (docs/decisions).
var lastFunds = regexp.MustCompile(`"(required|account)_(balance|credits)":"[^"]*"`)

func (c *client) get(format string, args ...any) []byte {
	target := fmt.Sprintf(format, args...)
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	c.asked++
	fmt.Fprintf(&c.text, "%s: %d %s\n", target, w.Code, lastFunds.ReplaceAll(w.Body.Bytes(), []byte(`"$1_$2":""`)))
	return w.Body.Bytes()
}

// pages reads a list page by page and by its cursor to the end.
func (c *client) pages(path string, query string) {
	for page := 1; page <= 3; page++ {
		c.get("%s?%s&pagination=4&page=%d", path, query, page)
	}
	for next := ""; ; {
		var list struct {
			Next *string `json:"next_cursor"`
		}
		raw := c.get("%s?%s&pagination=3&cursor=%s", path, query, url.QueryEscape(next))
		if json.Unmarshal(raw, &list) != nil || list.Next == nil || *list.Next == next {
			return
		}
		next = *list.Next
	}
}

func (c *client) askAll(told *telling) {
	s := told.story
	owners := []string{alice, bob, carol, dave, params.DevnetAuthority}
	for _, owner := range owners {
		for _, path := range []string{
			"aggregates/%s.json?with_info=true", "aggregates/%s.json?keys=k&value_only=true", "aggregates/%s.json?keys=security,k&limit=1", "authorizations/granted/%s.json", "authorizations/received/%s.json", "addresses/%s/files",
			"addresses/%s/post_types", "addresses/%s/channels", "addresses/%s/balance?include_credit_details=true",
			"addresses/%s/credit_history", "addresses/%s/credit_history?sort_by=amount&direction=incoming", "addresses/%s/credit_history/summary",
		} {
			c.get("/api/v0/"+path, owner)
		}
	}
	for _, m := range append(slices.Clone(s.said), s.forgets...) {
		c.get("/api/v0/messages/%s", m.ItemHash)
		c.get("/api/v0/messages/%s/content", m.ItemHash)
		c.get("/api/v0/messages/%s/status", m.ItemHash)
		switch m.Type {
		case message.TypePost, message.TypeAggregate, message.TypeForget:
			continue
		case message.TypeStore:
			c.get("/api/v0/storage/by-message-hash/%s", m.ItemHash)
			c.get("/api/v0/storage/by-ref/%s", m.ItemHash)
		}
		c.get("/api/v0/price/%s", m.ItemHash)
		c.get("/api/v0/messages/%s/consumed_credits", m.ItemHash)
	}
	for _, f := range files {
		c.get("/api/v0/storage/metadata/%s", f.Hash)
		c.get("/api/v0/storage/count/%s", f.Hash)
	}
	c.get("/api/v0/storage/by-ref/%s/site", alice)
	c.pages("/api/v0/messages.json", "")
	c.pages("/api/v0/messages.json", "sortOrder=1&addresses="+strings.Join(owners[:2], ","))
	for _, query := range []string{
		"sortBy=tx-time", "sortBy=tx-time&sortOrder=1", "msgTypes=STORE,INSTANCE", "msgTypes=FORGET", "msgStatuses=removing", "msgStatuses=forgotten",
		"msgStatuses=removed", "tags=a", "contentTypes=amend", "contentKeys=k,security", "channels=ALEPH_CREDIT", "paymentTypes=credit",
		"owners=0xAlice&startDate=2&endDate=4", "startBlock=2", "contentHashes=" + string(files[1].Hash), "refs=" + string(s.posts[0].ItemHash), "excludeContent=true",
	} {
		c.get("/api/v0/messages.json?%s", query)
	}
	for _, status := range []message.Status{"", message.StatusProcessed, message.StatusRejected, message.StatusForgotten, message.StatusRemoved} {
		c.get("/api/v0/messages/hashes?hash_only=false&pagination=50&status=%s", status)
	}
	c.pages("/api/v0/posts.json", "")
	c.pages("/api/v1/posts.json", "sortOrder=1&tags=a")
	c.pages("/api/v0/aggregates", "sortBy=creation_time")
	c.pages("/api/v0/balances", "")
	c.pages("/api/v0/credit_balances", "")
	for _, path := range []string{
		"v0/posts.json?sortBy=tx-time", "v1/posts.json?types=note&addresses=0xAlice", "v0/posts.json?tags=b", "v1/posts.json?tags=b,a&sortOrder=1", "v1/posts.json?refs=" + string(s.posts[0].ItemHash), "v0/aggregates?keys=k",
		"v0/core/n/metrics?start_date=0", "v0/core/n/metrics?end_date=2&sort=DESC", "v0/compute/n/metrics?start_date=1&end_date=3",
		"v0/addresses/stats.json", "v1/addresses/stats.json?sortBy=messages&sortOrder=1", "v1/addresses/stats.json?sortBy=post", "v0/channels/list.json",
		"v0/programs/on/message", "v0/costs?include_details=2", "v0/costs?payment_type=credit&include_details=1",
	} {
		c.get("/api/%s", path)
	}
}
