package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/meter"
	"github.com/aleph-im/aleph-go/message"
)

// Instances runs the virtual machines that owners ask this node for.
type Instances interface {
	logger
	// Has reports whether the node has the instance, in any state.
	Has(hash message.Hash) bool
	// Room reports whether the instance fits beside those there are. The error is [execution.ErrNoRoom].
	Room(instance *message.Instance) error
	// Start starts the instance unless it runs, and returns when it does.
	Start(ctx context.Context, hash message.Hash) error
	// Update reads the ports and names again that its owner wants for it.
	Update(ctx context.Context, hash message.Hash) error
	// Recreate sets the network of all instances anew, with the ports that their owners want now.
	Recreate(ctx context.Context) (done []message.Hash, failed map[message.Hash]error, err error)
	// Allocate carries out the scheduler's whole plan of instances; those that leave go on until they are fetched.
	Allocate(ctx context.Context, plan []message.Hash, leaving ...message.Hash) instance.Outcome
	List() []instance.Info
	mover
	replicator
	confidential
	cardholder
	// RestoreFile replaces the root disk by an image that is read, of size bytes or an unknown number of them (-1), and starts the
	// instance. The error tells whether the image is why: instance.ErrImage, ErrTooLong, ErrTooLarge, ErrNoRoom.
	RestoreFile(ctx context.Context, hash message.Hash, image io.Reader, size int64) error
	// RestoreVolume does the same from a file of the network.
	RestoreVolume(ctx context.Context, hash, ref message.Hash) error
	// Memory returns what instances have and may have together, in MiB.
	Memory() (used, limit int)
}

// notify answers POST /control/allocation/notify: an owner asks for an instance that it pays this node for (spec/crn.md §2.7.1).
func (s *Server) notify(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var members map[string]json.RawMessage
	if err != nil || !json.Valid(body) {
		fail(w, http.StatusBadRequest, "Body is not valid JSON")
		return
	}
	hash, problems := message.Hash(""), []problem(nil)
	if json.Unmarshal(body, &members) != nil || members == nil {
		problems = []problem{{Loc: []any{}, Msg: "Input should be an object", Type: "model_type", Input: json.RawMessage(body)}}
	} else if raw, ok := members["instance"]; !ok {
		problems = []problem{{Loc: []any{"instance"}, Msg: "Field required", Type: "missing", Input: members}}
	} else {
		hash, problems = parseItem(raw, "instance")
	}
	if len(problems) > 0 {
		// Clients read a JSON text that holds the list.
		text, err := json.Marshal(problems)
		if err != nil {
			fail(w, http.StatusInternalServerError, err.Error())
			return
		}
		answer(w, http.StatusBadRequest, string(text))
		return
	}
	workload, err := s.comingWorkload(r.Context(), hash)
	if err != nil {
		status, text := refusal(err)
		fail(w, status, text)
		return
	}
	if status, text := s.admit(r.Context(), workload); status != 0 {
		fail(w, status, text)
		return
	}
	if err := s.cfg.Instances.Start(r.Context(), hash); err != nil {
		answer(w, http.StatusServiceUnavailable, map[string]any{
			"success": false, "successful": false, "failing": []message.Hash{hash}, "errors": map[message.Hash]string{hash: err.Error()},
		})
		return
	}
	answer(w, http.StatusOK, map[string]any{"success": true, "successful": true, "failing": []message.Hash{}, "errors": struct{}{}})
}

// A notice follows on the message by milliseconds, which may be on its way from another core node to this node's.
const (
	messageComes = 3 * time.Second
	askAgain     = 250 * time.Millisecond
)

// comingWorkload returns a message, and waits a moment for one that is not there.
func (s *Server) comingWorkload(ctx context.Context, hash message.Hash) (*corenode.Workload, error) {
	over := time.NewTimer(messageComes)
	defer over.Stop()
	for {
		workload, err := s.cfg.Network.Workload(ctx, hash)
		if !errors.Is(err, corenode.ErrNotFound) {
			return workload, err
		}
		select {
		case <-time.After(askAgain):
		case <-over.C:
			return nil, err
		case <-ctx.Done():
			return nil, err
		}
	}
}

// admit decides whether a workload is an instance for this node that fits and is paid for. A status of 0 is a yes.
func (s *Server) admit(ctx context.Context, workload *corenode.Workload) (status int, text string) {
	instance, ok := workload.Content.(*message.Instance)
	if !ok {
		return http.StatusBadRequest, "400: Message is not an instance"
	}
	wanted, err := s.wanted(ctx, workload.Hash, instance)
	if err != nil {
		return refusal(err)
	}
	if wanted != "" {
		own := s.cfg.Identity.Hash()
		if own == "" {
			return http.StatusServiceUnavailable, "503: Node hash not yet discovered, cannot accept targeted allocations"
		}
		if wanted != own {
			return http.StatusBadRequest, "400: Instance is allocated to a different node"
		}
	}
	if s.cfg.Instances == nil {
		return http.StatusServiceUnavailable, "This CRN cannot host the requested instance at this time."
	}
	if !s.cfg.Instances.Has(workload.Hash) {
		if err := s.cfg.Instances.Room(instance); errors.Is(err, execution.ErrNoRoom) {
			return http.StatusServiceUnavailable, "This CRN cannot host the requested instance at this time."
		} else if err != nil {
			return http.StatusBadRequest, err.Error()
		}
	}
	err = s.cfg.Meter.Admit(ctx, workload)
	var no *meter.Refusal
	switch {
	case errors.As(err, &no) && no.Unpaid:
		return http.StatusPaymentRequired, no.Reason
	case errors.As(err, &no):
		return http.StatusBadRequest, no.Reason
	case err != nil:
		return http.StatusServiceUnavailable, "Payment is not known: " + err.Error()
	}
	return 0, ""
}

// wishesKey is the aggregate in which owners say on which nodes their instances are to be, by hash (decision 0038).
const wishesKey = "instance-nodes"

// wanted returns the node that the owner of an instance wants it on; empty for any. What it says later counts more than the message of
// the instance, unless that is paid by a stream, which goes to one node.
func (s *Server) wanted(ctx context.Context, hash message.Hash, instance *message.Instance) (node message.Hash, err error) {
	if r := instance.Requirements; r != nil && r.Node != nil && r.Node.NodeHash != nil {
		node = *r.Node.NodeHash
	}
	if instance.PaymentType() == message.PaymentSuperfluid {
		return node, nil
	}
	var words map[message.Hash]any
	err = s.cfg.Network.Aggregate(ctx, instance.Address, wishesKey, 0, &words)
	if err != nil && !errors.Is(err, corenode.ErrNotFound) {
		return "", fmt.Errorf("read where the owner of instance %s wants it: %w", hash, err)
	}
	if wish, said := words[hash].(string); said {
		return message.Hash(wish), nil
	}
	return node, nil
}

// parseItem reads one hash of a body.
func parseItem(raw json.RawMessage, loc ...any) (message.Hash, []problem) {
	var text string
	if json.Unmarshal(raw, &text) != nil || string(raw) == "null" {
		return "", []problem{{Loc: loc, Msg: "Input should be a valid string", Type: "string_type", Input: raw}}
	}
	hash, err := message.ParseHash(text)
	if err != nil {
		reason := fmt.Sprintf("Could not determine hash type: '%s'", text)
		return "", []problem{{Loc: loc, Msg: "Value error, " + reason, Type: "value_error", Ctx: map[string]any{"error": reason}, Input: text}}
	}
	return hash, nil
}
