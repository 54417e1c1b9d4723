package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

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
	var submission struct {
		Message json.RawMessage `json:"message"`
		Sync    json.RawMessage `json:"sync"`
	}
	if err := json.Unmarshal(body.bytes, &submission); err != nil {
		if json.Valid(body.bytes) {
			return invalid("model_type", "body", "Input should be a valid dictionary", "")
		}
		return &fault{status: http.StatusUnprocessableEntity}
	}
	if len(submission.Message) == 0 || submission.Message[0] != '{' {
		return invalid("missing", "message", "Field required: a message object", "")
	}
	sync := false
	if submission.Sync != nil && json.Unmarshal(submission.Sync, &sync) != nil {
		return invalid("bool_type", "sync", "Input should be a valid boolean", string(submission.Sync))
	}
	answer, status, err := a.submit(r.Context(), submission.Message, sync)
	if err != nil {
		return err
	}
	return reply(w, status, answer)
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
	if json.Unmarshal(body.bytes, &submission) != nil {
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
