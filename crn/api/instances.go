package api

import (
	"context"
	"errors"
	"strconv"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/message"
)

// kindInstance is what lists call an instance.
const kindInstance = "instance"

// carryOut gives each part of the scheduler's plan to who runs it. Without instances, the error of each says so. Those refused can
// never run.
func (s *Server) carryOut(ctx context.Context, plan execution.Plan) (outcome execution.Outcome, refused []message.Hash) {
	if s.cfg.Instances == nil {
		return s.cfg.Pool.Allocate(ctx, plan), nil
	}
	instances := plan.Instances
	leaving := plan.Leaving
	plan.Instances, plan.Leaving = nil, nil
	done := make(chan instance.Outcome, 1)
	go func() { done <- s.cfg.Instances.Allocate(ctx, instances, leaving...) }()
	outcome = s.cfg.Pool.Allocate(ctx, plan)
	theirs := <-done
	outcome.Stopped = append(outcome.Stopped, theirs.Stopped...)
	seen := map[message.Hash]bool{}
	for _, hash := range instances {
		if seen[hash] {
			continue
		}
		seen[hash] = true
		if err := theirs.Errors[hash]; err != nil {
			outcome.Errors[hash] = err
			outcome.Failing = append(outcome.Failing, hash)
			if errors.Is(err, instance.ErrRefused) {
				refused = append(refused, hash)
			}
		} else {
			outcome.Successful = append(outcome.Successful, hash)
		}
	}
	return outcome, refused
}

// listInstances adds instances to a list of executions, each as entry writes it.
func (s *Server) listInstances(list map[message.Hash]any, entry func(instance.Info) any) {
	if s.cfg.Instances == nil {
		return
	}
	for _, i := range s.cfg.Instances.List() {
		if e := entry(i); e != nil {
			list[i.Hash] = e
		}
	}
}

// instanceV1 is an instance in the scheduler's list: one that runs, or is ready and waits for its owner.
func instanceV1(i instance.Info) any {
	if !i.Running && !i.Awaiting {
		return nil
	}
	return map[string]any{
		"networking": map[string]string{"ipv4": i.Addresses.Prefix4().String(), "ipv6": i.Addresses.Prefix6().String()},
		"vm_type":    kindInstance, "awaiting_confidential_init": i.Awaiting,
	}
}

// instanceV2 is an instance in the list that clients read.
func (s *Server) instanceV2(i instance.Info) any {
	ports := map[string]any{}
	for _, p := range i.Ports {
		ports[strconv.Itoa(int(p.GuestPort))] = map[string]any{"host": p.HostPort, "tcp": p.TCP, "udp": p.UDP}
	}
	t := i.Times
	entry := map[string]any{
		"networking": map[string]any{
			"ipv4_network": i.Addresses.Prefix4().String(), "ipv4_ip": i.Addresses.IPv4.String(), "host_ipv4": s.cfg.HostIPv4,
			"ipv6_network": i.Addresses.Prefix6().String(), "ipv6_ip": i.Addresses.IPv6.String(), "mapped_ports": ports,
		},
		"status": map[string]*string{
			"defined_at": stamp(t.Defined), "preparing_at": stamp(t.Preparing), "prepared_at": stamp(t.Prepared),
			"starting_at": stamp(t.Starting), "started_at": stamp(t.Started), "stopping_at": stamp(t.Stopping), "stopped_at": stamp(t.Stopped),
		},
		"running": i.Running, "awaiting_confidential_init": i.Awaiting, "vm_type": kindInstance,
	}
	if i.Holder != "" { // ours: who keeps a replica, and as of when that is
		entry["replica"] = map[string]any{"holder": i.Holder, "replicated_at": stamp(i.Replicated)}
	}
	if i.Failure != nil {
		entry["error"] = i.Failure.Error() // ours: why it does not run
	}
	return entry
}
