package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/message"
)

const (
	maxBody     = 1 << 20
	syncTimeout = 30 * time.Second
)

// published is the answer to a message (ccn-api §4.1).
type published struct {
	Publication publication     `json:"publication_status"`
	Status      *message.Status `json:"message_status"`
}

type publication struct {
	Status string   `json:"status"`
	Failed []string `json:"failed"`
}

func (a *API) publishRoutes() routes {
	return routes{
		"POST /api/v0/messages":        long{plain(a.postMessage)},
		"POST /api/v0/ipfs/pubsub/pub": long{plain(a.postLegacy)},
		"POST /api/v0/p2p/pubsub/pub":  long{plain(a.postLegacy)},
	}
}

// postMessage takes a message in (ccn-api §4.1). Whatever it answers, the message is on disk.
func (a *API) postMessage(w http.ResponseWriter, r *http.Request) error {
	body, err := a.readBody(w, r, maxBody)
	if err != nil {
		return err
	}
	defer body.release()
	answer, status, err := a.publish(r.Context(), body.bytes)
	if err != nil {
		return err
	}
	return reply(w, status, answer)
}

// publish takes in the message of a body, which is the caller's again when it returns.
func (a *API) publish(ctx context.Context, body []byte) (published, int, error) {
	if envelope, sync, ok := plainSubmission(body); ok {
		envelope = bytes.Clone(envelope)
		if m, content, err := message.Parse(envelope); err == nil { // it is one value, and so was the body
			return a.submitParsed(ctx, m, content, envelope, sync)
		}
	}
	submission, err := readSubmission(body)
	if err != nil {
		return published{}, 0, err
	}
	if len(submission.Message) == 0 || submission.Message[0] != '{' {
		return published{}, 0, invalid("missing", "message", "Field required: a message object", "")
	}
	sync := false
	if submission.Sync != nil && json.Unmarshal(submission.Sync, &sync) != nil {
		return published{}, 0, invalid("bool_type", "sync", "Input should be a valid boolean", string(submission.Sync))
	}
	return a.submit(ctx, submission.Message, sync)
}

// plainSubmission splits a body of the form {"sync":true,"message":{…}}, which nearly all have, sync being there or not. It does
// not read the message: whether that is one value, and nothing follows it, its parser says.
func plainSubmission(body []byte) (envelope []byte, sync, ok bool) {
	const space = " \t\r\n"
	rest := body
	next := func(token string) bool {
		trimmed := bytes.TrimLeft(rest, space)
		after, found := bytes.CutPrefix(trimmed, []byte(token))
		if found {
			rest = after
		}
		return found
	}
	if !next("{") {
		return nil, false, false
	}
	if next(`"sync"`) {
		if !next(":") {
			return nil, false, false
		}
		if sync = next("true"); !sync && !next("false") || !next(",") {
			return nil, false, false
		}
	}
	if !next(`"message"`) || !next(":") {
		return nil, false, false
	}
	envelope, ok = bytes.CutSuffix(bytes.Trim(rest, space), []byte("}"))
	return envelope, sync, ok && bytes.HasPrefix(envelope, []byte("{"))
}

// submission is the body of postMessage. Its texts are its own.
type submission struct {
	Message json.RawMessage `json:"message"`
	Sync    json.RawMessage `json:"sync"`
}

// readSubmission reads a body. Nearly all are read in one pass; the rest is left to who knows every rule.
func readSubmission(body []byte) (s submission, err error) {
	if readPlainSubmission(body, &s) {
		return s, nil
	}
	s = submission{}
	if err := json.Unmarshal(body, &s); err != nil {
		if json.Valid(body) {
			return s, invalid("model_type", "body", "Input should be a valid dictionary", "")
		}
		return s, &fault{status: http.StatusUnprocessableEntity}
	}
	return s, nil
}

// readPlainSubmission reads an object whose members have the names that are in the specification.
func readPlainSubmission(body []byte, s *submission) (ok bool) {
	d := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if start, err := d.ReadToken(); err != nil || start.Kind() != '{' {
		return false
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadValue()
		if err != nil {
			return false
		}
		var member *json.RawMessage
		switch string(name) {
		case `"message"`:
			member = &s.Message
		case `"sync"`:
			member = &s.Sync
		default:
			return false
		}
		value, err := d.ReadValue()
		if err != nil {
			return false
		}
		*member = json.RawMessage(value.Clone())
	}
	if end, err := d.ReadToken(); err != nil || end.Kind() != '}' {
		return false
	}
	_, err := d.ReadToken()
	return errors.Is(err, io.EOF) && s.Message != nil
}

// postLegacy takes a message that is sent as to a broker (ccn-api §4.2).
func (a *API) postLegacy(w http.ResponseWriter, r *http.Request) error {
	body, err := a.readBody(w, r, maxBody)
	if err != nil {
		return err
	}
	defer body.release()
	var submission struct {
		Topic string          `json:"topic"`
		Data  json.RawMessage `json:"data"`
	}
	// Bytes that are no text would become others, and what nobody signs would not be what was sent.
	if !utf8.Valid(body.bytes) || json.Unmarshal(body.bytes, &submission) != nil {
		return &fault{status: http.StatusUnprocessableEntity}
	}
	if topic := a.cfg.Params.MessageTopic; submission.Topic != topic {
		return refuse(http.StatusForbidden, "403: Unauthorized P2P topic: %s. Use %s.", submission.Topic, topic)
	}
	var data string
	if len(submission.Data) == 0 || submission.Data[0] != '"' || json.Unmarshal(submission.Data, &data) != nil {
		return refuse(http.StatusUnprocessableEntity, "422: 'data': expected a serialized JSON string.")
	}
	if !json.Valid([]byte(data)) {
		return refuse(http.StatusUnprocessableEntity, "422: 'data': must be deserializable as JSON.")
	}
	answer, _, err := a.submit(r.Context(), []byte(data), false)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, answer.Publication)
}

// submit hands an envelope to intake and, once accepted, to the other nodes.
func (a *API) submit(ctx context.Context, envelope []byte, sync bool) (published, int, error) {
	m, content, err := message.Parse(envelope)
	if err != nil {
		return published{}, 0, refuse(http.StatusUnprocessableEntity, "InvalidMessageFormat")
	}
	return a.submitParsed(ctx, m, content, envelope, sync)
}

// submitParsed is submit of an envelope that was parsed.
func (a *API) submitParsed(ctx context.Context, m *message.Message, content message.Content, envelope []byte, sync bool) (published, int, error) {
	// A client that leaves does not take its message back.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), syncTimeout)
	defer cancel()
	out, err := a.cfg.Intake.SubmitParsed(ctx, m, content, envelope, intake.OriginAPI, sync)
	if err != nil {
		return published{}, 0, err
	}
	answer := published{Publication: publication{Status: "success", Failed: []string{}}, Status: &out.Status}
	if out.Status != message.StatusRejected && !out.Duplicate {
		if err := a.cfg.Publish(ctx, envelope); err != nil {
			a.cfg.Logger.Warn("message accepted, not gossiped", "message", out.Hash, "error", err)
			answer.Publication = publication{Status: "warning", Failed: []string{"p2p"}}
		}
	}
	if !sync {
		pending := message.StatusPending
		answer.Status = &pending
		return answer, http.StatusAccepted, nil
	}
	switch out.Status {
	case message.StatusProcessed, message.StatusRemoving:
		return answer, http.StatusOK, nil
	case message.StatusRejected:
		return answer, http.StatusUnprocessableEntity, nil
	}
	return answer, http.StatusAccepted, nil
}
