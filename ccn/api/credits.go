package api

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

func (a *API) creditRoutes() routes {
	return routes{
		"GET /api/v0/addresses/{address}/credit_history":         query(a.listCredits),
		"GET /api/v0/addresses/{address}/credit_history/summary": query(a.sumCredits),
		"GET /api/v0/messages/{hash}/consumed_credits":           plain(a.consumedCredits),
	}
}

// credit is a movement in the history of an address. Members of type any change their type between page and cursor mode
// (ccn-api §9.5).
type credit struct {
	Amount           int64        `json:"amount"`
	Price            any          `json:"price"`
	BonusAmount      *int64       `json:"bonus_amount"`
	TxHash           *string      `json:"tx_hash"`
	Token            *string      `json:"token"`
	Chain            *string      `json:"chain"`
	Provider         *string      `json:"provider"`
	Origin           *string      `json:"origin"`
	OriginRef        *string      `json:"origin_ref"`
	PaymentMethod    *string      `json:"payment_method"`
	CreditRef        message.Hash `json:"credit_ref"`
	CreditIndex      int64        `json:"credit_index"`
	ExpirationDate   any          `json:"expiration_date"`
	MessageTimestamp any          `json:"message_timestamp"`
	ExpenseCount     *int64       `json:"expense_count"`
	ExpenseSizeMiB   any          `json:"expense_size_mib"`
}

func showCredit(row *store.CreditRow, cursor bool) credit {
	at := message.TimeFromSeconds(row.ContentTime)
	c := credit{
		Amount: row.Amount, BonusAmount: row.BonusAmount, TxHash: row.TxHash, Token: row.Token, Chain: row.Chain, Provider: row.Provider,
		Origin: row.Origin, OriginRef: row.OriginRef, PaymentMethod: row.PaymentMethod, CreditRef: row.Ref, CreditIndex: row.Index,
		MessageTimestamp: at.RFC3339(), ExpenseCount: row.ExpenseCount,
	}
	decimal := func(text *string) any {
		if text == nil {
			return nil
		}
		if f, err := strconv.ParseFloat(*text, 64); cursor && err == nil {
			return double(f)
		}
		return *text
	}
	c.Price, c.ExpenseSizeMiB = decimal(row.Price), decimal(row.ExpenseSizeMiB)
	if cursor {
		c.MessageTimestamp = at
	}
	if row.Expiration != nil {
		c.ExpirationDate = row.Expiration.RFC3339()
		if cursor {
			c.ExpirationDate = *row.Expiration
		}
	}
	return c
}

// creditFilter reads the parameters that choose movements of credits (ccn-api §9.5).
func creditFilter(q *arguments, address string) store.CreditFilter {
	f := store.CreditFilter{
		Address: address, Equal: map[string]string{}, ExcludeMethods: q.list("exclude_payment_method"), Expires: q.boolean("has_expiration"),
		Start: q.seconds("startDate", "start_date"), End: q.seconds("endDate", "end_date"),
	}
	for _, name := range []string{"tx_hash", "token", "chain", "provider", "origin", "origin_ref", "payment_method"} {
		if v, ok := q.text(name); ok {
			f.Equal[name] = v
		}
	}
	if f.Start != nil && f.End != nil && *f.End < *f.Start {
		q.refuse("value_error", "endDate", "Value error, end date cannot be lower than start date.", "")
	}
	switch q.choice("", []string{"incoming", "outgoing"}, "direction") {
	case "incoming":
		f.Incoming = true
	case "outgoing":
		f.Outgoing = true
	}
	var types []string
	for _, t := range message.Types() {
		types = append(types, string(t))
	}
	f.ResourceTypes = q.choices(types, "resourceTypes", "resource_types")
	if v, ok := q.text("resource"); ok {
		f.Resource = &v
	}
	return f
}

// listCredits lists the movements of an address's credits (ccn-api §9.5).
func (a *API) listCredits(w http.ResponseWriter, r *http.Request, q *arguments) error {
	f := creditFilter(q, r.PathValue("address"))
	f.Sort = q.choice("message_timestamp", store.CreditSorts(), "sort_by")
	f.Ascending = q.ascending("sort_order")
	p := q.paging(0, 0, maxInt)
	if q.err != nil {
		return q.err
	}
	if p.after != "" {
		after, err := readCreditPosition(p.after, f.Sort, f.Ascending)
		if err != nil {
			return err
		}
		f.After = after
	}
	f.Limit, f.Offset = p.limit(), p.offset()
	rows, more, total, err := readPage(r.Context(), a, p, func(rd *store.Reader) ([]store.CreditRow, error) { return rd.ListCredits(f) }, counted{
		count: func(rd *store.Reader, _ int) (int64, error) {
			sum, err := rd.SumCredits(f)
			return sum.Count, err
		},
	})
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return refuse(http.StatusNotFound, "No credit history found for this address")
	}
	list := make([]credit, len(rows))
	for i := range rows {
		list[i] = showCredit(&rows[i], p.cursor)
	}
	answer := map[string]any{"address": f.Address, "credit_history": list}
	var next any
	if more {
		next = creditPosition(&rows[len(rows)-1], f.Sort, f.Ascending)
	}
	p.addTo(answer, total, next)
	return reply(w, http.StatusOK, answer)
}

func direction(ascending bool) int {
	if ascending {
		return 1
	}
	return -1
}

// creditPosition is the cursor behind a movement.
func creditPosition(row *store.CreditRow, sort string, ascending bool) string {
	var v any
	switch sort {
	case "message_timestamp":
		v = positionTime(message.TimeFromSeconds(row.ContentTime))
	case "expiration_date":
		if row.Expiration != nil {
			v = positionTime(*row.Expiration)
		}
	case "amount":
		v = row.Amount
	case "payment_method":
		v = row.PaymentMethod
	case "origin":
		v = row.Origin
	case "tx_hash":
		v = row.TxHash
	case "provider":
		v = row.Provider
	}
	return position(map[string]any{"i": row.Index, "o": direction(ascending), "r": row.Ref, "s": sort, "v": v})
}

// readCreditPosition reads a cursor, also of the form that knows only the order by descending time.
func readCreditPosition(text, sort string, ascending bool) (*store.CreditRow, error) {
	var c struct {
		Index *int64          `json:"i"`
		Order *int            `json:"o"`
		Ref   message.Hash    `json:"r"`
		Sort  string          `json:"s"`
		Value json.RawMessage `json:"v"`
		Time  json.RawMessage `json:"t"`
	}
	if err := readPosition(text, &c); err != nil {
		return nil, err
	}
	if c.Index == nil || c.Ref == "" {
		return nil, refuse(http.StatusUnprocessableEntity, "Invalid cursor: it lacks i or r")
	}
	if c.Sort == "" {
		c.Sort, c.Value = "message_timestamp", c.Time
	}
	order := direction(false)
	if c.Order != nil {
		order = *c.Order
	}
	if c.Sort != sort {
		return nil, refuse(http.StatusUnprocessableEntity, "Cursor sort field mismatch: the cursor is for %s, the request for %s", c.Sort, sort)
	}
	if order != direction(ascending) {
		return nil, refuse(http.StatusUnprocessableEntity, "Cursor sort order mismatch: the cursor is for %d, the request for %d", order, direction(ascending))
	}
	row := &store.CreditRow{Ref: c.Ref, Index: *c.Index}
	return row, setSorted(row, sort, c.Value)
}

// setSorted puts the value of the sort column from a cursor into row.
func setSorted(row *store.CreditRow, sort string, value json.RawMessage) error {
	if sort == "amount" {
		if json.Unmarshal(value, &row.Amount) != nil {
			return refuse(http.StatusUnprocessableEntity, "Invalid cursor: v is not an integer")
		}
		return nil
	}
	var text *string
	if len(value) > 0 && json.Unmarshal(value, &text) != nil {
		return refuse(http.StatusUnprocessableEntity, "Invalid cursor: v is not a text")
	}
	switch sort {
	case "payment_method":
		row.PaymentMethod = text
	case "origin":
		row.Origin = text
	case "tx_hash":
		row.TxHash = text
	case "provider":
		row.Provider = text
	case "expiration_date", "message_timestamp":
		if text == nil && sort == "expiration_date" {
			return nil
		}
		t, err := readPositionTime(*cmp.Or(text, new(string)))
		if err != nil {
			return err
		}
		row.Expiration, row.ContentTime = &t, t.Seconds()
	}
	return nil
}

// sumCredits adds up the movements of an address's credits (ccn-api §9.6).
func (a *API) sumCredits(w http.ResponseWriter, r *http.Request, q *arguments) error {
	f := creditFilter(q, r.PathValue("address"))
	if q.err != nil {
		return q.err
	}
	var sum store.CreditSummary
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		sum, err = rd.SumCredits(f)
		return err
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{
		"address": f.Address, "entry_count": sum.Count, "total_amount": sum.Total, "total_incoming": sum.Incoming, "total_outgoing": sum.Outgoing,
	})
}

// consumedCredits tells what was spent for a resource; any text is taken for its name (ccn-api §9.7).
func (a *API) consumedCredits(w http.ResponseWriter, r *http.Request) error {
	resource := r.PathValue("hash")
	var spent int64
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		spent, err = rd.ConsumedCredits(resource)
		return err
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{"item_hash": resource, "consumed_credits": spent})
}
