package api

import (
	"net/http"
	"time"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/message"
)

// Kinds of machines in lists.
const (
	kindProgram    = "microvm"
	kindPersistent = "persistent_program"
)

// kindOf returns the kind of a program, and the addresses that are set aside for its machine. A program's card has none of them;
// clients and schedulers read a list only when every entry has them.
func (s *Server) kindOf(i execution.Info) (kind string, addresses tap.Addresses) {
	if i.Persistent || i.Program != nil && i.Program.Persistent() {
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
