package api

import (
	"context"
	"encoding/json"
	"io"
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

// postMessage takes a message in (ccn-api §4.1). Whatever it answers, the message is on disk.
func (a *API) postMessage(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return err
	}
	var submission struct {
		Message json.RawMessage `json:"message"`
		Sync    bool            `json:"sync"`
	}
	if err := json.Unmarshal(body, &submission); err != nil {
		return &fault{status: http.StatusUnprocessableEntity}
	}
	if len(submission.Message) == 0 || submission.Message[0] != '{' {
		return invalid("missing", "message", "Field required: a message object", "")
	}
	answer, status, err := a.submit(r.Context(), submission.Message, submission.Sync)
	if err != nil {
		return err
	}
	return reply(w, status, answer)
}

// submit hands an envelope to intake and, once accepted, to the other nodes.
func (a *API) submit(ctx context.Context, envelope []byte, sync bool) (published, int, error) {
	if _, _, err := message.Parse(envelope); err != nil {
		return published{}, 0, refuse(http.StatusUnprocessableEntity, "InvalidMessageFormat")
	}
	// A client that leaves does not take its message back.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), syncTimeout)
	defer cancel()
	out, err := a.cfg.Intake.Submit(ctx, envelope, intake.OriginAPI)
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
