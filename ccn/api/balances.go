package api

import (
	"fmt"
	"math/big"
	"net/http"
	"slices"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

func (a *API) balanceRoutes() routes {
	return routes{
		"GET /api/v0/addresses/{address}/balance": query(a.getBalance),
		"GET /api/v0/balances":                    query(a.listBalances),
		"GET /api/v0/credit_balances":             query(a.listCreditBalances),
	}
}

// balancePage is how many balances a page shows unless the client says otherwise.
const balancePage = 100

func chainNames() []string {
	var names []string
	for _, c := range message.Chains() {
		names = append(names, string(c))
	}
	return names
}

// amount reads a decimal text of the database.
func amount(text string) (*big.Rat, error) {
	v, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, fmt.Errorf("not a decimal number: %q", text)
	}
	return v, nil
}

// number writes an amount as the double nearest to it.
func number(v *big.Rat) any {
	f, _ := v.Float64()
	return double(f)
}

// holdings returns the tokens that an address itself holds, by chain and in all, and those that its resources take.
func holdings(r *store.Reader, address string) (chains map[message.Chain]*big.Rat, held, locked *big.Rat, err error) {
	chains, held, locked = map[message.Chain]*big.Rat{}, new(big.Rat), new(big.Rat)
	rows, err := r.Balances(address)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, row := range rows {
		if row.Dapp != "" {
			continue
		}
		v, err := amount(row.Balance)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("balance of %s: %w", address, err)
		}
		chains[row.Chain] = v
		held.Add(held, v)
	}
	costs, err := r.AccountCosts(address, message.PaymentHold)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, cost := range costs {
		v, err := amount(cost.Hold)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("cost of %s: %w", cost.Hash, err)
		}
		locked.Add(locked, v)
	}
	return chains, held, locked, nil
}

// creditLot is what can be spent until a date; nil means for ever.
type creditLot struct {
	ExpirationDate *string `json:"expiration_date"`
	Amount         int64   `json:"amount"`
}

// spendable lists what an address can spend at now by the date on which it expires, what never does first.
func spendable(lots []store.CreditLot, now message.Time) []creditLot {
	sums := map[message.Time]int64{}
	var forever int64
	for _, lot := range lots {
		switch {
		case lot.Expiration == nil:
			forever += lot.Remaining
		case *lot.Expiration > now:
			sums[*lot.Expiration] += lot.Remaining
		}
	}
	list := []creditLot{}
	if forever > 0 {
		list = append(list, creditLot{Amount: forever})
	}
	var dates []message.Time
	for t := range sums {
		dates = append(dates, t)
	}
	slices.Sort(dates)
	for _, t := range dates {
		text := t.RFC3339()
		list = append(list, creditLot{&text, sums[t]})
	}
	return list
}

// getBalance shows what an address holds (ccn-api §10.1).
func (a *API) getBalance(w http.ResponseWriter, r *http.Request, q *arguments) error {
	chain := message.Chain(q.choice("", chainNames(), "chain"))
	detailed := q.isTrue("include_credit_details")
	if q.err != nil {
		return q.err
	}
	address, now := r.PathValue("address"), message.TimeFrom(a.cfg.Now())
	var chains map[message.Chain]*big.Rat
	var held, locked *big.Rat
	var credits int64
	var lots []store.CreditLot
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		if chains, held, locked, err = holdings(rd, address); err != nil {
			return err
		}
		if credits, err = rd.Credits(address, now); err != nil || !detailed {
			return err
		}
		lots, err = rd.CreditLots(address)
		return err
	})
	if err != nil {
		return err
	}
	details := map[string]any{}
	if chain != "" {
		if held = chains[chain]; held == nil {
			held = new(big.Rat)
		}
	} else {
		for c, v := range chains {
			details[string(c)] = number(v)
		}
	}
	answer := map[string]any{
		"address": address, "balance": number(held), "details": details, "locked_amount": number(locked),
		"credit_balance": credits, "credit_balance_details": nil,
	}
	if detailed {
		answer["credit_balance_details"] = spendable(lots, now)
	}
	return reply(w, http.StatusOK, answer)
}

// balance is a line of the list of balances.
type balance struct {
	Address string        `json:"address"`
	Balance any           `json:"balance"`
	Chain   message.Chain `json:"chain"`
}

// listBalances lists what addresses hold, by address (ccn-api §10.2).
func (a *API) listBalances(w http.ResponseWriter, r *http.Request, q *arguments) error {
	f := store.BalanceFilter{Chains: q.choices(chainNames(), "chains"), Minimum: q.integer(0, 1, maxInt, "min_balance")}
	p := q.paging(balancePage, 0, maxInt)
	if q.err != nil {
		return q.err
	}
	if p.after != "" {
		// Chain and dapp are of ours; a cursor of another node goes on behind all rows of the address.
		var after struct {
			Address *string       `json:"a"`
			Chain   message.Chain `json:"c"`
			Dapp    string        `json:"d"`
		}
		if err := readPosition(p.after, &after); err != nil {
			return err
		}
		if after.Address == nil {
			return refuse(http.StatusUnprocessableEntity, "Invalid cursor: it lacks a")
		}
		f.After = &store.BalanceRow{Address: *after.Address, Chain: after.Chain, Dapp: after.Dapp}
	}
	f.Limit, f.Offset = p.limit(), p.offset()
	rows, more, total, err := readPage(r.Context(), a, p, func(rd *store.Reader) ([]store.BalanceRow, error) { return rd.ListBalances(f) }, counted{
		filter: fmt.Sprintf("balances %v %d", f.Chains, f.Minimum),
		count:  func(rd *store.Reader, _ int) (int64, error) { return rd.CountBalances(f) },
	})
	if err != nil {
		return err
	}
	list := make([]balance, len(rows))
	for i, row := range rows {
		v, err := amount(row.Balance)
		if err != nil {
			return fmt.Errorf("balance of %s: %w", row.Address, err)
		}
		list[i] = balance{row.Address, number(v), row.Chain}
	}
	answer := map[string]any{"balances": list}
	if !p.cursor {
		answer["pagination_item"] = "balances"
	}
	var next any
	if more {
		last := rows[len(rows)-1]
		next = position(map[string]any{"a": last.Address, "c": last.Chain, "d": last.Dapp})
	}
	p.addTo(answer, total, next)
	return reply(w, http.StatusOK, answer)
}

// creditBalance is a line of the list of credit balances.
type creditBalance struct {
	Address string `json:"address"`
	Credits int64  `json:"credits"`
}

// listCreditBalances lists what addresses can spend, by address (ccn-api §10.3).
func (a *API) listCreditBalances(w http.ResponseWriter, r *http.Request, q *arguments) error {
	f := store.CreditBalanceFilter{At: message.TimeFrom(a.cfg.Now()), Minimum: q.integer(0, 1, maxInt, "min_balance")}
	p := q.paging(balancePage, 0, maxInt)
	if q.err != nil {
		return q.err
	}
	if p.after != "" {
		var after struct {
			Address *string `json:"a"`
		}
		if err := readPosition(p.after, &after); err != nil {
			return err
		}
		if after.Address == nil {
			return refuse(http.StatusUnprocessableEntity, "Invalid cursor: it lacks a")
		}
		f.After = *after.Address
	}
	f.Limit, f.Offset = p.limit(), p.offset()
	rows, more, total, err := readPage(r.Context(), a, p, func(rd *store.Reader) ([]store.CreditBalance, error) { return rd.ListCreditBalances(f) }, counted{
		filter: fmt.Sprintf("credit balances %d", f.Minimum),
		count:  func(rd *store.Reader, _ int) (int64, error) { return rd.CountCreditBalances(f) },
	})
	if err != nil {
		return err
	}
	list := make([]creditBalance, len(rows))
	for i, row := range rows {
		list[i] = creditBalance{row.Address, row.Credits}
	}
	answer := map[string]any{"credit_balances": list}
	if !p.cursor {
		answer["pagination_item"] = "credit_balances"
	}
	var next any
	if more {
		next = position(map[string]any{"a": rows[len(rows)-1].Address})
	}
	p.addTo(answer, total, next)
	return reply(w, http.StatusOK, answer)
}
