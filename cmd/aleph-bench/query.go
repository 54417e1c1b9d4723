package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aleph-im/aleph-go/devnet"
)

const (
	queryPage    = 200
	querySamples = 100              // of each query; the values that it asks for change from one to the next
	queryBudget  = 20 * time.Second // after which a query gets no more samples
)

// query is one kind of question; path returns the one to ask the i-th time.
type query struct {
	name string
	path func(i int) string
}

// timing is what a kind of question took, in milliseconds. Status is the last answer's.
type timing struct {
	first    float64 // the first time, when the node has counted nothing of the kind yet
	p50, p99 float64
	status   int
}

// messageQueries are a page of messages under each filter and each sort.
func messageQueries(c *corpus, messages int) ([]query, error) {
	hashes := make([]string, querySamples)
	var posts []string // some of which others refer to
	for i := range hashes {
		m, _, err := c.unsigned(i * messages / querySamples)
		if err != nil {
			return nil, err
		}
		hashes[i] = string(m.ItemHash)
		if m, _, err = c.unsigned(i*(messages-corpusDistance)/querySamples/100*100 + 51); err != nil {
			return nil, err
		}
		posts = append(posts, string(m.ItemHash))
	}
	address := c.busy(messages)
	day := func(i int) string {
		return fmt.Sprint(corpusTime(i * messages / querySamples).Unix())
	}
	numbered := func(format string, n int) func(i int) string {
		return func(i int) string { return fmt.Sprintf(format, i%n) }
	}
	one := func(value string) func(int) string { return func(int) string { return value } }
	types := []string{"POST", "AGGREGATE", "STORE", "FORGET", "PROGRAM", "POST,FORGET"}
	kind := func(i int) string { return types[i%len(types)] }
	channel, contentType, tag := numbered("BENCH-%d", corpusChannels), numbered("type-%d", corpusTypes), numbered("tag-%d", corpusTags)
	return []query{
		page("newest first"),
		page("oldest first", "sortOrder", one("1")),
		page("by confirmation, newest first", "sortBy", one("tx-time")),
		page("by confirmation, oldest first", "sortBy", one("tx-time"), "sortOrder", one("1")),
		page("tenth page", "page", one("10")),
		page("cursor", "cursor", one("")),
		page("msgTypes", "msgTypes", kind),
		page("msgStatuses (processed)", "msgStatuses", one("processed")),
		page("msgStatuses (removing)", "msgStatuses", one("removing")),
		page("addresses", "addresses", address),
		page("addresses (three)", "addresses", func(i int) string { return address(i) + "," + address(i+1) + "," + address(i+2) }),
		page("owners", "owners", address),
		page("channels", "channels", channel),
		page("chains", "chains", one("ETH")),
		page("chains (none)", "chains", one("SOL")),
		page("hashes", "hashes", func(i int) string { return hashes[i%len(hashes)] }),
		page("hashes (100)", "hashes", one(strings.Join(hashes, ","))),
		page("refs", "refs", func(i int) string { return posts[i%len(posts)] }),
		page("refs (common)", "refs", numbered("ref-%d", corpusRefs)),
		page("tags", "tags", tag),
		page("contentTypes", "contentTypes", contentType),
		page("contentTypes (amend)", "contentTypes", one("amend")),
		page("contentKeys", "contentKeys", numbered("key-%d", corpusKeys)),
		page("contentHashes", "contentHashes", func(i int) string { return corpusFileHash(i % corpusFiles) }),
		page("paymentTypes", "paymentTypes", one("hold")),
		page("startDate", "startDate", day),
		page("endDate", "endDate", day),
		page("startBlock", "startBlock", one("1")),
		page("endBlock", "endBlock", one("1")),
		page("addresses, msgTypes", "addresses", address, "msgTypes", kind),
		page("addresses, contentTypes", "addresses", address, "contentTypes", contentType),
		page("addresses, channels", "addresses", address, "channels", channel),
		page("addresses, startDate", "addresses", address, "startDate", day),
		page("channels, msgTypes", "channels", channel, "msgTypes", kind),
		page("channels, contentTypes", "channels", channel, "contentTypes", contentType),
		page("channels, oldest first", "channels", channel, "sortOrder", one("1")),
		page("msgTypes, startDate", "msgTypes", kind, "startDate", day),
		page("msgTypes, endDate", "msgTypes", kind, "endDate", day),
		page("tags, addresses", "tags", tag, "addresses", address),
		page("tags, msgTypes", "tags", tag, "msgTypes", kind),
		page("chains, msgTypes", "chains", one("ETH"), "msgTypes", kind),
		page("chains, msgStatuses", "chains", one("ETH"), "msgStatuses", one("processed,removing")),
		{"newest alone", func(int) string { return "/api/v0/messages.json?pagination=1" }},
		{"hashes by reception", func(i int) string {
			return fmt.Sprintf("/api/v0/messages/hashes?pagination=%d&page=%d", queryPage, i%3+1)
		}},
	}, nil
}

// page asks for a page of messages; params are names of parameters, each followed by the function that gives its values.
func page(name string, params ...any) query {
	return query{name, func(i int) string {
		v := url.Values{"pagination": {fmt.Sprint(queryPage)}}
		for k := 0; k < len(params); k += 2 {
			v.Set(params[k].(string), params[k+1].(func(int) string)(i))
		}
		return "/api/v0/messages.json?" + v.Encode()
	}}
}

// postQueries are what applications ask about posts, aggregates and addresses.
func postQueries(c *corpus, messages int) ([]query, error) {
	address := c.busy(messages)
	ask := func(name, format string, value func(i int) string) query {
		return query{name, func(i int) string { return fmt.Sprintf(format, value(i)) }}
	}
	keys := make([]string, corpusKeys) // of which every busy sender has some
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%d", i)
	}
	number := func(n int) func(i int) string { return func(i int) string { return fmt.Sprint(i % n) } }
	return []query{
		ask("posts", "/api/v0/posts.json?pagination=200&sortOrder=%s", func(i int) string { return []string{"1", "-1"}[i%2] }),
		ask("posts, tenth page", "/api/v0/posts.json?pagination=200&page=%s", func(int) string { return "10" }),
		ask("posts by confirmation", "/api/v0/posts.json?pagination=200&sortBy=tx-time&sortOrder=%s", func(i int) string { return []string{"1", "-1"}[i%2] }),
		ask("posts, startDate", "/api/v0/posts.json?pagination=200&startDate=%s", func(i int) string { return fmt.Sprint(corpusTime(i * messages / querySamples).Unix()) }),
		ask("posts, types", "/api/v0/posts.json?pagination=200&types=type-%s", number(corpusTypes)),
		ask("posts, addresses", "/api/v0/posts.json?pagination=200&addresses=%s", address),
		ask("posts, refs", "/api/v0/posts.json?pagination=200&refs=ref-%s", number(corpusRefs)),
		ask("posts, tags", "/api/v0/posts.json?pagination=200&tags=tag-%s", number(corpusTags)),
		ask("posts, channels", "/api/v0/posts.json?pagination=200&channels=BENCH-%s", number(corpusChannels)),
		ask("posts, cursor", "/api/v0/posts.json?pagination=200&cursor=&types=type-%s", number(corpusTypes)),
		ask("posts v1", "/api/v1/posts.json?pagination=200&types=type-%s", number(corpusTypes)),
		ask("aggregates of an address", "/api/v0/aggregates/%s.json", address),
		ask("aggregates of all", "/api/v0/aggregates.json?pagination=200&page=%s", func(i int) string { return fmt.Sprint(i%3 + 1) }),
		ask("aggregates by key", "/api/v0/aggregates/%s.json?keys="+strings.Join(keys, ","), address),
		ask("stats of an address", "/api/v0/addresses/stats.json?addresses[]=%s", address),
		ask("stats of all", "/api/v1/addresses/stats.json?pagination=%s", func(int) string { return "200" }),
		ask("balance", "/api/v0/addresses/%s/balance", address),
	}, nil
}

func queryMessages(ctx context.Context, o options) ([]Result, error) {
	worst, peer, err := askAll(ctx, o, messageQueries)
	if err != nil {
		return nil, err
	}
	p50 := Result{Name: "ccn-query-messages-p50-ms", Value: worst.p50, Unit: "ms"}
	p99 := Result{Name: "ccn-query-messages-p99-ms", Value: worst.p99, Unit: "ms"}
	if peer != nil {
		p50, p99 = p50.withPeer(peer.p50), p99.withPeer(peer.p99)
	}
	return []Result{p50, p99}, nil
}

func queryPosts(ctx context.Context, o options) ([]Result, error) {
	worst, peer, err := askAll(ctx, o, postQueries)
	if err != nil {
		return nil, err
	}
	p50 := Result{Name: "ccn-query-posts-p50-ms", Value: worst.p50, Unit: "ms"}
	if peer != nil {
		p50 = p50.withPeer(peer.p50)
	}
	return []Result{p50}, nil
}

// askAll asks every query of a filled node and of the peer, prints the table and returns the worst of both. The peer
// holds no more than o.peerMessages, so the comparison favours it.
func askAll(ctx context.Context, o options, kinds func(*corpus, int) ([]query, error)) (worst timing, peerWorst *timing, err error) {
	c, err := newCorpus()
	if err != nil {
		return worst, nil, err
	}
	queries, err := kinds(c, o.messages)
	if err != nil {
		return worst, nil, err
	}
	dir, _, err := filled(ctx, o)
	if err != nil {
		return worst, nil, err
	}
	if err := readThrough(filepath.Join(dir, "ccn", "aleph.db")); err != nil {
		return worst, nil, err
	}
	node, err := startNode(ctx, o, dir)
	if err != nil {
		return worst, nil, err
	}
	ours, err := askEach(ctx, node, queries)
	if err != nil {
		return worst, nil, err
	}
	theirs, err := askPeer(ctx, o, c, kinds)
	if err != nil {
		return worst, nil, err
	}
	var slowest [2]string
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "PAGE OF %d BY\tFIRST MS\tP50 MS\tP99 MS\tHEPH FIRST\tHEPH P50\tHEPH P99\n", queryPage)
	for i, q := range queries {
		fmt.Fprintf(t, "%s\t%s", q.name, ours[i])
		if theirs == nil {
			fmt.Fprint(t, "\t-\t-\t-\n")
		} else {
			fmt.Fprintf(t, "\t%s\n", theirs[i])
		}
		if ours[i].status != http.StatusOK {
			return worst, nil, fmt.Errorf("%s: the node answered with status %d", q.name, ours[i].status)
		}
		if ours[i].p50 > worst.p50 {
			worst.p50, slowest[0] = ours[i].p50, q.name
		}
		if ours[i].p99 > worst.p99 {
			worst.p99, slowest[1] = ours[i].p99, q.name
		}
		if theirs != nil && theirs[i].status == http.StatusOK {
			if peerWorst == nil {
				peerWorst = &timing{}
			}
			peerWorst.p50, peerWorst.p99 = max(peerWorst.p50, theirs[i].p50), max(peerWorst.p99, theirs[i].p99)
		}
	}
	fmt.Fprintf(t, "worst: median of %s, p99 of %s\n", slowest[0], slowest[1])
	return worst, peerWorst, t.Flush()
}

// readThrough reads a file to its end, so that the system has it in memory, as it has what a node has just taken in. Without
// it a store that was filled days ago is measured by what the disk takes for each row.
func readThrough(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the filled store: %w", err)
	}
	defer f.Close()
	if _, err := io.Copy(io.Discard, f); err != nil {
		return fmt.Errorf("read the filled store: %w", err)
	}
	return nil
}

func (t timing) String() string {
	if t.status != http.StatusOK {
		return fmt.Sprintf("status %d\t-\t-", t.status)
	}
	return fmt.Sprintf("%.2f\t%.2f\t%.2f", t.first, t.p50, t.p99)
}

// askPeer fills the peer with the beginning of the corpus and asks it for what is in there.
func askPeer(ctx context.Context, o options, c *corpus, kinds func(*corpus, int) ([]query, error)) ([]timing, error) {
	n := min(o.messages, o.peerMessages)
	queries, err := kinds(c, n)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(o.root, "build", "bench", "heph")
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("remove the peer's last data: %w", err)
	}
	peer, err := startPeer(ctx, o, dir)
	if err != nil || peer == nil {
		return nil, err
	}
	l, err := postCorpus(ctx, o, peer, n)
	if err != nil {
		_ = peer.Stop() // the first error says more
		return nil, err
	}
	if bad := l.failures(); bad != "" {
		fmt.Printf("of %d messages heph gave %s\n", n, bad)
	}
	return askEach(ctx, peer, queries)
}

// askEach asks and stops the node.
func askEach(ctx context.Context, node *devnet.Process, queries []query) ([]timing, error) {
	defer node.Stop()
	// To compress an answer would take longer than to make it.
	client := &http.Client{Timeout: requestTimeout, Transport: &http.Transport{DisableCompression: true}}
	timings := make([]timing, len(queries))
	for k, q := range queries {
		var took []float64
		for until := time.Now().Add(queryBudget); len(took) < querySamples && time.Now().Before(until); {
			ms, status, err := timed(ctx, client, node.URL+q.path(len(took)))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", q.name, err)
			}
			took = append(took, ms)
			if timings[k].status = status; status != http.StatusOK {
				break
			}
		}
		timings[k].first = took[0]
		slices.Sort(took)
		timings[k].p50, timings[k].p99 = took[len(took)/2], took[max(len(took)*99/100-1, 0)]
	}
	return timings, nil
}

// timed reads an answer and returns how many milliseconds it took.
func timed(ctx context.Context, client *http.Client, url string) (ms float64, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, 0, err
	}
	return float64(time.Since(began).Microseconds()) / 1000, resp.StatusCode, nil
}
