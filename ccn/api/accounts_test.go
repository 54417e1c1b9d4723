package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// write changes the database.
func (r *rig) write(change func(tx *store.Tx) error) {
	r.t.Helper()
	if err := r.db.Write(r.t.Context(), change); err != nil {
		r.t.Fatal(err)
	}
}

// is compares an answer in full.
func (a answer) is(t *testing.T, name string, status int, body string) {
	t.Helper()
	if a.status != status || string(a.body) != body {
		t.Errorf("%s: %d %s, want %d %s", name, a.status, a.body, status, body)
	}
}

func TestStatisticsCountWhatAddressesSent(t *testing.T) {
	r := newRig(t)
	for i := range 3 {
		r.send(r.post(i), true).check(t, "post", 200, "")
	}
	file := []byte("file")
	r.form(addFilePath, part{"file", "", file}, metadataOf(r.storing(message.HashBytes(file), nil), true)).check(t, "STORE", 200, "")
	mine := r.account.Address()
	counts := fmt.Sprintf(`{"%s":{"messages":4,"aggregate":0,"forget":0,"instance":0,"post":3,"program":0,"store":1}}`, mine)
	r.get("/api/v0/addresses/stats.json").is(t, "all", 200, `{"data":`+counts+`}`)
	r.get("/api/v0/addresses/stats.json?addresses[]=0xnobody&addresses%5B%5D="+mine).is(t, "one of two", 200, `{"data":`+counts+`}`)
	r.get("/api/v0/addresses/stats.json?addresses[]=0xnobody").is(t, "nobody", 200, `{"data":{}}`)
	list := "/api/v1/addresses/stats.json?addressContains="
	page := `,"pagination_item":"addresses","pagination_page":1,"pagination_per_page":20,"pagination_total":%d}`
	r.get(list+strings.ToLower(mine[2:12])).is(t, "part of it", 200, `{"data":`+counts+fmt.Sprintf(page, 1))
	r.get(list+"%25").is(t, "a percent sign is no wildcard", 200, `{"data":{}`+fmt.Sprintf(page, 0))
	r.get(list+strings.Repeat("x", 67)).check(t, "longer than any address", 422, `"loc":["addressContains"]`)
	for path, want := range map[string]string{"post_types": `["note"]`, "channels": `["TEST"]`} {
		r.get("/api/v0/addresses/"+mine+"/"+path).is(t, path, 200, fmt.Sprintf(`{"address":"%s","%s":%s}`, mine, path, want))
		r.get("/api/v0/addresses/0x1/"+path).is(t, path, 200, fmt.Sprintf(`{"address":"0x1","%s":[]}`, path))
	}
}

func TestFilesOfAnAddressChangeTheirFormWithACursor(t *testing.T) {
	r := newRig(t)
	for i := range 2 {
		file := fmt.Appendf(nil, "file %d", i)
		envelope := r.storing(message.HashBytes(file), map[string]any{"time": 1700000000.5 + float64(i)})
		r.form(addFilePath, part{"file", "", file}, metadataOf(envelope, true)).check(t, "STORE", 200, "")
	}
	path := "/api/v0/addresses/" + r.account.Address() + "/files"
	newest := string(message.HashBytes([]byte("file 1")))
	page := r.get(path + "?pagination=1")
	page.check(t, "page", 200, `"created":"2023-11-14T22:13:21.500000Z"`)
	page.check(t, "page", 200, `"total_size":12}`)
	page.check(t, "page", 200, `"file_hash":"`+newest+`","size":6,"type":"file"`)
	cursor := r.get(path + "?pagination=1&cursor=")
	cursor.check(t, "cursor", 200, `"created":1700000001.5`)
	cursor.check(t, "cursor", 200, `"total_size":12.0}`)
	next := r.get(path + "?pagination=1&cursor=" + cursor.object(t)["next_cursor"].(string))
	next.check(t, "second", 200, `"created":1700000000.5`)
	next.check(t, "second", 200, `"next_cursor":null`)
	r.get(path+"?sort_order=1&pagination=1").check(t, "oldest first", 200, `"created":"2023-11-14T22:13:20.500000Z"`)
	r.get(path+"?sortOrder=1&pagination=1").check(t, "sortOrder is not read", 200, `"created":"2023-11-14T22:13:21.500000Z"`)
	r.get(path+"?file_hash="+newest).check(t, "one file", 200, `"pagination_total":2,"total_size":12}`)
	for name, query := range map[string]string{"no such file": "?file_hash=x", "empty name": "?file_hash=", "too far": "?page=9"} {
		r.get(path+query).is(t, name, 404, "404: Not Found")
	}
	r.get("/api/v0/addresses/0x1/files").is(t, "nobody", 404, "404: Not Found")
	r.get(path+"?cursor=").check(t, "whole list", 200, `"next_cursor":null`)
}

// credits gives an address a history: a purchase that expires, a gift that does not, and something spent.
func (r *rig) credits(address string) {
	r.t.Helper()
	price, method, expires := "0.000001", "token", message.TimeFromSeconds(1900000000)
	expense, resource := "credit_expense", strings.Repeat("ab", 32)
	r.write(func(tx *store.Tx) error {
		for i, c := range []store.CreditRow{
			{Amount: 1000, Price: &price, PaymentMethod: &method, Expiration: &expires, ContentTime: 1700000000.5},
			{Amount: 500, ContentTime: 1700000010},
			{Amount: -300, PaymentMethod: &expense, Origin: &resource, ContentTime: 1700000020},
		} {
			c.Address, c.Ref, c.Index = address, message.HashBytes([]byte{byte(i)}), int64(i)
			if err := tx.InsertCredit(&c); err != nil {
				return err
			}
			if c.Amount < 0 {
				continue
			}
			lot := &store.CreditLot{Ref: c.Ref, Index: c.Index, Remaining: c.Amount, Expiration: c.Expiration, ContentTime: c.ContentTime}
			if err := tx.PutCreditLot(address, lot); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestCreditsAreListedAndSummed(t *testing.T) {
	now := time.Unix(1800000000, 0)
	r := newRig(t, func(c *Config) { c.Now = func() time.Time { return now } })
	r.credits("0xA")
	path := "/api/v0/addresses/0xA/credit_history"
	page := r.get(path)
	page.check(t, "page", 200, `"amount":-300,`)
	page.check(t, "page", 200, `"price":"0.000001"`)
	page.check(t, "page", 200, `"expiration_date":"2030-03-17T17:46:40Z"`)
	page.check(t, "page", 200, `"message_timestamp":"2023-11-14T22:13:20.500000Z"`)
	page.check(t, "page", 200, `"pagination_page":1,"pagination_per_page":0,"pagination_total":3}`)
	cursor := r.get(path + "?cursor=&pagination=3")
	cursor.check(t, "cursor", 200, `"price":1e-6`)
	cursor.check(t, "cursor", 200, `"expiration_date":1900000000.0`)
	cursor.check(t, "cursor", 200, `"message_timestamp":1700000000.5`)
	r.get(path+"?cursor=").check(t, "cursor without a size", 422, "pagination=0 is not allowed with cursor-based pagination")
	for query, want := range map[string]int{
		"direction=incoming": 2, "direction=outgoing": 1, "payment_method=token": 1, "exclude_payment_method=token": 1, "has_expiration=true": 1,
		"startDate=1700000010&endDate=1700000010": 1, "resource=" + strings.Repeat("ab", 32): 1, "start_date=0": 3,
	} {
		r.get(path+"?"+query).check(t, query, 200, fmt.Sprintf(`"pagination_total":%d}`, want))
		r.get(path+"/summary?"+query).check(t, query, 200, fmt.Sprintf(`"entry_count":%d,`, want))
	}
	// The cursor of each order walks the history once, whatever is null in it.
	for _, sort := range store.CreditSorts() {
		for _, order := range []string{"1", "-1"} {
			seen, next := map[any]bool{}, ""
			for range 4 {
				part := r.get(path + "?pagination=1&sort_by=" + sort + "&sort_order=" + order + "&cursor=" + next).object(t)
				seen[part["credit_history"].([]any)[0].(map[string]any)["credit_ref"]] = true
				if next, _ = part["next_cursor"].(string); next == "" {
					break
				}
			}
			if len(seen) != 3 {
				t.Errorf("by %s, %s: %d of 3", sort, order, len(seen))
			}
		}
	}
	first := r.get(path + "?pagination=1&cursor=").object(t)["next_cursor"].(string)
	r.get(path+"?pagination=1&sort_by=amount&cursor="+first).check(t, "cursor of another column", 422, "Cursor sort field mismatch: ")
	r.get(path+"?pagination=1&sort_order=1&cursor="+first).check(t, "cursor of another order", 422, "Cursor sort order mismatch: ")
	r.get(path+"/summary").is(t, "summary", 200, `{"address":"0xA","entry_count":3,"total_amount":1200,"total_incoming":1500,"total_outgoing":-300}`)
	r.get("/api/v0/addresses/0xB/credit_history/summary").is(t, "nobody's", 200, `{"address":"0xB","entry_count":0,"total_amount":0,"total_incoming":0,"total_outgoing":0}`)
	r.get("/api/v0/addresses/0xB/credit_history").is(t, "nobody's", 404, "No credit history found for this address")
	r.get(path+"?page=2&pagination=3").is(t, "too far", 404, "No credit history found for this address")
	r.get("/api/v0/messages/"+strings.Repeat("ab", 32)+"/consumed_credits").is(t, "consumed", 200, `{"consumed_credits":300,"item_hash":"`+strings.Repeat("ab", 32)+`"}`)
	r.get("/api/v0/messages/any%20text/consumed_credits").is(t, "consumed by nothing", 200, `{"consumed_credits":0,"item_hash":"any text"}`)
}

func TestCreditsThatExpiredCanNotBeSpent(t *testing.T) {
	now := time.Unix(1800000000, 0)
	r := newRig(t, func(c *Config) { c.Now = func() time.Time { return now } })
	r.credits("0xA")
	path := "/api/v0/addresses/0xA/balance?include_credit_details=true"
	r.get(path).check(t, "before", 200, `"credit_balance":1500,"credit_balance_details":[{"expiration_date":null,"amount":500},{"expiration_date":"2030-03-17T17:46:40Z","amount":1000}]`)
	now = time.Unix(1900000000, 0)
	r.get(path).check(t, "then", 200, `"credit_balance":500,"credit_balance_details":[{"expiration_date":null,"amount":500}]`)
	r.get("/api/v0/credit_balances").check(t, "list", 200, `"credit_balances":[{"address":"0xA","credits":500}]`)
	r.get("/api/v0/credit_balances?min_balance=501").check(t, "who has more", 200, `"credit_balances":[]`)
}

func TestCostsAreSummedAndListed(t *testing.T) {
	r := newRig(t)
	a, b := message.HashBytes([]byte("a")), message.HashBytes([]byte("b"))
	r.write(func(tx *store.Tx) error {
		for _, c := range []store.CostRow{
			{Owner: "0xA", Hash: a, Type: "STORAGE", Name: "STORAGE", PaymentType: "hold", Hold: "0.333333333000000000", Stream: "0.000000000000000001", Credit: "0.000000000000000002"},
			{Owner: "0xA", Hash: b, Type: "EXECUTION", Name: "instance", PaymentType: "hold", Hold: "1000.000000000000000000", Stream: "0.1", Credit: "0.2"},
			{Owner: "0xA", Hash: b, Type: "EXECUTION_VOLUME_DISCOUNT", Name: "d", PaymentType: "hold", Hold: "-1000.000000000000000001", Stream: "0.1", Credit: "0.2"},
			{Owner: "0xB", Hash: message.HashBytes([]byte("c")), Type: "STORAGE", Name: "STORAGE", PaymentType: "credit", Hold: "1.0", Stream: "1.0", Credit: "0.5"},
		} {
			for _, text := range []*string{&c.Hold, &c.Stream, &c.Credit} {
				whole, fraction, _ := strings.Cut(*text, ".")
				*text = whole + "." + fraction + strings.Repeat("0", costPlaces-len(fraction))
			}
			if err := tx.PutCost(&c); err != nil {
				return err
			}
		}
		return nil
	})
	hold := `"total_cost_hold":"0.333333332999999999","total_cost_stream":"0.200000000000000001"`
	all := r.get("/api/v0/costs?payment_type=hold")
	all.check(t, "sum", 200, hold)
	all.check(t, "sum", 200, `"resource_count":2,`)
	all.check(t, "sum", 200, `"resources":null,`)
	all.check(t, "sum", 200, `"pagination_page":null`)
	r.get("/api/v0/costs").check(t, "credits unless it says otherwise", 200, `"total_cost_credit":"0.500000000000000000"`)
	r.get("/api/v0/costs?address=0xB&payment_type=hold").check(t, "of nobody", 200, `"total_cost_hold":"0.000000000000000000"`)
	listed := r.get("/api/v0/costs?payment_type=hold&include_details=1")
	listed.check(t, "resources", 200, `"detail":null`)
	listed.check(t, "resources", 200, hold)
	second := r.get("/api/v0/costs?payment_type=hold&include_details=1&pagination=10&page=2")
	second.check(t, "past the end", 200, `"resources":[]`)
	second.check(t, "past the end", 200, hold) // the sum is of all
	second.check(t, "past the end", 200, `"pagination_total":2`)
	r.get("/api/v0/costs?item_hash="+string(b)+"&payment_type=hold&include_details=2").check(t, "components", 200, `"detail":[{"type":"EXECUTION",`)
	r.get("/api/v0/costs?include_details=2").is(t, "components of all", 422, "include_details=2 requires an address or an item_hash")
	for _, query := range []string{"pagination=9", "pagination=1001", "include_details=3", "payment_type=cash", "include_size=maybe"} {
		if got := r.get("/api/v0/costs?" + query); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", query, got.status, got.body)
		}
	}
}

func TestMetricsHaveTheNamesThatDashboardsRead(t *testing.T) {
	height, head := int64(90), int64(100)
	r := newRig(t, func(c *Config) {
		c.Chain = func() ChainProgress { return ChainProgress{Height: &height, Head: &head, Transactions: 3} }
		c.Fetches = func() Fetches { return Fetches{IPFS: Fetched{7, 2, 1500 * time.Millisecond}} }
		c.Gossip = func() Gossip { return Gossip{Peers: 4, Published: 6, Received: 9, Dropped: 1, Unsent: 2} }
	})
	r.send(r.post(1), true)
	text := r.get("/metrics")
	for _, line := range []string{
		"pyaleph_status_sync_messages_total 1", "pyaleph_status_sync_pending_messages_total 0", "pyaleph_status_sync_pending_txs_total 3",
		"pyaleph_status_chain_eth_last_committed_height 90", "pyaleph_status_chain_eth_height_reference_total 100",
		"pyaleph_status_chain_eth_height_remaining_total 10", "pyaleph_store_fetch_ipfs_total 7", "pyaleph_store_fetch_ipfs_failed_total 2",
		"pyaleph_store_fetch_ipfs_duration_ms_sum 1500", "aleph_intake_processed_total 1",
		"pyaleph_status_peers_total 4", "aleph_gossip_published_total 6", "aleph_gossip_received_total 9", "aleph_gossip_dropped_total 1",
		"aleph_gossip_unsent_total 2",
	} {
		if !strings.Contains(string(text.body)+"\n", line+"\n") {
			t.Errorf("there is no line %q", line)
		}
	}
	if body := string(text.body); strings.HasSuffix(body, "\n") || strings.Contains(body, "#") || strings.Contains(body, "null") || strings.Contains(body, "nil") {
		t.Errorf("form of the text: %q", body)
	}
	object := r.get("/metrics.json").object(t)
	if v, ok := object["pyaleph_status_sync_messages_reference_total"]; !ok || v != nil {
		t.Errorf("what is unknown is %v in JSON", v)
	}
	for _, line := range strings.Split(string(text.body), "\n")[1:] {
		if name, _, _ := strings.Cut(line, " "); object[name] == nil {
			t.Errorf("%s is not in JSON", name)
		}
	}
}

func TestCostsOfManyResourcesAreAddedUpOnceAMinute(t *testing.T) {
	now := time.Unix(1800000000, 0)
	r := newRig(t, func(c *Config) { c.Now = func() time.Time { return now } })
	put := func(from, to int) {
		r.write(func(tx *store.Tx) error {
			for i := from; i < to; i++ {
				c := store.CostRow{Owner: "0xA", Hash: message.HashBytes(fmt.Append(nil, i)), Type: "STORAGE", Name: "STORAGE", PaymentType: "credit"}
				c.Hold, c.Stream, c.Credit = "1.000000000000000000", "0.000000000000000000", "0.000000000000000001"
				if err := tx.PutCost(&c); err != nil {
					return err
				}
			}
			return nil
		})
	}
	ask := func(name, query string, count int) []any {
		answer := r.get("/api/v0/costs?" + query)
		answer.check(t, name, 200, fmt.Sprintf(`"resource_count":%d,`, count))
		answer.check(t, name, 200, fmt.Sprintf(`"total_cost_hold":"%d.000000000000000000"`, count))
		list, _ := answer.object(t)["resources"].([]any)
		return list
	}
	put(0, exactTotal-1)
	ask("few", "", exactTotal-1)
	put(exactTotal-1, exactTotal)
	ask("one more", "", exactTotal)
	whole := ask("page of as many", "include_details=1&pagination=10&page=3", exactTotal)
	put(exactTotal, exactTotal+50)
	ask("within the minute", "", exactTotal)
	ask("of one owner", "address=0xA", exactTotal+50)
	if list := ask("pages within the minute", "include_details=1&pagination=10&page=3", exactTotal); len(list) != 10 || len(whole) != 10 {
		t.Errorf("%d and %d resources", len(list), len(whole))
	}
	if list := ask("past the end", "include_details=1&pagination=1000&page=99999999999", exactTotal); len(list) != 0 {
		t.Errorf("%d resources", len(list))
	}
	now = now.Add(totalTTL)
	ask("then", "", exactTotal+50)
}

// grant gives the rig's account credits that never expire.
func (r *rig) grant(credits int64) {
	r.t.Helper()
	r.write(func(tx *store.Tx) error {
		return tx.PutCreditLot(r.account.Address(), &store.CreditLot{Ref: message.HashBytes([]byte("grant")), Remaining: credits, ContentTime: 1})
	})
}
