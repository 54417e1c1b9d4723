package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/ledger"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

func (a *API) priceRoutes() routes {
	return routes{
		"GET /api/v0/price/{hash}":              query(a.getPrice),
		"POST /api/v0/price/estimate":           plain(a.estimatePrice),
		"POST /api/v0/price/estimate/instance":  plain(a.estimateInstance),
		"GET /api/v0/costs":                     query(a.listCosts),
		"POST /api/v0/price/recalculate":        long{plain(a.recalculateAll)},
		"POST /api/v0/price/{hash}/recalculate": plain(a.recalculateOne),
	}
}

// estimated is the answer to questions about prices (ccn-api §11.1).
type estimated struct {
	RequiredTokens any                 `json:"required_tokens"`
	PaymentType    message.PaymentType `json:"payment_type"`
	Cost           string              `json:"cost"`
	ChargedAddress string              `json:"charged_address"`
	Detail         []costLine          `json:"detail"`
}

// costLine is one component of a cost.
type costLine struct {
	Type       string `json:"type"`
	Name       string `json:"name"`
	CostHold   string `json:"cost_hold"`
	CostStream string `json:"cost_stream"`
	CostCredit string `json:"cost_credit"`
	SizeMiB    any    `json:"size_mib"`
}

// lineOrder is the order in which costs are computed and shown.
var lineOrder = [...]string{
	ledger.LineExecution, ledger.LineRootfs, ledger.LineCode, ledger.LineRuntime, ledger.LineData, ledger.LineImmutable,
	ledger.LinePersistent, ledger.LineDiscount, ledger.LineStorage,
}

// sortLines puts the lines of the database into that order; further volumes go by their number.
func sortLines(lines []costLine) {
	rank := func(l costLine) (int, int) {
		number, _, _ := strings.Cut(strings.TrimPrefix(l.Name, "#"), ":")
		volume, err := strconv.Atoi(number)
		if err != nil {
			return slices.Index(lineOrder[:], l.Type), -1
		}
		return slices.Index(lineOrder[:], ledger.LineImmutable), volume
	}
	slices.SortStableFunc(lines, func(x, y costLine) int {
		xRank, xVolume := rank(x)
		yRank, yVolume := rank(y)
		if xRank != yRank {
			return xRank - yRank
		}
		return xVolume - yVolume
	})
}

// estimate writes computed costs; sizes are shown or null.
func estimate(c *ledger.Costs, owner string, sizes bool) (*estimated, error) {
	total, err := c.Total()
	if err != nil {
		return nil, err
	}
	e := &estimated{
		RequiredTokens: double(ledger.Float(total)), PaymentType: c.PaymentType, Cost: ledger.Text(total), ChargedAddress: owner, Detail: []costLine{},
	}
	for _, line := range c.Lines {
		l := costLine{Type: line.Type, Name: line.Name, CostHold: ledger.Text(line.Hold), CostStream: ledger.Text(line.Stream), CostCredit: ledger.Text(line.Credit)}
		if sizes && line.SizeMiB != nil {
			l.SizeMiB = double(*line.SizeMiB)
		}
		e.Detail = append(e.Detail, l)
	}
	return e, nil
}

// stored writes the costs that were charged for a message.
func stored(rows []store.CostRow, payment message.PaymentType, owner string, sizes map[string]any) (*estimated, error) {
	e := &estimated{PaymentType: payment, ChargedAddress: owner, Detail: []costLine{}}
	var column []string
	for i := range rows {
		row := &rows[i]
		switch payment {
		case message.PaymentCredit:
			column = append(column, row.Credit)
		case message.PaymentSuperfluid:
			column = append(column, row.Stream)
		default:
			column = append(column, row.Hold)
		}
		e.Detail = append(e.Detail, costLine{row.Type, row.Name, row.Hold, row.Stream, row.Credit, sizes[row.Type+"/"+row.Name]})
	}
	sortLines(e.Detail)
	total, err := ledger.Sum(column...)
	if err != nil {
		return nil, err
	}
	e.RequiredTokens, e.Cost = double(ledger.Float(total)), ledger.Text(total)
	return e, nil
}

// costs computes what a content costs at the prices that are in force.
func (a *API) costs(r *store.Reader, sizes ledger.FileSizer, hash message.Hash, content message.Content) (*ledger.Costs, error) {
	var parts [2][]byte
	for i, key := range a.cfg.Params.Pricing.Keys[:2] {
		row, err := r.Aggregate(a.cfg.Params.Pricing.Addresses[0], key)
		if err != nil {
			return nil, err
		}
		if row != nil {
			parts[i] = []byte(row.Content)
		}
	}
	table, err := ledger.NewTable(a.cfg.Params, parts[0], parts[1])
	if err != nil {
		return nil, err
	}
	return ledger.Cost(sizes, table, hash, content)
}

// sizes computes the sizes of the components of a content, by type and name.
func (a *API) sizes(r *store.Reader, hash message.Hash, content message.Content) (map[string]any, error) {
	c, err := a.costs(r, r, hash, content)
	if err != nil {
		return nil, err
	}
	sizes := map[string]any{}
	for _, line := range c.Lines {
		if line.SizeMiB != nil {
			sizes[line.Type+"/"+line.Name] = double(*line.SizeMiB)
		}
	}
	return sizes, nil
}

func charged(t message.Type) bool {
	switch t {
	case message.TypeStore, message.TypeProgram, message.TypeInstance, message.TypeVProgram:
		return true
	}
	return false
}

// getPrice tells what a message costs, whatever became of it (ccn-api §11.2).
func (a *API) getPrice(w http.ResponseWriter, r *http.Request, q *arguments) error {
	sizes, _ := q.text("include_size")
	if q.err != nil {
		return q.err
	}
	withSizes := strings.EqualFold(sizes, "true")
	hash, err := pathHash(r)
	if err != nil {
		return err
	}
	var answer *estimated
	err = a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		answer, err = a.priceOf(rd, hash, withSizes)
		return err
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, answer)
}

func (a *API) priceOf(r *store.Reader, hash message.Hash, withSizes bool) (*estimated, error) {
	if err := a.priceable(r, hash); err != nil {
		return nil, err
	}
	row, err := r.Message(hash)
	if err != nil {
		return nil, err
	}
	if row == nil {
		return a.priceOfRemains(r, hash, withSizes)
	}
	if !charged(row.Message.Type) {
		return nil, refuse(http.StatusBadRequest, "Message is not an executable or store message: %s", hash)
	}
	content, err := message.ParseContent(row.Message.Type, row.Content)
	if err != nil {
		return nil, fmt.Errorf("content of processed message %s: %w", hash, err)
	}
	rows, err := r.Costs(hash)
	if err != nil {
		return nil, err
	}
	var sizes map[string]any
	if withSizes {
		if sizes, err = a.sizes(r, hash, content); err != nil {
			return nil, err
		}
	}
	return stored(rows, ledger.PaymentType(content), row.Owner, sizes)
}

// priceable refuses messages in states that have no price. The answer for a pending one is final: the reference's, an
// informational status, leaves clients waiting.
func (a *API) priceable(r *store.Reader, hash message.Hash) error {
	status, _, err := r.Status(hash)
	if err != nil {
		return err
	}
	switch status {
	case message.StatusPending:
		return refuse(http.StatusNotFound, "Message still pending: %s", hash)
	case message.StatusRejected:
		return refuse(http.StatusNotFound, "This message was rejected: %s", hash)
	case "":
		return refuse(http.StatusNotFound, "Message not found with hash: %s", hash)
	}
	return nil
}

// snapshot is a file of which only the size is known.
type snapshot int64

func (s snapshot) FileSize(message.Hash) (int64, bool, error) { return int64(s), true, nil }

func (s snapshot) ReferencedFile(ref message.Hash, _ bool) (message.Hash, int64, bool, error) {
	return ref, int64(s), true, nil
}

// priceOfRemains tells what a forgotten or removed file would cost, from what is kept of it for billing.
func (a *API) priceOfRemains(r *store.Reader, hash message.Hash, withSizes bool) (*estimated, error) {
	what, owner, payment := "forgotten", "", ""
	var typ message.Type
	var size *int64
	forgotten, err := r.Forgotten(hash)
	if err != nil {
		return nil, err
	}
	if forgotten != nil {
		typ, owner, payment, size = forgotten.Message.Type, forgotten.Owner, forgotten.PaymentType, forgotten.Size
	} else {
		removed, err := r.Removed(hash)
		if err != nil {
			return nil, err
		}
		if removed == nil {
			return nil, refuse(http.StatusNotFound, "Message not found with hash: %s", hash)
		}
		what = "removed"
		typ, owner, payment, size = removed.Message.Type, removed.Owner, removed.PaymentType, removed.Size
	}
	if typ != message.TypeStore || owner == "" || size == nil {
		return nil, refuse(http.StatusGone, "This message has been %s: %s", what, hash)
	}
	content := &message.Store{FileHash: hash}
	content.Address = owner
	if payment != "" {
		content.Payment = &message.Payment{Type: message.PaymentType(payment)}
	}
	costs, err := a.costs(r, snapshot(*size), hash, content)
	if err != nil {
		return nil, err
	}
	return estimate(costs, owner, withSizes)
}

// estimatePrice tells what a message would cost; its signature does not matter (ccn-api §11.3).
func (a *API) estimatePrice(w http.ResponseWriter, r *http.Request) error {
	body, err := a.readBody(w, r, maxBody)
	if err != nil {
		return err
	}
	defer body.release()
	var request struct {
		Message *struct {
			Type        message.Type     `json:"type"`
			ItemType    message.ItemType `json:"item_type"`
			ItemHash    message.Hash     `json:"item_hash"`
			ItemContent *string          `json:"item_content"`
		} `json:"message"`
	}
	invalidMessage := refuse(http.StatusUnprocessableEntity, "InvalidMessageFormat")
	if json.Unmarshal(body.bytes, &request) != nil || request.Message == nil || !charged(request.Message.Type) || request.Message.ItemHash.Kind() == "" {
		return invalidMessage
	}
	m := request.Message
	var raw []byte
	switch {
	case m.ItemContent != nil && (m.ItemType == "" || m.ItemType == message.ItemInline):
		if message.HashBytes([]byte(*m.ItemContent)) != m.ItemHash {
			return invalidMessage
		}
		raw = []byte(*m.ItemContent)
	case m.ItemType == m.ItemHash.Kind():
		if raw, err = a.content(r.Context(), m.ItemHash); err != nil {
			return err
		}
	default:
		return invalidMessage
	}
	content, err := message.ParseContentRelaxed(m.Type, raw)
	if err != nil {
		return invalidMessage
	}
	return a.replyEstimate(w, r.Context(), m.ItemHash, content)
}

// maxContent bounds, in bytes, a message content that is read from a file.
const maxContent = 16 << 20

// content reads the content of a message that is not inline.
func (a *API) content(ctx context.Context, hash message.Hash) ([]byte, error) {
	f, size, err := a.cfg.Files.Open(ctx, hash)
	if errors.Is(err, files.ErrNotFound) {
		if err := a.fetch(ctx, hash); err != nil {
			return nil, err
		}
		f, size, err = a.cfg.Files.Open(ctx, hash)
	}
	if errors.Is(err, files.ErrNotFound) {
		return nil, refuse(http.StatusNotFound, "404: Content of %s is not available", hash)
	}
	if err != nil {
		return nil, fmt.Errorf("open content %s: %w", hash, err)
	}
	defer f.Close()
	if size > maxContent {
		return nil, refuse(http.StatusUnprocessableEntity, "InvalidMessageFormat")
	}
	raw, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read content %s: %w", hash, err)
	}
	return raw, nil
}

// fetch gets a content from elsewhere, as long as a client waits for it. That nobody has it is no error.
func (a *API) fetch(ctx context.Context, hash message.Hash) error {
	if a.cfg.Fetch == nil {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, a.limits.Stat)
	defer cancel()
	_, err := a.cfg.Fetch(within, hash, maxContent)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case within.Err() != nil:
		return refuse(http.StatusGatewayTimeout, "504: Timed out waiting for the content of %s", hash)
	case err != nil:
		a.cfg.Logger.Debug("content not fetched for a price", "message", hash, "error", err)
	}
	return nil
}

// estimateInstance tells what an instance with the content in the body would cost (ccn-api §11.4).
func (a *API) estimateInstance(w http.ResponseWriter, r *http.Request) error {
	body, err := a.readBody(w, r, maxBody)
	if err != nil {
		return err
	}
	defer body.release()
	if !json.Valid(bytes.TrimSpace(body.bytes)) {
		return refuse(http.StatusBadRequest, "400: Invalid JSON body")
	}
	content, err := message.ParseContentRelaxed(message.TypeInstance, body.bytes)
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "invalid content of an instance: %v", err)
	}
	return a.replyEstimate(w, r.Context(), message.HashBytes(body.bytes), content)
}

func (a *API) replyEstimate(w http.ResponseWriter, ctx context.Context, hash message.Hash, content message.Content) error {
	var answer *estimated
	err := a.cfg.Store.Read(ctx, func(rd *store.Reader) error {
		costs, err := a.costs(rd, rd, hash, content)
		if err != nil {
			a.cfg.Logger.Warn("price not computed", "message", hash, "error", err)
			return refuse(http.StatusUnprocessableEntity, "the price cannot be computed: %v", err)
		}
		answer, err = estimate(costs, content.Base().Address, true)
		return err
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, answer)
}
