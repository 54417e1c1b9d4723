package schedule

import (
	"encoding/json"
	"net/http"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/registry"
)

// Routes returns the endpoints that clients ask where things run (spec/sdk-cli.md §4.13), by ServeMux pattern.
func (s *Scheduler) Routes() map[string]http.Handler {
	return map[string]http.Handler{
		"GET /api/v0/plan":              http.HandlerFunc(s.servePlan),
		"GET /api/v0/nodes":             http.HandlerFunc(s.serveNodes),
		"GET /api/v0/allocation/{hash}": http.HandlerFunc(s.serveAllocation),
	}
}

type period struct {
	StartTimestamp  string `json:"start_timestamp"`
	DurationSeconds int64  `json:"duration_seconds"`
}

type node struct {
	NodeID       string  `json:"node_id"`
	URL          string  `json:"url,omitempty"`
	Name         string  `json:"name"`
	IPv6         *string `json:"ipv6"`
	SupportsIPv6 bool    `json:"supports_ipv6"`
}

func computeNode(n *registry.ResourceNode) node {
	return node{NodeID: n.Hash, URL: n.Address, Name: n.Name}
}

// period says from when the plan holds: since the newest message that it depends on, the same on every node.
func (s *Scheduler) period(v *view) period {
	return period{StartTimestamp: message.TimeFromSeconds(v.newest).RFC3339(), DurationSeconds: s.cfg.Params.Schedule.Resend}
}

func (s *Scheduler) servePlan(w http.ResponseWriter, _ *http.Request) {
	v := s.current()
	type part struct {
		allocation
		Jobs []message.Hash `json:"jobs"`
	}
	plan := make(map[string]part)
	for _, n := range v.nodes.ResourceNodes {
		if n.Parent != nil && n.Address != "" && !v.down[n.Hash] {
			plan[n.Hash] = part{v.part(n.Hash), []message.Hash{}}
		}
	}
	reply(w, http.StatusOK, map[string]any{"period": s.period(v), "plan": plan})
}

func (s *Scheduler) serveNodes(w http.ResponseWriter, _ *http.Request) {
	v := s.current()
	nodes := []node{}
	for i := range v.nodes.ResourceNodes {
		if n := &v.nodes.ResourceNodes[i]; n.Parent != nil && n.Address != "" && !v.down[n.Hash] && !v.draining[n.Hash] {
			nodes = append(nodes, computeNode(n))
		}
	}
	reply(w, http.StatusOK, map[string]any{"nodes": nodes})
}

func (s *Scheduler) serveAllocation(w http.ResponseWriter, r *http.Request) {
	v := s.current()
	hash := message.Hash(r.PathValue("hash"))
	p, ok := v.plan[hash]
	if !ok {
		reply(w, http.StatusNotFound, map[string]string{"error": "workload " + string(hash) + " is not allocated: it is unknown, forgotten, or no node can take it"})
		return
	}
	kind := "instance"
	switch {
	case p.Workload.Type != message.TypeInstance && p.Workload.Persistent:
		kind = "persistent_program"
	case p.Workload.Type != message.TypeInstance:
		kind = "micro_vm"
	}
	reply(w, http.StatusOK, map[string]any{
		"vm_hash": hash,
		"vm_type": kind,
		"vm_ipv6": nil,
		"period":  s.period(v),
		"node":    computeNode(p.Compute),
		"ccn":     node{NodeID: p.Core.Hash, Name: p.Core.Name},
	})
}

func reply(w http.ResponseWriter, status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		http.Error(w, "encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(raw) // the client is gone; nobody is left to tell
}
