package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/aleph-im/aleph-go/ccn/ledger"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// listed is a message as lists show it: exactly these members (ccn-api §3.1).
type listed struct {
	Chain         message.Chain    `json:"chain"`
	Channel       *string          `json:"channel"`
	Confirmations []confirmation   `json:"confirmations"`
	Confirmed     bool             `json:"confirmed"`
	Content       json.RawMessage  `json:"content,omitempty"`
	ItemContent   *string          `json:"item_content"`
	ItemHash      message.Hash     `json:"item_hash"`
	ItemType      message.ItemType `json:"item_type"`
	Sender        string           `json:"sender"`
	Signature     *string          `json:"signature"`
	Size          *int64           `json:"size,omitempty"`
	Time          message.Time     `json:"time"`
	Type          message.Type     `json:"type"`
}

type confirmation struct {
	Chain  message.Chain `json:"chain"`
	Hash   string        `json:"hash"`
	Height int64         `json:"height"`
}

// inList shows a stored message as lists do.
func inList(row *store.MessageRow) listed {
	m := &row.Message
	l := listed{
		Chain: m.Chain, Channel: m.Channel, Confirmations: []confirmation{}, Content: row.Content, ItemHash: m.ItemHash,
		ItemType: m.ItemType, Sender: m.Sender, Size: &row.Size, Time: m.Time, Type: m.Type,
	}
	if m.ItemType == message.ItemInline {
		l.ItemContent = &m.ItemContent
	}
	if m.Signature != "" {
		l.Signature = &m.Signature
	}
	for _, c := range row.Confirmations {
		l.Confirmations = append(l.Confirmations, confirmation{c.Chain, c.TxHash, c.Height})
	}
	l.Confirmed = len(l.Confirmations) > 0
	return l
}

// pathHash reads the hash of a message from the path.
func pathHash(r *http.Request) (message.Hash, error) {
	text := r.PathValue("hash")
	hash, err := message.ParseHash(text)
	if err != nil {
		return "", refuse(http.StatusBadRequest, "Invalid message hash: %s", text)
	}
	return hash, nil
}

// getMessage shows a message in whatever state it is (ccn-api §3.3).
func (a *API) getMessage(w http.ResponseWriter, r *http.Request) error {
	hash, err := pathHash(r)
	if err != nil {
		return err
	}
	answer := map[string]any{"item_hash": hash}
	err = a.cfg.Store.Read(r.Context(), func(rd *store.Reader) error {
		status, received, err := rd.Status(hash)
		if err != nil {
			return err
		}
		answer["status"], answer["reception_time"] = status, received.RFC3339()
		switch status {
		case message.StatusProcessed, message.StatusRemoving:
			row, err := rd.Message(hash)
			if err != nil {
				return err
			}
			l := inList(row)
			l.Size = nil
			answer["message"] = l
			if status == message.StatusRemoving {
				answer["reason"] = "balance_insufficient"
				if row.PaymentType != nil && *row.PaymentType == string(message.PaymentCredit) {
					answer["reason"] = "credit_insufficient"
				}
			}
			return nil
		case message.StatusPending:
			rows, err := rd.Pending(hash)
			if err != nil {
				return err
			}
			var list []json.RawMessage
			for _, row := range rows {
				list = append(list, row.Envelope)
			}
			answer["messages"] = list
			return nil
		case message.StatusRejected:
			row, err := rd.Rejected(hash)
			if err != nil {
				return err
			}
			answer["message"], answer["error_code"], answer["details"] = row.Envelope, row.ErrorCode, row.Details
			return nil
		case message.StatusForgotten:
			row, err := rd.Forgotten(hash)
			if err != nil {
				return err
			}
			m := row.Message
			answer["message"] = map[string]any{
				"sender": m.Sender, "chain": m.Chain, "signature": m.Signature, "type": m.Type, "item_type": m.ItemType,
				"item_hash": m.ItemHash, "time": m.Time, "channel": m.Channel, "owner": row.Owner,
				"payment_type": row.PaymentType, "size": row.Size, "forgotten_at": row.ForgottenAt,
			}
			answer["forgotten_by"] = row.ForgottenBy
			return nil
		}
		return &fault{status: http.StatusNotFound}
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, answer)
}

// getStatus tells the state of a message (ccn-api §3.5).
func (a *API) getStatus(w http.ResponseWriter, r *http.Request) error {
	hash, err := pathHash(r)
	if err != nil {
		return err
	}
	var status message.Status
	var received message.Time
	err = a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		status, received, err = rd.Status(hash)
		return err
	})
	if err != nil {
		return err
	}
	if status == "" {
		return &fault{status: http.StatusNotFound}
	}
	return reply(w, http.StatusOK, map[string]any{"status": status, "item_hash": hash, "reception_time": received.RFC3339()})
}

// getAggregates shows what an address published under its keys (ccn-api §6.1).
func (a *API) getAggregates(w http.ResponseWriter, r *http.Request) error {
	address, ok := strings.CutSuffix(r.PathValue("file"), ".json")
	if !ok {
		return &fault{status: http.StatusNotFound}
	}
	q := r.URL.Query()
	var keys []string
	if q.Has("keys") && q.Get("with_info") != "true" {
		keys = strings.Split(q.Get("keys"), ",")
	}
	data := map[string]json.RawMessage{}
	info := map[string]any{}
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) error {
		if keys == nil {
			all, err := rd.AggregateKeys(address)
			if err != nil {
				return err
			}
			keys = all
		}
		for _, key := range keys {
			row, err := rd.Aggregate(address, key)
			if err != nil {
				return err
			}
			if row == nil {
				continue
			}
			data[key] = json.RawMessage(row.Content)
			if q.Get("with_info") == "true" {
				info[key] = map[string]any{
					"created": isoTime(row.Created), "last_updated": isoTime(row.LastUpdated),
					"original_item_hash": row.LastRevision, "last_update_item_hash": row.LastRevision,
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return refuse(http.StatusNotFound, "No aggregate found for this address")
	}
	if q.Get("value_only") == "true" && len(keys) == 1 {
		return reply(w, http.StatusOK, data[keys[0]])
	}
	return reply(w, http.StatusOK, map[string]any{"address": address, "data": data, "info": info})
}

func isoTime(seconds float64) string {
	t := message.TimeFromSeconds(seconds)
	return strings.TrimSuffix(t.RFC3339(), "Z") + "+00:00"
}

// holdings returns the tokens that an address has and those that its resources take.
func holdings(r *store.Reader, address string) (held, locked *big.Rat, err error) {
	held, locked = new(big.Rat), new(big.Rat)
	rows, err := r.Balances(address)
	if err != nil {
		return nil, nil, err
	}
	for _, row := range rows {
		amount, ok := new(big.Rat).SetString(row.Balance)
		if !ok {
			return nil, nil, fmt.Errorf("balance of %s is not a number: %q", address, row.Balance)
		}
		if row.Dapp == "" {
			held.Add(held, amount)
		}
	}
	costs, err := r.AccountCosts(address, message.PaymentHold)
	if err != nil {
		return nil, nil, err
	}
	for _, cost := range costs {
		amount, ok := new(big.Rat).SetString(cost.Hold)
		if !ok {
			return nil, nil, fmt.Errorf("cost of %s is not a number: %q", cost.Hash, cost.Hold)
		}
		locked.Add(locked, amount)
	}
	return held, locked, nil
}

func number(r *big.Rat) json.Number {
	f, _ := r.Float64()
	return json.Number(strconv.FormatFloat(f, 'f', -1, 64))
}

// getBalance shows what an address holds (ccn-api §10.1).
func (a *API) getBalance(w http.ResponseWriter, r *http.Request) error {
	address := r.PathValue("address")
	chain := message.Chain(r.URL.Query().Get("chain"))
	if chain != "" && !slices.Contains(message.Chains(), chain) {
		return invalid("enum", "chain", "Input should be a chain code", string(chain))
	}
	details := map[string]json.Number{}
	var held, locked *big.Rat
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		if held, locked, err = holdings(rd, address); err != nil {
			return err
		}
		rows, err := rd.Balances(address)
		for _, row := range rows {
			amount, _ := new(big.Rat).SetString(row.Balance) // holdings has read it
			if row.Dapp != "" {
				continue
			}
			if chain == "" {
				details[string(row.Chain)] = number(amount)
			} else if row.Chain == chain {
				held = amount
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{
		"address": address, "balance": number(held), "details": details, "locked_amount": number(locked),
		"credit_balance": 0, "credit_balance_details": nil,
	})
}

// costs computes what a content costs, at the prices that are in force.
func (a *API) costs(r *store.Reader, hash message.Hash, content message.Content) (*ledger.Costs, error) {
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
	return ledger.Cost(r, table, hash, content)
}

// priced is the answer to questions about prices (ccn-api §11.1).
func priced(c *ledger.Costs, owner string) (map[string]any, error) {
	total, err := c.Total()
	if err != nil {
		return nil, err
	}
	detail := []map[string]any{}
	for _, line := range c.Lines {
		detail = append(detail, map[string]any{
			"type": line.Type, "name": line.Name, "cost_hold": ledger.Text(line.Hold), "cost_stream": ledger.Text(line.Stream),
			"cost_credit": ledger.Text(line.Credit), "size_mib": line.SizeMiB,
		})
	}
	return map[string]any{
		"required_tokens": ledger.Float(total), "payment_type": c.PaymentType, "cost": ledger.Text(total),
		"charged_address": owner, "detail": detail,
	}, nil
}

// estimatePrice tells what a message would cost (ccn-api §11.3).
func (a *API) estimatePrice(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Message struct {
			Type        message.Type `json:"type"`
			ItemHash    message.Hash `json:"item_hash"`
			ItemContent *string      `json:"item_content"`
		} `json:"message"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&body); err != nil {
		return &fault{status: http.StatusUnprocessableEntity}
	}
	m := body.Message
	if m.ItemContent == nil || message.HashBytes([]byte(*m.ItemContent)) != m.ItemHash {
		return refuse(http.StatusUnprocessableEntity, "InvalidMessageFormat")
	}
	content, err := message.ParseContentRelaxed(m.Type, []byte(*m.ItemContent))
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "InvalidMessageFormat")
	}
	return a.price(w, r.Context(), m.ItemHash, content)
}

// getPrice tells what a message costs (ccn-api §11.2).
func (a *API) getPrice(w http.ResponseWriter, r *http.Request) error {
	hash, err := pathHash(r)
	if err != nil {
		return err
	}
	var row *store.MessageRow
	err = a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		row, err = rd.Message(hash)
		return err
	})
	if err != nil {
		return err
	}
	if row == nil {
		return refuse(http.StatusNotFound, "Message not found with hash: %s", hash)
	}
	content, err := message.ParseContent(row.Message.Type, row.Content)
	if err != nil {
		return fmt.Errorf("content of processed message %s: %w", hash, err)
	}
	return a.price(w, r.Context(), hash, content)
}

func (a *API) price(w http.ResponseWriter, ctx context.Context, hash message.Hash, content message.Content) error {
	switch content.Type() {
	case message.TypeStore, message.TypeProgram, message.TypeInstance, message.TypeVProgram:
	default:
		return refuse(http.StatusBadRequest, "Message is not an executable or store message: %s", hash)
	}
	var answer map[string]any
	err := a.cfg.Store.Read(ctx, func(rd *store.Reader) error {
		costs, err := a.costs(rd, hash, content)
		if err != nil {
			return err
		}
		answer, err = priced(costs, content.Base().Address)
		return err
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, answer)
}

func (a *API) getInfo(w http.ResponseWriter, _ *http.Request) error {
	addresses := a.cfg.Addresses()
	if addresses == nil {
		addresses = []string{}
	}
	return reply(w, http.StatusOK, map[string]any{"node_multi_addresses": addresses})
}

func (a *API) getVersion(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, map[string]string{"version": a.cfg.Version})
}

// canonicalJSON writes a JSON value compactly with sorted members, numbers and texts as they are.
func canonicalJSON(raw []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, errors.New("text follows the value")
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
