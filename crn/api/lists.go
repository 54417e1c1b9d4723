package api

import (
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/message"
)

// Kinds of machines in lists, with their number in IPv6 addresses (spec/crn.md §4.7).
const (
	kindProgram    = "microvm"
	kindPersistent = "persistent_program"
)

func kindOf(i execution.Info) (kind string, number uint16) {
	if i.Persistent || i.Program != nil && i.Program.Persistent() {
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

// details answers GET /about/executions/details, for the operator: all that is known of each execution.
func (s *Server) details(w http.ResponseWriter, r *http.Request) {
	list := []map[message.Hash]execution.Info{}
	for _, i := range s.cfg.Pool.List() {
		list = append(list, map[message.Hash]execution.Info{i.Hash: i})
	}
	answer(w, http.StatusOK, list)
}

// records answers GET /about/executions/records: what runs, as rows. What the messages say is not repeated: they are public, and
// found by their hash.
func (s *Server) records(w http.ResponseWriter, r *http.Request) {
	rows := []map[string]any{}
	for _, i := range s.cfg.Pool.List() {
		row := map[string]any{
			"vm_hash": i.Hash, "vm_id": i.Slot, "time_defined": stamp(i.Times.Defined), "time_prepared": stamp(i.Times.Prepared),
			"time_started": stamp(i.Times.Started), "time_stopping": stamp(i.Times.Stopping), "memory": i.MemoryMiB, "persistent": i.Persistent,
		}
		if i.Program != nil {
			row["vcpus"] = i.Program.Resources.VCPUs
		}
		rows = append(rows, row)
	}
	answer(w, http.StatusOK, rows)
}
