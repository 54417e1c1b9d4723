package meter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/apd/v3"
	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/message"
)

// fakes are a core node, a chain and a pool, all of them what the test says.
type fakes struct {
	prices    map[message.Hash]corenode.Price
	balances  map[string]corenode.Balance
	status    map[message.Hash]string
	settings  any // an error, or the community's wallet with the time since when it gets a share
	flows     map[string]string
	flowErr   error
	workloads []Workload
	looks     atomic.Int32
	ended     []message.Hash
	forgotten []message.Hash
}

var errSilent = fmt.Errorf("test: %w", corenode.ErrUnavailable)

func (f *fakes) Price(_ context.Context, hash message.Hash) (corenode.Price, error) {
	if p, ok := f.prices[hash]; ok {
		return p, nil
	}
	return corenode.Price{}, errSilent
}

func (f *fakes) Balance(_ context.Context, address string) (corenode.Balance, error) {
	if b, ok := f.balances[address]; ok {
		return b, nil
	}
	return corenode.Balance{}, corenode.ErrNotFound
}

func (f *fakes) Status(_ context.Context, hash message.Hash) (string, error) {
	if s, ok := f.status[hash]; ok {
		return s, nil
	}
	return "", errSilent
}

func (f *fakes) Aggregate(_ context.Context, _, _ string, _ time.Duration, v any) error {
	switch s := f.settings.(type) {
	case error:
		return s
	case community:
		settings := v.(*struct {
			Wallet string  `json:"community_wallet_address"`
			Since  float64 `json:"community_wallet_timestamp"`
		})
		settings.Wallet, settings.Since = s.wallet, float64(s.since.Unix())
	}
	return nil
}

func (f *fakes) Flow(_ context.Context, chain, sender, receiver string) (*apd.Decimal, error) {
	if chain != "AVAX" {
		return nil, ErrChain
	}
	if f.flowErr != nil {
		return nil, f.flowErr
	}
	if text, ok := f.flows[sender+">"+receiver]; ok {
		return dec(text), nil
	}
	return new(apd.Decimal), nil
}

func (f *fakes) List() []Workload { f.looks.Add(1); return f.workloads }

func (f *fakes) End(_ context.Context, hash message.Hash, forget bool) error {
	f.ended = append(f.ended, hash)
	if forget {
		f.forgotten = append(f.forgotten, hash)
	}
	f.workloads = slices.DeleteFunc(slices.Clone(f.workloads), func(w Workload) bool { return w.Hash == hash })
	return nil
}

func dec(text string) *apd.Decimal {
	d, _, err := apd.NewFromString(text)
	if err != nil {
		panic(err)
	}
	return d
}

const (
	owner    = "0xOwner"
	receiver = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
	wallet   = "0xCommunity"
)

var (
	epoch = time.Unix(1_700_000_000, 0)
	since = epoch.Add(-time.Hour)
)

// stream is a running workload that is paid by a stream.
func stream(hash message.Hash, started time.Time) Workload {
	return Workload{Hash: hash, Owner: owner, Payment: message.PaymentSuperfluid, Chain: "AVAX", Started: started}
}

func perSecond(cost string, payment message.PaymentType) corenode.Price {
	return corenode.Price{Cost: dec(cost), PaymentType: payment}
}

func meterOn(f *fakes) *Meter {
	return New(Config{
		Accounts: f, Streams: f, Workloads: f, Settings: "0xSettings", Receiver: receiver, Exempt: []message.Hash{"diagnostic"},
		Now: func() time.Time { return epoch },
	})
}

func TestStreamsMustCarryWhatTheirWorkloadsCost(t *testing.T) {
	const cost = "0.00001"
	for name, test := range map[string]struct {
		toNode, toCommunity string
		started             time.Time
		settings            any
		workloads           int // of the same owner, one later than the other
		flowErr             error
		want                []message.Hash
	}{
		"enough to both":                       {toNode: "0.000008", toCommunity: "0.000002", started: epoch, workloads: 1},
		"short by no more than the buffer":     {toNode: "0.00000799991", toCommunity: "0.000002", started: epoch, workloads: 1},
		"too little to the node":               {toNode: "0.000007", toCommunity: "0.000002", started: epoch, workloads: 1, want: []message.Hash{"0"}},
		"too little to the community":          {toNode: "0.000008", toCommunity: "0.000001", started: epoch, workloads: 1, want: []message.Hash{"0"}},
		"nothing":                              {started: epoch, workloads: 1, want: []message.Hash{"0"}},
		"before the community got a share":     {toNode: "0.00001", started: since.Add(-time.Second), workloads: 1},
		"before, and too little to the node":   {toNode: "0.000008", toCommunity: "0.000002", started: since.Add(-time.Second), workloads: 1, want: []message.Hash{"0"}},
		"no community":                         {toNode: "0.00001", started: epoch, settings: community{}, workloads: 1},
		"enough for one of two":                {toNode: "0.000008", toCommunity: "0.000002", started: epoch, workloads: 2, want: []message.Hash{"1"}},
		"enough for one of three":              {toNode: "0.000015", toCommunity: "0.0000039", started: epoch, workloads: 3, want: []message.Hash{"2", "1"}},
		"the chain does not answer":            {started: epoch, workloads: 1, flowErr: errSilent},
		"the network's settings do not answer": {started: epoch, workloads: 1, settings: errSilent},
		"the settings are not found":           {started: epoch, workloads: 1, settings: corenode.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakes{settings: community{wallet, since}, flows: map[string]string{}, flowErr: test.flowErr, prices: map[message.Hash]corenode.Price{}}
			if test.settings != nil {
				f.settings = test.settings
			}
			if test.toNode != "" {
				f.flows[owner+">"+receiver] = test.toNode
			}
			if test.toCommunity != "" {
				f.flows[owner+">"+wallet] = test.toCommunity
			}
			for i := range test.workloads {
				hash := message.Hash(fmt.Sprint(i))
				f.workloads = append(f.workloads, stream(hash, test.started))
				f.prices[hash] = perSecond(cost, message.PaymentSuperfluid)
			}
			meterOn(f).Sweep(t.Context())
			if !slices.Equal(f.ended, test.want) || len(f.forgotten) > 0 {
				t.Errorf("ended %v, forgot %v, want %v ended", f.ended, f.forgotten, test.want)
			}
		})
	}
}

func TestFundsMustCoverWhatRuns(t *testing.T) {
	type prices = map[message.Hash]corenode.Price
	credit := func(hash message.Hash) Workload {
		return Workload{Hash: hash, Owner: owner, Payment: message.PaymentCredit, Started: epoch}
	}
	held := func(hash message.Hash, confidential bool) Workload {
		return Workload{Hash: hash, Owner: owner, Payment: message.PaymentHold, Started: epoch, Confidential: confidential}
	}
	waiting, onCall, diagnostic := credit("w"), credit("c"), credit("diagnostic")
	waiting.Started, onCall.OnCall = time.Time{}, true
	two := prices{"a": perSecond("2", message.PaymentCredit), "b": perSecond("2", message.PaymentCredit)}
	for name, test := range map[string]struct {
		workloads []Workload
		prices    prices
		balance   *corenode.Balance
		want      []message.Hash
	}{
		"credits for a second more":       {[]Workload{credit("a")}, two, &corenode.Balance{Credits: dec("2.1")}, nil},
		"credits for less than a second":  {[]Workload{credit("a")}, two, &corenode.Balance{Credits: dec("1.9")}, []message.Hash{"a"}},
		"credits for one of two":          {[]Workload{credit("a"), credit("b")}, two, &corenode.Balance{Credits: dec("3")}, []message.Hash{"b"}},
		"no credits, but not running":     {[]Workload{waiting}, prices{"w": two["a"]}, &corenode.Balance{Credits: dec("0")}, nil},
		"no credits, but called":          {[]Workload{onCall}, prices{"c": two["a"]}, &corenode.Balance{Credits: dec("0")}, nil},
		"no credits, but a diagnostic":    {[]Workload{diagnostic}, prices{"diagnostic": two["a"]}, &corenode.Balance{Credits: dec("0")}, nil},
		"balance not found":               {[]Workload{credit("a")}, two, nil, nil},
		"one price not known":             {[]Workload{credit("a"), credit("x")}, two, &corenode.Balance{Credits: dec("0")}, nil},
		"a price for another way to pay":  {[]Workload{credit("a")}, prices{"a": perSecond("2", message.PaymentHold)}, &corenode.Balance{Credits: dec("0")}, nil},
		"holders are the scheduler's":     {[]Workload{held("a", false)}, prices{"a": perSecond("2", message.PaymentHold)}, &corenode.Balance{Tokens: dec("0")}, nil},
		"but not confidential ones":       {[]Workload{held("a", true)}, prices{"a": perSecond("2", message.PaymentHold)}, &corenode.Balance{Tokens: dec("1")}, []message.Hash{"a"}},
		"confidential ones that are held": {[]Workload{held("a", true)}, prices{"a": perSecond("2", message.PaymentHold)}, &corenode.Balance{Tokens: dec("2.1")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakes{workloads: test.workloads, prices: test.prices, balances: map[string]corenode.Balance{}}
			if test.balance != nil {
				f.balances[owner] = *test.balance
			}
			meterOn(f).Sweep(t.Context())
			if !slices.Equal(f.ended, test.want) {
				t.Errorf("ended %v, want %v", f.ended, test.want)
			}
			if n := f.looks.Load(); n != 1 {
				t.Errorf("looked %d times at the state of workloads", n)
			}
		})
	}
}

func TestOnlyWhatIsGoneThriceInARowIsForgotten(t *testing.T) {
	const silent = ""
	for name, test := range map[string]struct {
		sweeps []string
		ended  bool
	}{
		"removed":                        {[]string{"removed", "removed", "removed"}, true},
		"gone in several ways":           {[]string{"rejected", "forgotten", "removed"}, true},
		"twice":                          {[]string{"removed", "removed"}, false},
		"saved in between":               {[]string{"removed", "removed", "processed", "removed", "removed"}, false},
		"being removed":                  {[]string{"removing", "removing", "removing", "removing"}, false},
		"being removed in between":       {[]string{"removed", "removed", "removing", "removed"}, false},
		"no answer in between":           {[]string{"removed", "removed", silent, "removed"}, true},
		"no answer":                      {[]string{silent, silent, silent, silent}, false},
		"no answer after the second one": {[]string{"removed", "removed", silent, silent}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakes{workloads: []Workload{{Hash: "a", OnCall: true}}, status: map[message.Hash]string{}}
			m := meterOn(f)
			for i, status := range test.sweeps {
				delete(f.status, "a")
				if status != silent {
					f.status["a"] = status
				}
				m.Sweep(t.Context())
				if last := i == len(test.sweeps)-1; !last && len(f.ended) > 0 {
					t.Fatalf("ended at sweep %d", i+1)
				}
			}
			if (len(f.forgotten) == 1) != test.ended {
				t.Errorf("forgot %v", f.forgotten)
			}
		})
	}
}

func TestSweepsComeAMinuteApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{}
		m := meterOn(f)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		for minute, want := range []int32{0, 1, 2} {
			time.Sleep(59 * time.Second)
			synctest.Wait()
			if n := f.looks.Load(); n != want {
				t.Errorf("after %d minutes and 59 seconds: %d sweeps", minute, n)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func instance(change func(*message.Instance)) *corenode.Workload {
	i := &message.Instance{}
	i.Address = owner
	i.Payment = &message.Payment{Type: message.PaymentCredit}
	change(i)
	return &corenode.Workload{Hash: "a", Sender: "0xSender", Content: i}
}

func paidBy(payment message.PaymentType, chain, to string) func(*message.Instance) {
	return func(i *message.Instance) {
		i.Payment.Type = payment
		if chain != "" {
			i.Payment.Chain, i.Payment.Receiver = &chain, &to
		}
	}
}

func TestAdmissionAsksForPaymentFirst(t *testing.T) {
	confidential := func(i *message.Instance) {
		i.Payment = nil
		i.Environment.TrustedExecution = &message.TrustedExecution{}
	}
	bystream := paidBy(message.PaymentSuperfluid, "AVAX", strings.ToLower(receiver))
	split := map[string]string{"0xSender>" + receiver: "0.000008", "0xSender>" + wallet: "0.000002"}
	for name, test := range map[string]struct {
		change   func(*message.Instance)
		price    corenode.Price
		balances map[string]corenode.Balance
		flows    map[string]string
		settings any
		flowErr  error
		unpaid   bool
		want     string // a part of the reason; empty for admission
	}{
		"credits for an hour":        {change: paidBy(message.PaymentCredit, "", ""), price: perSecond("2", message.PaymentCredit), balances: map[string]corenode.Balance{owner: {Credits: dec("7200")}}},
		"credits for less":           {change: paidBy(message.PaymentCredit, "", ""), price: perSecond("2", message.PaymentCredit), balances: map[string]corenode.Balance{owner: {Credits: dec("7199")}}, unpaid: true, want: "Insufficient credits for this instance\n\nRequired: 7200 credits \nCurrent user credits: 7199"},
		"an address without credits": {change: paidBy(message.PaymentCredit, "", ""), price: perSecond("2", message.PaymentCredit), unpaid: true, want: "Required: 7200 credits \nCurrent user credits: 0"},
		"held, plain":                {change: paidBy(message.PaymentHold, "", ""), want: "Invalid payment method"},
		"held, confidential":         {change: confidential, price: perSecond("100", message.PaymentHold), balances: map[string]corenode.Balance{"0xSender": {Tokens: dec("100")}}},
		"held, too little":           {change: confidential, price: perSecond("100", message.PaymentHold), balances: map[string]corenode.Balance{"0xSender": {Tokens: dec("99.5")}}, unpaid: true, want: "Insufficient balance for this instance\n\nRequired: 100 token \nCurrent user balance: 99.5"},
		"streams":                    {change: bystream, price: perSecond("0.00001", message.PaymentSuperfluid), flows: split},
		"no streams":                 {change: bystream, price: perSecond("0.00001", message.PaymentSuperfluid), unpaid: true, want: "402: Empty payment stream for this instance"},
		"a stream that is too thin":  {change: bystream, price: perSecond("0.00002", message.PaymentSuperfluid), flows: split, unpaid: true, want: "Insufficient payment stream for this instance\n\nRequired: 42.04800000000"},
		"nothing for the community":  {change: bystream, price: perSecond("0.00001", message.PaymentSuperfluid), flows: map[string]string{"0xSender>" + receiver: "0.00001"}, unpaid: true, want: "Insufficient payment stream for community"},
		"a network without settings": {change: bystream, price: perSecond("0.00001", message.PaymentSuperfluid), flows: map[string]string{"0xSender>" + receiver: "0.00001"}, settings: corenode.ErrNotFound},
		"a stream to somebody else":  {change: paidBy(message.PaymentSuperfluid, "AVAX", wallet), want: "400: Message is not for this instance"},
		"a stream on another chain":  {change: paidBy(message.PaymentSuperfluid, "ETH", receiver), want: "Invalid Chain"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakes{settings: community{wallet, since}, balances: test.balances, flows: test.flows, prices: map[message.Hash]corenode.Price{"a": test.price}}
			if test.settings != nil {
				f.settings = test.settings
			}
			err := meterOn(f).Admit(t.Context(), instance(test.change))
			var refusal *Refusal
			switch {
			case test.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.want != "" && (!errors.As(err, &refusal) || refusal.Unpaid != test.unpaid || !strings.Contains(refusal.Reason, test.want)):
				t.Errorf("got %#v", err)
			}
		})
	}
	var refusal *Refusal
	f := &fakes{settings: community{wallet, since}, flowErr: errSilent}
	if err := meterOn(f).Admit(t.Context(), instance(bystream)); err == nil || errors.As(err, &refusal) {
		t.Errorf("a chain that does not answer: %v", err)
	}
}

// Whatever is paid, the workloads that stay are paid for, and one more would not be.
func TestASweepEndsNoMoreThanItMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 8).Draw(t, "workloads")
		fund := rapid.IntRange(0, 100).Draw(t, "fund")
		f := &fakes{prices: map[message.Hash]corenode.Price{}, balances: map[string]corenode.Balance{owner: {Credits: apd.New(int64(fund), 0)}}}
		costs := make([]int, n)
		for i := range n {
			costs[i] = rapid.IntRange(1, 30).Draw(t, "cost")
			hash := message.Hash(fmt.Sprint(i))
			f.prices[hash] = corenode.Price{Cost: apd.New(int64(costs[i]), 0), PaymentType: message.PaymentCredit}
			f.workloads = append(f.workloads, Workload{Hash: hash, Owner: owner, Payment: message.PaymentCredit, Started: epoch})
		}
		meterOn(f).Sweep(context.Background())
		left, sum := len(f.workloads), 0
		for i := range left {
			sum += costs[i]
		}
		if left > 0 && sum >= fund {
			t.Fatalf("%d of %v stay for %d", left, costs, fund)
		}
		if left < n && sum+costs[left] < fund {
			t.Fatalf("%d of %v were ended for %d", n-left, costs, fund)
		}
	})
}
