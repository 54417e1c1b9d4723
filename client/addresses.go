package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// AddressStats counts the messages that an address signed.
type AddressStats struct {
	Address   string `json:"-"`
	Messages  int64  `json:"messages"` // of all types
	Post      int64  `json:"post"`
	Aggregate int64  `json:"aggregate"`
	Store     int64  `json:"store"`
	Program   int64  `json:"program"`
	Instance  int64  `json:"instance"`
	Forget    int64  `json:"forget"`
}

// AddressStats walks through the addresses that signed messages, those with the most first. contains selects by a part of the
// address, "" selects all.
func (c *Client) AddressStats(ctx context.Context, contains string) iter.Seq2[AddressStats, error] {
	const perPage = 200
	return func(yield func(AddressStats, error) bool) {
		for page := 1; ; page++ {
			q := url.Values{"page": {strconv.Itoa(page)}, "pagination": {strconv.Itoa(perPage)}}
			if contains != "" {
				q.Set("addressContains", contains)
			}
			var reply struct {
				Data object[AddressStats] `json:"data"`
			}
			if err := c.get(ctx, "/api/v1/addresses/stats.json", q, &reply); err != nil {
				yield(AddressStats{}, fmt.Errorf("list addresses: %w", err))
				return
			}
			for _, m := range reply.Data {
				m.value.Address = m.name
				if !yield(m.value, nil) {
					return
				}
			}
			if len(reply.Data) < perPage {
				return
			}
		}
	}
}

// OwnedFile is a file that a STORE message of an address keeps.
type OwnedFile struct {
	FileHash    message.Hash `json:"file_hash"`
	MessageHash message.Hash `json:"item_hash"`
	Size        int64        `json:"size"`    // bytes
	Type        string       `json:"type"`    // file or dir
	Created     float64      `json:"created"` // Unix seconds
}

// Files walks through the files of an address, the newest first. An address without files has none.
func (c *Client) Files(ctx context.Context, address string) iter.Seq2[*OwnedFile, error] {
	list := walk[*OwnedFile](ctx, c, "/api/v0/addresses/"+url.PathEscape(address)+"/files", "files", url.Values{}, 0)
	return func(yield func(*OwnedFile, error) bool) {
		for f, err := range list {
			if err != nil && isNotFound(err) || !yield(f, err) {
				return
			}
		}
	}
}

// PostTypes returns the types of the posts that address signed.
func (c *Client) PostTypes(ctx context.Context, address string) ([]string, error) {
	var reply struct {
		Types []string `json:"post_types"`
	}
	err := c.get(ctx, "/api/v0/addresses/"+url.PathEscape(address)+"/post_types", nil, &reply)
	return reply.Types, err
}

// Channels returns the channels that address sent messages to.
func (c *Client) Channels(ctx context.Context, address string) ([]string, error) {
	var reply struct {
		Channels []string `json:"channels"`
	}
	err := c.get(ctx, "/api/v0/addresses/"+url.PathEscape(address)+"/channels", nil, &reply)
	return reply.Channels, err
}

// ChainBalance is what an address holds on one chain, in ALEPH.
type ChainBalance struct {
	Address string      `json:"address"`
	Chain   string      `json:"chain"`
	Balance json.Number `json:"balance"`
}

// Balances walks through the token balances of all addresses. minimum is in ALEPH, 0 for all.
func (c *Client) Balances(ctx context.Context, minimum int64) iter.Seq2[*ChainBalance, error] {
	q := url.Values{}
	if minimum > 0 {
		q.Set("min_balance", strconv.FormatInt(minimum, 10))
	}
	return walk[*ChainBalance](ctx, c, "/api/v0/balances", "balances", q, 0)
}

// CreditEntry is one change of the credits of an address (ccn-api §9.5). Times are Unix seconds.
type CreditEntry struct {
	Amount        int64    `json:"amount"` // negative when credits went away
	PaymentMethod *string  `json:"payment_method"`
	Origin        *string  `json:"origin"` // who sent them, or what they were spent on
	OriginRef     *string  `json:"origin_ref"`
	Provider      *string  `json:"provider"`
	Token         *string  `json:"token"`
	Chain         *string  `json:"chain"`
	TxHash        *string  `json:"tx_hash"`
	Price         *float64 `json:"price"`
	Bonus         *int64   `json:"bonus_amount"`
	Ref           string   `json:"credit_ref"` // the message
	Index         int64    `json:"credit_index"`
	Expires       *float64 `json:"expiration_date"`
	Time          float64  `json:"message_timestamp"`
}

// CreditHistory walks through the changes of the credits of an address, the newest first. An address that never had any has none.
func (c *Client) CreditHistory(ctx context.Context, address string) iter.Seq2[*CreditEntry, error] {
	list := walk[*CreditEntry](ctx, c, "/api/v0/addresses/"+url.PathEscape(address)+"/credit_history", "credit_history", url.Values{}, 0)
	return func(yield func(*CreditEntry, error) bool) {
		for e, err := range list {
			if err != nil && isNotFound(err) || !yield(e, err) {
				return
			}
		}
	}
}

// CreditSummary adds up the credits of an address.
type CreditSummary struct {
	Entries  int64 `json:"entry_count"`
	Total    int64 `json:"total_amount"`
	Incoming int64 `json:"total_incoming"`
	Outgoing int64 `json:"total_outgoing"` // negative
}

// CreditSummary returns the sums of the credit history of address.
func (c *Client) CreditSummary(ctx context.Context, address string) (CreditSummary, error) {
	var s CreditSummary
	err := c.get(ctx, "/api/v0/addresses/"+url.PathEscape(address)+"/credit_history/summary", nil, &s)
	return s, err
}

// ConsumedCredits returns what a workload or file has cost so far.
func (c *Client) ConsumedCredits(ctx context.Context, hash message.Hash) (int64, error) {
	var reply struct {
		Credits int64 `json:"consumed_credits"`
	}
	err := c.get(ctx, "/api/v0/messages/"+url.PathEscape(string(hash))+"/consumed_credits", nil, &reply)
	return reply.Credits, err
}

// CreditTransfer is an amount of credits for an address. They end at Expires, unless that is the zero time.
type CreditTransfer struct {
	Address string
	Amount  int64
	Expires time.Time
}

// TransferCredits gives credits of the account to others. A network takes it from accounts that it lets do so.
func (c *Client) TransferCredits(ctx context.Context, by Account, to []CreditTransfer, o SendOptions) (*Sent, error) {
	type credit struct {
		Address    string `json:"address"`
		Amount     int64  `json:"amount"`
		Expiration *int64 `json:"expiration,omitempty"` // Unix milliseconds
	}
	credits := make([]credit, len(to))
	for i, t := range to {
		if t.Amount <= 0 {
			return nil, fmt.Errorf("transfer credits to %s: the amount must be above 0", t.Address)
		}
		credits[i] = credit{Address: t.Address, Amount: t.Amount}
		if !t.Expires.IsZero() {
			ms := t.Expires.UnixMilli()
			credits[i].Expiration = &ms
		}
	}
	content := map[string]any{"transfer": map[string]any{"credits": credits}}
	return c.SendPost(ctx, by, "aleph_credit_transfer", "", content, o)
}
