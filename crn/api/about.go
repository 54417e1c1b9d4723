package api

import (
	"html/template"
	"net/http"
	"time"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/message"
)

var indexPage = template.Must(template.New("index").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Aleph compute node</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}code{background:#eee;padding:0 .3em}</style>
<h1>Aleph compute node</h1>
<p>This machine runs programs of the Aleph network at <code>/vm/&lt;hash&gt;/</code>.</p>
<ul><li>name: {{.Name}}</li><li>version: {{.Version}}</li><li>machines: {{.Driver}} with {{.Accelerator}}</li><li>running now: {{.Running}}</li></ul>
<p><a href="/about/executions/list">what runs</a> · <a href="/about/usage/system">system</a> · <a href="/status/config">configuration</a></p>
`))

func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = indexPage.Execute(w, map[string]any{
		"Name": s.cfg.DomainName, "Version": Version, "Driver": s.cfg.Fingerprint.Driver, "Accelerator": s.cfg.Fingerprint.Accelerator,
		"Running": len(s.cfg.Pool.List()),
	})
}

// login always refuses: there is no operator session here. Scoring measures latency on exactly this answer.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusUnauthorized, map[string]bool{"success": false})
}

// Kinds of machines in lists.
const (
	kindProgram    = "microvm"
	kindPersistent = "persistent_program"
)

// kindOf returns the kind of a program, and the addresses that are set aside for its machine. Programs have no network card;
// clients and schedulers read a list only when every entry has them.
func (s *Server) kindOf(i execution.Info) (kind string, addresses tap.Addresses) {
	if i.Persistent {
		return kindPersistent, tap.AddressesOf(s.cfg.IPv6Pool, i.Slot, i.Hash, tap.KindPersistentProgram)
	}
	return kindProgram, tap.AddressesOf(s.cfg.IPv6Pool, i.Slot, i.Hash, tap.KindProgram)
}

// listV1 is the scheduler's source of truth (spec/crn.md §2.4.1): what runs.
func (s *Server) listV1(w http.ResponseWriter, r *http.Request) {
	list := map[message.Hash]any{}
	for _, i := range s.cfg.Pool.List() {
		if !i.Running {
			continue
		}
		kind, a := s.kindOf(i)
		list[i.Hash] = map[string]any{
			"networking": map[string]string{"ipv4": a.Prefix4().String(), "ipv6": a.Prefix6().String()},
			"vm_type":    kind, "awaiting_confidential_init": false,
		}
	}
	s.listInstances(list, instanceV1)
	answer(w, http.StatusOK, list)
}

// listV2 is everything in the pool (spec/crn.md §2.4.2).
func (s *Server) listV2(w http.ResponseWriter, r *http.Request) {
	list := map[message.Hash]any{}
	for _, i := range s.cfg.Pool.List() {
		kind, a := s.kindOf(i)
		t := i.Times
		list[i.Hash] = map[string]any{
			"networking": map[string]any{
				"ipv4_network": a.Prefix4().String(), "ipv4_ip": a.IPv4.String(), "host_ipv4": s.cfg.HostIPv4,
				"ipv6_network": a.Prefix6().String(), "ipv6_ip": a.IPv6.String(), "mapped_ports": struct{}{},
			},
			"status": map[string]*string{
				"defined_at": stamp(t.Defined), "preparing_at": stamp(t.Preparing), "prepared_at": stamp(t.Prepared),
				"starting_at": stamp(t.Starting), "started_at": stamp(t.Started), "stopping_at": stamp(t.Stopping), "stopped_at": stamp(t.Stopped),
			},
			"running": i.Running, "awaiting_confidential_init": false, "vm_type": kind,
		}
	}
	s.listInstances(list, s.instanceV2)
	answer(w, http.StatusOK, list)
}

// stamp writes a time as Python's str(datetime) does; null when it has not come.
func stamp(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	layout := "2006-01-02 15:04:05.000000+00:00"
	if t.Nanosecond()/1000 == 0 {
		layout = "2006-01-02 15:04:05+00:00"
	}
	text := t.Format(layout)
	return &text
}

// status is the public configuration, under the reference's keys (spec/crn.md §2.5.2).
func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	var node *string
	if s.cfg.NodeHash != "" {
		node = &s.cfg.NodeHash
	}
	answer(w, http.StatusOK, map[string]any{
		"DOMAIN_NAME": s.cfg.DomainName, "node_hash": node, "version": Version,
		"references": map[string]any{"API_SERVER": s.cfg.CoreNode, "CHECK_FASTAPI_VM_ID": nil, "CONNECTOR_URL": s.cfg.CoreNode},
		"security": map[string]bool{
			"USE_JAILER": false, "PRINT_SYSTEM_LOGS": false, "WATCH_FOR_UPDATES": false, "ALLOW_VM_NETWORKING": false, "USE_DEVELOPER_SSH_KEYS": false,
		},
		"networking": map[string]any{
			"IPV6_ADDRESS_POOL": s.cfg.IPv6Pool.String(), "IPV6_ALLOCATION_POLICY": "IPv6AllocationPolicy.static",
			"IPV6_SUBNET_PREFIX": 124, "IPV6_FORWARDING_ENABLED": false, "USE_NDP_PROXY": false,
		},
		"debug": map[string]bool{"SENTRY_DSN_CONFIGURED": false, "DEBUG_ASYNCIO": false, "EXECUTION_LOG_ENABLED": false},
		"payment": map[string]any{
			"PAYMENT_RECEIVER_ADDRESS": nil, "AVAILABLE_PAYMENTS": struct{}{}, "PAYMENT_MONITOR_INTERVAL": 60.0,
		},
		"computing": map[string]any{
			"ENABLE_QEMU_SUPPORT": true, "INSTANCE_DEFAULT_HYPERVISOR": "qemu", "ENABLE_CONFIDENTIAL_COMPUTING": false, "ENABLE_GPU_SUPPORT": false,
		},
	})
}
