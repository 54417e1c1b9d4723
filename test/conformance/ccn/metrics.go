package ccn

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// metricShape is what /metrics.json has of the reference's names (§13.1). A node may have more.
const metricShape = `pyaleph_build_info:object pyaleph_status_peers_total:int
	pyaleph_status_sync_messages_total:int pyaleph_status_sync_permanent_files_total:int
	pyaleph_status_sync_pending_messages_total:int pyaleph_status_sync_pending_txs_total:int pyaleph_status_chain_eth_last_committed_height:int/null
	pyaleph_processing_pending_messages_seen_ids_total:int/null pyaleph_processing_pending_messages_tasks_total:int/null
	pyaleph_processing_pending_messages_aggregate_tasks:int pyaleph_processing_pending_messages_forget_tasks:int
	pyaleph_processing_pending_messages_post_tasks:int pyaleph_processing_pending_messages_program_tasks:int
	pyaleph_processing_pending_messages_store_tasks:int pyaleph_processing_pending_messages_action_total:int/null
	pyaleph_status_sync_messages_reference_total:int/null pyaleph_status_sync_messages_remaining_total:int/null
	pyaleph_status_chain_eth_height_reference_total:int/null pyaleph_status_chain_eth_height_remaining_total:int/null
	pyaleph_ws_messages_connections_active:int pyaleph_ws_messages_connections_max:int pyaleph_ws_status_connections_active:int
	pyaleph_ws_status_connections_max:int pyaleph_ws_messages_broadcast_total:int pyaleph_ws_messages_connections_rejected_total:int
	pyaleph_ws_status_connections_rejected_total:int pyaleph_ws_broadcaster_consumer_restarts_total:int pyaleph_store_fetch_ipfs_total:int
	pyaleph_store_fetch_ipfs_failed_total:int pyaleph_store_fetch_ipfs_duration_ms_sum:int pyaleph_store_fetch_storage_total:int
	pyaleph_store_fetch_storage_failed_total:int pyaleph_store_fetch_storage_duration_ms_sum:int`

// referenceMetrics holds metrics to their shape, whatever else the node counts.
func (c *client) referenceMetrics(what string, got object) {
	c.Helper()
	known := object{}
	for name, v := range got {
		if strings.HasPrefix(name, "pyaleph_") {
			known[name] = v
		}
	}
	c.shape(what, known, metricShape)
	c.shape("the build", got.object("pyaleph_build_info"), "python_version:text version:text")
}

var metricLine = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-z_]+="[^"]*",?)+\})? -?[0-9]+(\.[0-9]+)?$`)

var metricChecks = []check{
	{"§20.21 metrics.json has every name", func(c *client) {
		c.published(c.post("note", "", 1))
		got := c.get("/metrics.json").want(200).object()
		c.referenceMetrics("metrics", got)
	}},
	{"§20.21 the text for Prometheus parses and has every number that is known", func(c *client) {
		a := c.get("/metrics").want(200)
		if kind := a.header.Get("Content-Type"); kind != "text/plain; charset=utf-8" {
			c.Errorf("Content-Type %q", kind)
		}
		lines := strings.Split(string(a.body), "\n")
		var names []string
		for _, line := range lines {
			if !metricLine.MatchString(line) {
				c.Errorf("%q", line)
				continue
			}
			name, _, _ := strings.Cut(line, " ")
			name, _, _ = strings.Cut(name, "{")
			names = append(names, name)
		}
		for name, v := range c.get("/metrics.json").want(200).object() {
			if (v != nil) != slices.Contains(names, name) {
				c.Errorf("%s is %v in one and absent in the other", name, v)
			}
		}
	}},
	{"§13.2 measurements of nodes are shown in columns, both bounds inclusive", func(c *client) {
		by := c.authority()
		scores := c.target.Network.Scores
		channel := "CONFORMANCE"
		if len(scores.Channels) > 0 {
			channel = scores.Channels[0]
		}
		node := hashOf(c.address())
		at := time.Now().Add(-time.Hour).Unix()
		for i := range 2 {
			*c.clock = c.clock.Add(time.Second)
			by.published(by.buildAt("POST", map[string]any{"type": scores.PostTypes[0], "content": map[string]any{"metrics": map[string]any{
				"ccn": []any{map[string]any{
					"node_id": node, "measured_at": float64(at+int64(i)) + 0.5, "base_latency": 0.1, "aggregate_latency": nil,
					"pending_messages": 12, "eth_height_remaining": "3",
				}},
				"crn": []any{map[string]any{"node_id": node, "measured_at": float64(at+int64(i)) + 0.5, "base_latency": 0.1, "full_check_latency": 0.2}},
			}}}, *c.clock, channel))
		}
		core := c.get("/api/v0/core/" + node + "/metrics").want(200).object()
		c.shape(
			"of a core node", core.object("metrics"),
			`item_hash:list measured_at:list base_latency:list base_latency_ipv4:list metrics_latency:list aggregate_latency:list
				file_download_latency:list pending_messages:list eth_height_remaining:list`,
		)
		compute := c.get("/api/v0/compute/" + node + "/metrics").want(200).object()
		c.shape(
			"of a compute node", compute.object("metrics"),
			"item_hash:list measured_at:list base_latency:list base_latency_ipv4:list full_check_latency:list diagnostic_vm_latency:list",
		)
		first, second := fmt.Sprintf("%d.5", at), fmt.Sprintf("%d.5", at+1)
		for query, want := range map[string]string{
			"": first + " " + second, "?sort=desc": second + " " + first, "?sort=-1": second + " " + first, "?sort=ASCENDING": first + " " + second,
			"?start_date=" + second: second, "?end_date=" + first: first, "?start_date=" + first + "&end_date=" + second: first + " " + second,
		} {
			list, _ := c.get("/api/v0/core/" + node + "/metrics" + query).want(200).object().object("metrics")["measured_at"].([]any)
			if got := strings.Trim(fmt.Sprint(list), "[]"); got != want {
				c.Errorf("%q: %s, want %s", query, got, want)
			}
		}
		c.get("/api/v0/core/"+node+"/metrics?start_date=1&end_date=2").want(404, "404: Not Found")
		c.get("/api/v0/compute/nobody/metrics").want(404, "404: Not Found")
		c.get("/api/v0/core/" + node + "/metrics?sort=up").problems()
		c.get("/api/v0/compute/" + node + "/metrics?start_date=x").problems()
	}},
	{"§13.2 nodes that nobody measured are 404", func(c *client) {
		c.get("/api/v0/core/nobody/metrics").want(404, "404: Not Found")
		c.get("/api/v0/compute/nobody/metrics").want(404, "404: Not Found")
	}},
}
