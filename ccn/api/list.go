package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

const (
	defaultPage    = 20
	maxCursorPage  = 200
	defaultHistory = 10
)

// filter reads the parameters that choose messages (ccn-api §3.1); unknown ones are ignored.
func filter(q url.Values) (store.MessageFilter, error) {
	f := store.MessageFilter{Descending: true}
	for _, list := range []struct {
		names []string
		to    *[]string
	}{
		{[]string{"msgTypes", "message_types", "msgType"}, &f.Types},
		{[]string{"addresses"}, &f.Senders}, {[]string{"owners"}, &f.Owners}, {[]string{"refs"}, &f.Refs},
		{[]string{"contentHashes", "content_hashes"}, &f.ContentHashes}, {[]string{"contentKeys", "content_keys"}, &f.ContentKeys},
		{[]string{"contentTypes", "content_types"}, &f.ContentTypes}, {[]string{"chains"}, &f.Chains},
		{[]string{"channels"}, &f.Channels}, {[]string{"tags"}, &f.Tags}, {[]string{"hashes"}, &f.Hashes},
		{[]string{"paymentTypes", "payment_types"}, &f.PaymentTypes},
	} {
		for _, name := range list.names {
			if q.Has(name) {
				*list.to = strings.Split(q.Get(name), ",")
			}
		}
	}
	for _, h := range slices.Concat(f.Hashes, f.ContentHashes) {
		if _, err := message.ParseHash(h); err != nil {
			return f, invalid("value_error", "hashes", err.Error(), h)
		}
	}
	for _, t := range f.Types {
		if !slices.Contains(message.Types(), message.Type(t)) {
			return f, invalid("enum", "msgTypes", "Input should be a message type", t)
		}
	}
	for _, bound := range []struct {
		names []string
		to    *message.Time
	}{{[]string{"startDate", "start_date"}, &f.Start}, {[]string{"endDate", "end_date"}, &f.End}} {
		for _, name := range bound.names {
			if !q.Has(name) {
				continue
			}
			seconds, err := strconv.ParseFloat(q.Get(name), 64)
			if err != nil || !(seconds >= 0 && seconds < 253402300800) {
				return f, invalid("float_parsing", name, "Input should be Unix seconds", q.Get(name))
			}
			*bound.to = message.TimeFromSeconds(seconds)
		}
	}
	if f.End != 0 && f.End < f.Start {
		return f, invalid("value_error", "endDate", "end date cannot be lower than start date", "")
	}
	for _, name := range []string{"sortOrder", "sort_order"} {
		switch q.Get(name) {
		case "", "-1":
		case "1":
			f.Descending = false
		default:
			return f, invalid("enum", name, "Input should be 1 or -1", q.Get(name))
		}
	}
	return f, nil
}

// page reads the size and the number of the page.
func page(q url.Values) (size, number int, err error) {
	size, number = defaultPage, 1
	for name, to := range map[string]*int{"pagination": &size, "page": &number} {
		if !q.Has(name) {
			continue
		}
		if *to, err = strconv.Atoi(q.Get(name)); err != nil || *to < 0 || name == "page" && *to < 1 {
			return 0, 0, invalid("int_parsing", name, "Input should be a valid integer that is not negative", q.Get(name))
		}
	}
	return size, number, nil
}

// listMessages lists messages in pages, or from a cursor (ccn-api §3.1, §1.8).
func (a *API) listMessages(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f, err := filter(q)
	if err != nil {
		return err
	}
	size, number, err := page(q)
	if err != nil {
		return err
	}
	full := q.Get("excludeContent") != "true" && (q.Get("contentFormat") == "" || q.Get("contentFormat") == "full")
	cursor := q.Has("cursor")
	if cursor {
		if size == 0 {
			return refuse(http.StatusUnprocessableEntity, "pagination=0 is not allowed with cursor-based pagination")
		}
		size = min(size, maxCursorPage)
		if text := q.Get("cursor"); text != "" {
			if f.AfterTime, f.AfterHash, err = decodeCursor(text); err != nil {
				return err
			}
		}
		f.Limit = size + 1
	} else if size > 0 {
		f.Limit, f.Offset = size, size*(number-1)
	}
	list := []listed{}
	total := 0
	err = a.cfg.Store.Read(r.Context(), func(rd *store.Reader) error {
		rows, err := rd.ListMessages(f)
		if err != nil {
			return err
		}
		for i := range rows {
			l := inList(&rows[i])
			if !full {
				l.Content = nil
			}
			list = append(list, l)
		}
		if cursor {
			return nil
		}
		if total = f.Offset + len(list); size > 0 && len(list) == size {
			total, err = rd.CountMessages(f)
		}
		return err
	})
	if err != nil {
		return err
	}
	if cursor {
		var next *string
		if len(list) > size {
			list = list[:size]
			text := encodeCursor(list[size-1].Time, list[size-1].ItemHash)
			next = &text
		}
		return reply(w, http.StatusOK, map[string]any{"messages": list, "next_cursor": next, "pagination_per_page": size})
	}
	return reply(w, http.StatusOK, map[string]any{
		"messages": list, "pagination_item": "messages", "pagination_page": number, "pagination_per_page": size, "pagination_total": total,
	})
}

// watchMessages sends the newest messages and then each that is processed (ccn-api §14.1).
func (a *API) watchMessages(w http.ResponseWriter, r *http.Request) error {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return refuse(http.StatusBadRequest, "No WebSocket UPGRADE hdr: open this address as a WebSocket")
	}
	q := r.URL.Query()
	f, err := filter(q)
	if err != nil {
		return err
	}
	history := defaultHistory
	if q.Has("history") {
		if history, err = strconv.Atoi(q.Get("history")); err != nil || history < 0 || history >= 200 {
			return invalid("int_parsing", "history", "Input should be an integer from 0 to 199", q.Get("history"))
		}
	}
	// Subscribing before reading the history loses nothing in between; what is in both is sent once.
	events, cancel := a.cfg.Intake.Subscribe(1024)
	defer cancel()
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return nil // Accept has answered
	}
	defer conn.CloseNow()
	ctx := conn.CloseRead(r.Context())
	sent := make(map[message.Hash]bool)
	if history > 0 {
		f.Limit = history
		var rows []store.MessageRow
		if err := a.cfg.Store.Read(ctx, func(rd *store.Reader) (err error) { rows, err = rd.ListMessages(f); return err }); err != nil {
			conn.Close(websocket.StatusInternalError, "history not read")
			return nil
		}
		for i := range slices.Backward(rows) {
			sent[rows[i].Message.ItemHash] = true
			if send(ctx, conn, inList(&rows[i])) != nil {
				return nil
			}
		}
	}
	ping := time.NewTicker(30 * time.Second)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ping.C:
			late, cancel := context.WithTimeout(ctx, 15*time.Second)
			err := conn.Ping(late)
			cancel()
			if err != nil {
				return nil
			}
		case e, open := <-events:
			if !open {
				conn.Close(websocket.StatusGoingAway, "the node stops")
				return nil
			}
			if e.Status != message.StatusProcessed || e.Origin == intake.OriginChain || e.Message == nil || sent[e.Hash] || !live(f, e) {
				continue
			}
			l := inList(&store.MessageRow{Message: *e.Message, Content: e.Raw})
			l.Size = nil
			if send(ctx, conn, l) != nil {
				return nil
			}
		}
	}
}

func send(ctx context.Context, conn *websocket.Conn, l listed) error {
	raw, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, raw)
}

// live applies the filters that need no store.
func live(f store.MessageFilter, e intake.Event) bool {
	pass := func(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }
	channel := ""
	if e.Message.Channel != nil {
		channel = *e.Message.Channel
	}
	if !pass(f.Types, string(e.Message.Type)) || !pass(f.Senders, e.Message.Sender) || !pass(f.Hashes, string(e.Hash)) ||
		!pass(f.Chains, string(e.Message.Chain)) || !pass(f.Channels, channel) {
		return false
	}
	if e.Content == nil {
		return false
	}
	if !pass(f.Owners, e.Content.Base().Address) {
		return false
	}
	var ref, contentType, contentHash, key string
	switch c := e.Content.(type) {
	case *message.Post:
		ref, contentType = c.Ref, c.PostType
	case *message.Store:
		ref, contentHash = c.Ref, string(c.FileHash)
	case *message.Aggregate:
		key = c.Key
	case *message.Program:
		contentType = c.ProgramType
	}
	return pass(f.Refs, ref) && pass(f.ContentTypes, contentType) && pass(f.ContentHashes, contentHash) && pass(f.ContentKeys, key)
}
