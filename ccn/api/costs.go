package api

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// costAmount is an exact sum of costs, which all have 18 places.
type costAmount struct{ units big.Int }

const costPlaces = 18

func (c *costAmount) add(text string) error {
	whole, fraction, _ := strings.Cut(text, ".")
	v, ok := new(big.Int).SetString(whole+fraction, 10)
	if !ok || len(fraction) != costPlaces {
		return fmt.Errorf("not a cost with %d places: %q", costPlaces, text)
	}
	c.units.Add(&c.units, v)
	return nil
}

func (c *costAmount) MarshalJSON() ([]byte, error) {
	digits := new(big.Int).Abs(&c.units).String()
	digits = strings.Repeat("0", max(0, costPlaces+1-len(digits))) + digits
	sign := ""
	if c.units.Sign() < 0 {
		sign = "-"
	}
	point := len(digits) - costPlaces
	return fmt.Appendf(nil, `"%s%s.%s"`, sign, digits[:point], digits[point:]), nil
}

// costSum adds up lines of costs.
type costSum struct{ hold, stream, credit costAmount }

func (s *costSum) add(row *store.CostRow) error {
	for sum, text := range map[*costAmount]string{&s.hold: row.Hold, &s.stream: row.Stream, &s.credit: row.Credit} {
		if err := sum.add(text); err != nil {
			return fmt.Errorf("cost of %s: %w", row.Hash, err)
		}
	}
	return nil
}

// chargedResource is a resource with what it costs (ccn-api §11.5).
type chargedResource struct {
	ItemHash        message.Hash        `json:"item_hash"`
	Owner           string              `json:"owner"`
	PaymentType     message.PaymentType `json:"payment_type"`
	ConsumedCredits int64               `json:"consumed_credits"`
	CostHold        *costAmount         `json:"cost_hold"`
	CostStream      *costAmount         `json:"cost_stream"`
	CostCredit      *costAmount         `json:"cost_credit"`
	Detail          []costLine          `json:"detail"`

	sum costSum
}

const costPage = 100

// listCosts adds up what resources cost, and lists them when asked to (ccn-api §11.5).
func (a *API) listCosts(w http.ResponseWriter, r *http.Request, q *arguments) error {
	address, byAddress := q.text("address")
	resource, byResource := q.text("item_hash")
	payments := []string{string(message.PaymentHold), string(message.PaymentSuperfluid), string(message.PaymentCredit)}
	payment := message.PaymentType(q.choice(string(message.PaymentCredit), payments, "payment_type"))
	depth := q.integer(0, 0, 2, "include_details")
	withSizes := q.isTrue("include_size")
	p := q.page(costPage, 10, 1000)
	if q.err == nil && depth == 2 && !byAddress && !byResource {
		q.err = refuse(http.StatusUnprocessableEntity, "include_details=2 requires an address or an item_hash")
	}
	if q.err != nil {
		return q.err
	}
	filters := map[string]any{"address": nil, "item_hash": nil, "payment_type": payment}
	if byAddress {
		filters["address"] = address
	}
	if byResource {
		filters["item_hash"] = resource
	}
	f := store.CostFilter{Owner: address, Resource: resource, PaymentType: payment, ByOwner: byAddress, ByResource: byResource}
	l := &costList{depth: depth, first: p.offset(), size: p.size, page: []*chargedResource{}}
	var sum *allCosts
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		if byAddress || byResource {
			sum, err = sumCosts(rd, f, l)
		} else {
			sum, err = a.sumAllCosts(r.Context(), rd, f, l)
		}
		if err != nil {
			return err
		}
		for _, item := range l.page {
			if err := a.complete(rd, item, depth == 2 && withSizes); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	answer := map[string]any{
		"summary": map[string]any{
			"total_consumed_credits": sum.consumed, "total_cost_hold": &sum.total.hold, "total_cost_stream": &sum.total.stream,
			"total_cost_credit": &sum.total.credit, "resource_count": sum.count,
		},
		"filters": filters, "resources": nil,
		"pagination_page": nil, "pagination_total": nil, "pagination_per_page": nil, "pagination_item": nil,
	}
	if depth > 0 {
		answer["resources"], answer["pagination_item"] = l.page, "resources"
		p.addTo(answer, sum.count, nil)
	}
	return reply(w, http.StatusOK, answer)
}

// allCosts is what resources cost together.
type allCosts struct {
	total           costSum
	count, consumed int64
	at              time.Time // when it was added up
}

// sumCosts adds up the costs that a filter chooses and lists them.
func sumCosts(r *store.Reader, f store.CostFilter, l *costList) (*allCosts, error) {
	if err := r.VisitCosts(f, l.add); err != nil {
		return nil, err
	}
	consumed, err := consumedFor(r, f)
	return &allCosts{total: l.total, count: l.count, consumed: consumed}, err
}

// costTotals remembers what all resources cost together where they are many, as totals does of lists.
type costTotals struct {
	adding chan struct{}                     // holds a token for who adds up
	kept   map[message.PaymentType]*allCosts // of who holds it
}

// sumAllCosts is sumCosts for a filter of everything. Only for a sum that is not known all lines are read.
func (a *API) sumAllCosts(ctx context.Context, r *store.Reader, f store.CostFilter, l *costList) (*allCosts, error) {
	t := &a.costTotals
	select {
	case t.adding <- struct{}{}:
		defer func() { <-t.adding }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	now := a.cfg.Now()
	if kept := t.kept[f.PaymentType]; kept != nil && now.Sub(kept.at) < totalTTL {
		if l.depth == 0 {
			return kept, nil
		}
		l.pageOnly = true
		if err := r.VisitCosts(f, l.add); err != nil && !errors.Is(err, errPageFull) {
			return nil, err
		}
		return kept, nil
	}
	sum, err := sumCosts(r, f, l)
	if err == nil && sum.count >= exactTotal {
		sum.at = now
		t.kept[f.PaymentType] = sum
	}
	return sum, err
}

// errPageFull ends a visit of lines after the page that is asked for.
var errPageFull = errors.New("the page is full")

// costList adds up lines that come ordered by resource and keeps the resources of one page.
type costList struct {
	depth       int64
	first, size int64 // of the page, in resources
	pageOnly    bool  // what comes after the page does not matter

	total   costSum
	count   int64
	last    message.Hash
	current *chargedResource // nil when it is not on the page
	page    []*chargedResource
}

func (l *costList) add(row *store.CostRow) error {
	if l.pageOnly && row.Hash != l.last && l.count >= l.first && l.count-l.first >= l.size {
		return errPageFull
	}
	if err := l.total.add(row); err != nil {
		return err
	}
	if row.Hash != l.last {
		l.last, l.current = row.Hash, nil
		if l.depth > 0 && l.count >= l.first && l.count-l.first < l.size {
			l.current = &chargedResource{ItemHash: row.Hash, Owner: row.Owner, PaymentType: row.PaymentType}
			l.page = append(l.page, l.current)
		}
		l.count++
	}
	if l.current == nil {
		return nil
	}
	if l.depth > 1 {
		l.current.Detail = append(l.current.Detail, costLine{row.Type, row.Name, row.Hold, row.Stream, row.Credit, nil})
	}
	return l.current.sum.add(row)
}

// complete fills in what the lines of a resource do not tell.
func (a *API) complete(r *store.Reader, c *chargedResource, withSizes bool) (err error) {
	c.CostHold, c.CostStream, c.CostCredit = &c.sum.hold, &c.sum.stream, &c.sum.credit
	sortLines(c.Detail)
	if c.ConsumedCredits, err = r.ConsumedCredits(string(c.ItemHash)); err != nil || !withSizes {
		return err
	}
	row, err := r.Message(c.ItemHash)
	if err != nil || row == nil {
		return err
	}
	content, err := message.ParseContent(row.Message.Type, row.Content)
	if err != nil {
		return fmt.Errorf("content of processed message %s: %w", c.ItemHash, err)
	}
	sizes, err := a.sizes(r, c.ItemHash, content)
	for i := range c.Detail {
		c.Detail[i].SizeMiB = sizes[c.Detail[i].Type+"/"+c.Detail[i].Name]
	}
	return err
}

// consumedFor returns the credits that were spent for what a filter chooses, in any way to pay.
func consumedFor(r *store.Reader, f store.CostFilter) (int64, error) {
	if f.ByResource {
		return r.ConsumedCredits(f.Resource)
	}
	return r.ConsumedByOwner(f.Owner)
}
