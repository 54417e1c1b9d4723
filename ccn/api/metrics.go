package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
)

func (a *API) metricRoutes() routes {
	return routes{
		"GET /metrics":      plain(a.metrics),
		"GET /metrics.json": plain(a.metricsJSON),
	}
}

// ChainProgress is how far the node has read Ethereum; nil is unknown.
type ChainProgress struct {
	Height       *int64 // last block that was read
	Head         *int64 // newest block of the chain
	Transactions int64  // found there and not yet taken in
}

// Gossip is how the exchange with other nodes does; all but Peers counts since the start.
type Gossip struct {
	Peers     int    // connected now
	Published uint64 // messages that were sent to them
	Received  uint64 // new messages of others
	Dropped   uint64 // of these, those for which there was no room
	Unsent    uint64 // frames to peers that were too slow to take them
}

// Fetches counts the files of STORE messages that the node fetched from elsewhere.
type Fetches struct{ IPFS, Storage Fetched }

// Fetched counts the fetches of one kind of files.
type Fetched struct {
	Tried, Failed int64
	Time          time.Duration // that all of them took together
}

// socketCounters count what goes over WebSockets.
type socketCounters struct {
	messages, status                 atomic.Int64 // open connections
	messagesRejected, statusRejected atomic.Int64 // connections turned away at capacity
	broadcast                        atomic.Int64 // messages sent to subscribers
}

// metric is one number; a nil value is unknown.
type metric struct {
	name  string
	value any
}

// baseMetrics keeps the counts of tables for as long as reference nodes do.
type baseMetrics struct {
	mu   sync.Mutex
	at   time.Time        // guarded by mu
	rows map[string]int64 // guarded by mu
}

const baseMetricsAge = 10 * time.Second

// rows counts the rows of the tables that operators and the network's scoring look at.
func (a *API) rows(ctx context.Context) (map[string]int64, error) {
	a.base.mu.Lock()
	defer a.base.mu.Unlock()
	now := a.cfg.Now()
	if age := now.Sub(a.base.at); a.base.rows != nil && age >= 0 && age < baseMetricsAge {
		return a.base.rows, nil
	}
	rows := map[string]int64{}
	err := a.cfg.Store.Read(ctx, func(rd *store.Reader) (err error) {
		for _, table := range []string{"messages", "file_pins", "pending_messages"} {
			if rows[table], err = rd.CountRows(table); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	a.base.at, a.base.rows = now, rows
	return rows, nil
}

// numbers lists the reference's metrics by their names and those of this node (ccn-api §13.1).
func (a *API) numbers(ctx context.Context) ([]metric, error) {
	list, err := a.networkNumbers(ctx)
	if err != nil {
		return nil, err
	}
	fetched := new(Fetches)
	if a.cfg.Fetches != nil {
		*fetched = a.cfg.Fetches()
	}
	return append(append(list, a.socketNumbers(&a.sockets, fetched)...), a.ownNumbers()...), nil
}

// networkNumbers tells how far the node is with what others publish.
func (a *API) networkNumbers(ctx context.Context) ([]metric, error) {
	rows, err := a.rows(ctx)
	if err != nil {
		return nil, err
	}
	var chain ChainProgress
	if a.cfg.Chain != nil {
		chain = a.cfg.Chain()
	}
	optional := func(v *int64) any {
		if v == nil {
			return nil
		}
		return *v
	}
	var remaining any
	if chain.Height != nil && chain.Head != nil {
		remaining = max(*chain.Head-*chain.Height, 0)
	}
	return []metric{
		{"pyaleph_status_peers_total", a.gossip().Peers},
		{"pyaleph_status_sync_messages_total", rows["messages"]},
		{"pyaleph_status_sync_permanent_files_total", rows["file_pins"]},
		{"pyaleph_status_sync_pending_messages_total", rows["pending_messages"]},
		{"pyaleph_status_sync_pending_txs_total", chain.Transactions},
		{"pyaleph_status_chain_eth_last_committed_height", optional(chain.Height)},
		{"pyaleph_processing_pending_messages_seen_ids_total", nil},
		{"pyaleph_processing_pending_messages_tasks_total", nil},
		{"pyaleph_processing_pending_messages_aggregate_tasks", 0},
		{"pyaleph_processing_pending_messages_forget_tasks", 0},
		{"pyaleph_processing_pending_messages_post_tasks", 0},
		{"pyaleph_processing_pending_messages_program_tasks", 0},
		{"pyaleph_processing_pending_messages_store_tasks", 0},
		{"pyaleph_processing_pending_messages_action_total", nil},
		{"pyaleph_status_sync_messages_reference_total", nil},
		{"pyaleph_status_sync_messages_remaining_total", nil},
		{"pyaleph_status_chain_eth_height_reference_total", optional(chain.Head)},
		{"pyaleph_status_chain_eth_height_remaining_total", remaining},
	}, nil
}

// socketNumbers tells what goes over WebSockets, and what was fetched.
func (a *API) socketNumbers(sockets *socketCounters, fetched *Fetches) []metric {
	return []metric{
		{"pyaleph_ws_messages_connections_active", sockets.messages.Load()},
		{"pyaleph_ws_messages_connections_max", a.cfg.MaxSockets},
		{"pyaleph_ws_status_connections_active", sockets.status.Load()},
		{"pyaleph_ws_status_connections_max", a.maxStatusSockets()},
		{"pyaleph_ws_messages_broadcast_total", sockets.broadcast.Load()},
		{"pyaleph_ws_messages_connections_rejected_total", sockets.messagesRejected.Load()},
		{"pyaleph_ws_status_connections_rejected_total", sockets.statusRejected.Load()},
		{"pyaleph_ws_broadcaster_consumer_restarts_total", 0},
		{"pyaleph_store_fetch_ipfs_total", fetched.IPFS.Tried},
		{"pyaleph_store_fetch_ipfs_failed_total", fetched.IPFS.Failed},
		{"pyaleph_store_fetch_ipfs_duration_ms_sum", fetched.IPFS.Time.Milliseconds()},
		{"pyaleph_store_fetch_storage_total", fetched.Storage.Tried},
		{"pyaleph_store_fetch_storage_failed_total", fetched.Storage.Failed},
		{"pyaleph_store_fetch_storage_duration_ms_sum", fetched.Storage.Time.Milliseconds()},
	}
}

func (a *API) gossip() Gossip {
	if a.cfg.Gossip == nil {
		return Gossip{}
	}
	return a.cfg.Gossip()
}

// ownNumbers lists what only this node counts.
func (a *API) ownNumbers() []metric {
	s, g := a.cfg.Intake.Stats(), a.gossip()
	return []metric{
		{"aleph_intake_received_total", s.Received},
		{"aleph_intake_verified_total", s.Verified},
		{"aleph_intake_duplicates_total", s.Duplicates},
		{"aleph_intake_processed_total", s.Processed},
		{"aleph_intake_pending_total", s.Pending},
		{"aleph_intake_rejected_total", s.Rejected},
		{"aleph_intake_commits_total", s.Commits},
		{"aleph_intake_failures_total", s.Failures},
		{"aleph_intake_queued", s.Queued},
		{"aleph_gossip_published_total", g.Published},
		{"aleph_gossip_received_total", g.Received},
		{"aleph_gossip_dropped_total", g.Dropped},
		{"aleph_gossip_unsent_total", g.Unsent},
		{"aleph_goroutines", runtime.NumGoroutine()},
	}
}

// metrics writes the numbers in the text form of Prometheus. As from the reference there are no HELP and TYPE lines, no
// unknown numbers and no last line feed.
func (a *API) metrics(w http.ResponseWriter, r *http.Request) error {
	list, err := a.numbers(r.Context())
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "pyaleph_build_info{python_version=%q,version=%q} 1", runtime.Version(), a.cfg.Version)
	for _, m := range list {
		if m.value != nil {
			fmt.Fprintf(&b, "\n%s %d", m.name, m.value)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(b.String())) // a client that is gone needs no answer
	return nil
}

// metricsJSON writes the numbers as an object, unknown ones as null.
func (a *API) metricsJSON(w http.ResponseWriter, r *http.Request) error {
	list, err := a.numbers(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, a.object(list))
}

// object writes numbers as an object.
func (a *API) object(list []metric) map[string]any {
	answer := map[string]any{"pyaleph_build_info": map[string]string{"python_version": runtime.Version(), "version": a.cfg.Version}}
	for _, m := range list {
		answer[m.name] = m.value
	}
	return answer
}

// status writes the numbers for subscribers: the reference's, without what changes whenever somebody subscribes or a file
// is fetched.
func (a *API) status(ctx context.Context) ([]byte, error) {
	list, err := a.networkNumbers(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a.object(append(list, a.socketNumbers(new(socketCounters), new(Fetches))...)))
}
