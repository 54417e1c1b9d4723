package meter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/apd/v3"

	"github.com/aleph-im/aleph-go/message"
)

// Run sweeps at every interval, the first time after one, until ctx ends.
func (m *Meter) Run(ctx context.Context) error {
	again := time.NewTicker(m.cfg.Interval)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			m.Sweep(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// Sweep looks once at all workloads and ends those whose message is gone or that are not paid for. It is not called twice at
// the same time.
func (m *Meter) Sweep(ctx context.Context) {
	all := m.cfg.Workloads.List()
	gone := m.endGone(ctx, all)
	for _, group := range groups(all, func(w Workload) bool {
		return !w.Started.IsZero() && !w.OnCall && !gone[w.Hash] && !slices.Contains(m.cfg.Exempt, w.Hash)
	}) {
		if err := m.hold(ctx, group); err != nil {
			m.cfg.Log.Warn("payment is not known, nothing is ended for it", "owner", group[0].Owner, "payment", group[0].Payment, "error", err)
		}
	}
}

// maxStrikes is how many sweeps in a row must find a message gone.
const maxStrikes = 3

// endGone ends and forgets workloads whose messages are gone for good. A message that is being removed may still be saved.
func (m *Meter) endGone(ctx context.Context, all []Workload) (gone map[message.Hash]bool) {
	gone = map[message.Hash]bool{}
	before := m.strikes
	m.strikes = map[message.Hash]int{}
	for _, w := range all {
		status, err := m.cfg.Accounts.Status(ctx, w.Hash)
		switch {
		case err != nil:
			if n := before[w.Hash]; n > 0 {
				m.strikes[w.Hash] = n
			}
		case status == "rejected" || status == "forgotten" || status == "removed":
			m.strikes[w.Hash] = before[w.Hash] + 1
			if m.strikes[w.Hash] >= maxStrikes {
				gone[w.Hash] = true
				delete(m.strikes, w.Hash)
				m.end(ctx, w.Hash, true, "its message is "+status)
			}
		}
	}
	return gone
}

// groups are the workloads, of those that count, that one account pays in one way.
func groups(all []Workload, counts func(Workload) bool) (list [][]Workload) {
	place := map[string]int{}
	for _, w := range all {
		if !counts(w) {
			continue
		}
		key := strings.Join([]string{w.Owner, string(w.Payment), w.Chain}, "\x00")
		i, ok := place[key]
		if !ok {
			i = len(list)
			place[key] = i
			list = append(list, nil)
		}
		list[i] = append(list[i], w)
	}
	return list
}

// hold ends as many of a group, the youngest first, as its account cannot pay for. The error says why that is not known.
func (m *Meter) hold(ctx context.Context, group []Workload) error {
	owner := group[0].Owner
	switch group[0].Payment {
	case message.PaymentHold:
		// The core nodes see to holders, but cannot end what only this node knows to run.
		group = slices.DeleteFunc(group, func(w Workload) bool { return !w.Confidential })
		if len(group) == 0 {
			return nil
		}
		balance, err := m.cfg.Accounts.Balance(ctx, owner)
		if err != nil {
			return err
		}
		return m.endBeyond(ctx, group, one(balance.Tokens))
	case message.PaymentCredit:
		balance, err := m.cfg.Accounts.Balance(ctx, owner)
		if err != nil {
			return err
		}
		return m.endBeyond(ctx, group, one(balance.Credits))
	case message.PaymentSuperfluid:
		return m.holdStreams(ctx, group)
	}
	return fmt.Errorf("unknown way to pay: %q", group[0].Payment)
}

// one is the test of an account that pays all from one fund: what is there must be at least the costs and the buffer.
func one(fund *apd.Decimal) func([]Workload, []*apd.Decimal) (bool, error) {
	return func(_ []Workload, costs []*apd.Decimal) (bool, error) {
		need, err := total(costs)
		if err != nil {
			return false, err
		}
		if _, err := exact.Add(need, need, buffer); err != nil {
			return false, err
		}
		return fund.Cmp(need) >= 0, nil
	}
}

// holdStreams compares both streams of an account with the sum of its workloads.
func (m *Meter) holdStreams(ctx context.Context, group []Workload) error {
	owner, chain := group[0].Owner, group[0].Chain
	if m.cfg.Receiver == "" {
		return errors.New("this node has no address that streams could go to")
	}
	share, err := m.community(ctx)
	if err != nil {
		return err
	}
	toNode, err := m.cfg.Streams.Flow(ctx, chain, owner, m.cfg.Receiver)
	if err != nil {
		return err
	}
	toCommunity := new(apd.Decimal)
	if share.wallet != "" {
		if toCommunity, err = m.cfg.Streams.Flow(ctx, chain, owner, share.wallet); err != nil {
			return err
		}
	}
	return m.endBeyond(ctx, group, func(group []Workload, costs []*apd.Decimal) (bool, error) {
		needNode, needCommunity := new(apd.Decimal), new(apd.Decimal)
		for i, w := range group {
			node, community, err := shares(costs[i], share.takes(w.Started))
			if err != nil {
				return false, err
			}
			_, err1 := exact.Add(needNode, needNode, node)
			_, err2 := exact.Add(needCommunity, needCommunity, community)
			if err := errors.Join(err1, err2); err != nil {
				return false, err
			}
		}
		node, err1 := covers(toNode, needNode)
		community, err2 := covers(toCommunity, needCommunity)
		return node && community, errors.Join(err1, err2)
	})
}

// endBeyond ends the last of the group until the others are paid for. All prices must be known before any ends.
func (m *Meter) endBeyond(ctx context.Context, group []Workload, paid func([]Workload, []*apd.Decimal) (bool, error)) error {
	costs := make([]*apd.Decimal, len(group))
	for i, w := range group {
		var err error
		if costs[i], err = m.price(ctx, w.Hash, w.Payment); err != nil {
			return err
		}
	}
	for n := len(group); n > 0; n-- {
		enough, err := paid(group[:n], costs[:n])
		if err != nil || enough {
			return err
		}
		m.end(ctx, group[n-1].Hash, false, "its owner does not pay for it")
	}
	return nil
}

func total(costs []*apd.Decimal) (*apd.Decimal, error) {
	sum := new(apd.Decimal)
	for _, c := range costs {
		if _, err := exact.Add(sum, sum, c); err != nil {
			return nil, err
		}
	}
	return sum, nil
}

// endTimeout bounds the orderly end of a workload.
const endTimeout = 2 * time.Minute

func (m *Meter) end(ctx context.Context, hash message.Hash, forget bool, why string) {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	m.cfg.Log.Info("workload ends", "hash", hash, "reason", why)
	if err := m.cfg.Workloads.End(ctx, hash, forget); err != nil {
		m.cfg.Log.Warn("workload not ended", "hash", hash, "error", err)
	}
}
