package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// pathHash reads the hash of a message from the path.
func pathHash(r *http.Request) (message.Hash, error) {
	text := r.PathValue("hash")
	hash, err := message.ParseHash(text)
	if err != nil {
		return "", refuse(http.StatusBadRequest, "Invalid message hash: %s", text)
	}
	return hash, nil
}

// reason tells why a message is being removed.
func reason(paymentType *string) string {
	if paymentType != nil && *paymentType == string(message.PaymentCredit) {
		return "credit_insufficient"
	}
	return "balance_insufficient"
}

// normalised returns the content of an applied message with every default of its model.
func normalised(m *message.Message, content []byte) ([]byte, error) {
	c, err := message.ParseContent(m.Type, content)
	if err != nil {
		return nil, fmt.Errorf("content of message %s: %w", m.ItemHash, err)
	}
	return message.Normalise(c)
}

// getMessage shows a message in whatever state it is (ccn-api §3.3).
func (a *API) getMessage(w http.ResponseWriter, r *http.Request) error {
	hash, err := pathHash(r)
	if err != nil {
		return err
	}
	var raw []byte
	err = a.cfg.Store.Read(r.Context(), func(rd *store.Reader) error {
		status, received, err := rd.Status(hash)
		if err != nil {
			return err
		}
		raw = fmt.Appendf(nil, `{"status":"%s","item_hash":"%s","reception_time":"%s"`, status, hash, received.RFC3339())
		raw, err = appendState(raw, rd, hash, status)
		return err
	})
	if err != nil {
		return err
	}
	return replyRaw(w, append(raw, '}'))
}

// appendState appends what else a message shows in its state.
func appendState(dst []byte, rd *store.Reader, hash message.Hash, status message.Status) ([]byte, error) {
	switch status {
	case message.StatusProcessed, message.StatusRemoving:
		row, err := rd.Message(hash)
		if err != nil {
			return nil, err
		}
		content, err := normalised(&row.Message, row.Content)
		if err != nil {
			return nil, err
		}
		dst = appendModel(append(dst, `,"message":`...), &row.Message, content, row.Confirmations)
		if status == message.StatusRemoving {
			dst = appendText(append(dst, `,"reason":`...), reason(row.PaymentType))
		}
		return dst, nil
	case message.StatusPending:
		rows, err := rd.Pending(hash)
		if err != nil {
			return nil, err
		}
		dst = append(dst, `,"messages":[`...)
		for i := range rows {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendPending(dst, &rows[i]); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case message.StatusRejected:
		row, err := rd.Rejected(hash)
		if err != nil {
			return nil, err
		}
		dst = append(append(dst, `,"message":`...), row.Envelope...)
		dst = strconv.AppendInt(append(dst, `,"error_code":`...), int64(row.ErrorCode), 10)
		dst = append(dst, `,"details":`...)
		if len(row.Details) == 0 {
			return append(dst, "null"...), nil
		}
		return append(dst, row.Details...), nil
	case message.StatusForgotten:
		row, err := rd.Forgotten(hash)
		if err != nil {
			return nil, err
		}
		by, err := json.Marshal(row.ForgottenBy)
		if err != nil {
			return nil, err
		}
		dst = appendRemains(append(dst, `,"message":`...), &row.Message, row.Owner, row.PaymentType, row.Size, "forgotten_at", row.ForgottenAt)
		return append(append(dst, `,"forgotten_by":`...), by...), nil
	case message.StatusRemoved:
		row, err := rd.Removed(hash)
		if err != nil {
			return nil, err
		}
		if row == nil {
			return nil, refuse(http.StatusGone, "This message has been removed: %s", hash)
		}
		dst = appendRemains(append(dst, `,"message":`...), &row.Message, row.Owner, row.PaymentType, row.Size, "removed_at", row.RemovedAt)
		dst = appendText(append(dst, `,"reason":`...), reason(&row.PaymentType))
		dst = ended(append(dst, `,"removed_at":`...), row.RemovedAt)
		return appendSize(append(dst, `,"size":`...), row.Size), nil
	}
	return nil, &fault{status: http.StatusNotFound}
}

// appendPending appends an envelope that waits. Unlike everywhere else its time is a text.
func appendPending(dst []byte, row *store.PendingRow) ([]byte, error) {
	m, content, err := message.Parse(row.Envelope)
	if err != nil {
		return nil, fmt.Errorf("pending message %s: %w", row.Hash, err)
	}
	text := []byte("null")
	if content != nil {
		if text, err = message.Normalise(content); err != nil {
			return nil, err
		}
	}
	dst = appendText(append(dst, `{"sender":`...), m.Sender)
	dst = appendText(append(dst, `,"chain":`...), m.Chain)
	dst = appendSignature(append(dst, `,"signature":`...), m)
	dst = appendText(append(dst, `,"type":`...), m.Type)
	dst = appendItem(append(dst, `,"item_content":`...), m)
	dst = appendText(append(dst, `,"item_type":`...), m.ItemType)
	dst = appendText(append(dst, `,"item_hash":`...), m.ItemHash)
	dst = appendText(append(dst, `,"time":`...), m.Time.RFC3339())
	dst = appendOptional(append(dst, `,"channel":`...), m.Channel)
	dst = append(append(dst, `,"content":`...), text...)
	dst = appendText(append(dst, `,"reception_time":`...), row.ReceptionTime.RFC3339())
	return append(dst, '}'), nil
}

func appendSize(dst []byte, size *int64) []byte {
	if size == nil {
		return append(dst, "null"...)
	}
	return strconv.AppendInt(dst, *size, 10)
}

func ended(dst []byte, t message.Time) []byte {
	if t == 0 {
		return append(dst, "null"...)
	}
	return t.AppendJSON(dst)
}

// appendRemains appends what is left of a message that is no more.
func appendRemains(dst []byte, m *message.Message, owner, payment string, size *int64, when string, at message.Time) []byte {
	dst = appendOptional(append(dst, `{"sender":`...), filled(&m.Sender))
	dst = appendOptional(append(dst, `,"chain":`...), filled((*string)(&m.Chain)))
	dst = appendOptional(append(dst, `,"signature":`...), filled(&m.Signature))
	dst = appendOptional(append(dst, `,"type":`...), filled((*string)(&m.Type)))
	dst = appendOptional(append(dst, `,"item_type":`...), filled((*string)(&m.ItemType)))
	dst = appendText(append(dst, `,"item_hash":`...), m.ItemHash)
	dst = ended(append(dst, `,"time":`...), m.Time)
	dst = appendOptional(append(dst, `,"channel":`...), m.Channel)
	dst = appendOptional(append(dst, `,"owner":`...), filled(&owner))
	dst = appendOptional(append(dst, `,"payment_type":`...), filled(&payment))
	dst = appendSize(append(dst, `,"size":`...), size)
	dst = ended(append(append(append(dst, `,"`...), when...), `":`...), at)
	return append(dst, '}')
}

// getContent shows the content of an applied message; of a POST what it says (ccn-api §3.4).
func (a *API) getContent(w http.ResponseWriter, r *http.Request) error {
	hash, err := pathHash(r)
	if err != nil {
		return err
	}
	var raw []byte
	err = a.cfg.Store.Read(r.Context(), func(rd *store.Reader) error {
		status, _, err := rd.Status(hash)
		switch {
		case err != nil:
			return err
		case status == "":
			return &fault{status: http.StatusNotFound}
		case status != message.StatusProcessed:
			return refuse(http.StatusUnprocessableEntity, "Message %s is not processed (status: MessageStatus.%s)", hash, strings.ToUpper(string(status)))
		}
		row, err := rd.Message(hash)
		if err != nil {
			return err
		}
		if row.Message.Type != message.TypePost {
			raw, err = normalised(&row.Message, row.Content)
			return err
		}
		c, err := message.ParseContent(message.TypePost, row.Content)
		if err != nil {
			return fmt.Errorf("content of message %s: %w", hash, err)
		}
		raw = inner(c.(*message.Post))
		return nil
	})
	if err != nil {
		return err
	}
	return replyRaw(w, raw)
}

// inner returns what a post says, as it was sent.
func inner(p *message.Post) []byte {
	if len(p.Content) == 0 {
		return []byte("null")
	}
	return p.Content
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
	return replyRaw(w, fmt.Appendf(nil, `{"status":"%s","item_hash":"%s","reception_time":"%s"}`, status, hash, received.RFC3339()))
}
