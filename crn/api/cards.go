package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aleph-im/aleph-go/crn/gpu"
	"github.com/aleph-im/aleph-go/message"
)

// cardholder has the graphics cards of the node (decision 0039).
type cardholder interface {
	// Cards are all of them, and those that nobody uses or has reserved.
	Cards() (all, free []gpu.Card)
	// ReserveCards keeps those that an instance asks for, all or none, for a user and a minute. It returns until when, or which is not
	// to be had.
	ReserveCards(user string, instance *message.Instance) (until time.Time, missing *message.GPURequirement)
}

// cardSettings bounds the wait for the network's settings, whose names of cards are of use and not more.
const cardSettings = 2 * time.Second

// cards are the node's, by the names that the network knows.
func (s *Server) cards(ctx context.Context) (all, free []gpu.Card) {
	if !s.hasCards() {
		return []gpu.Card{}, []gpu.Card{}
	}
	all, free = s.cfg.Instances.Cards()
	ctx, cancel := context.WithTimeout(ctx, cardSettings)
	defer cancel()
	var settings struct {
		Known []gpu.Model `json:"compatible_gpus"`
	}
	if err := s.cfg.Network.Aggregate(ctx, s.cfg.Settings, "settings", settingsAge, &settings); err != nil {
		settings.Known = s.cfg.GPUModels
	}
	return gpu.Describe(all, settings.Known), gpu.Describe(free, settings.Known)
}

// hasCards reports whether machines may be given graphics cards here.
func (s *Server) hasCards() bool {
	if s.cfg.Instances == nil {
		return false
	}
	all, _ := s.cfg.Instances.Cards()
	return len(all) > 0
}

// reserve answers POST /control/reserve_resources: whether an instance would fit, and its cards are kept for a minute
// (spec/crn.md §2.7.2).
func (s *Server) reserve(w http.ResponseWriter, r *http.Request) {
	sender, ok := s.senderOf(w, r)
	if !ok {
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil || !json.Valid(body) {
		fail(w, http.StatusBadRequest, "Body is not valid JSON")
		return
	}
	content, err := message.ParseContent(message.TypeInstance, body)
	instance, ok := content.(*message.Instance)
	if err != nil || !ok {
		text, err := json.Marshal([]problem{{Loc: []any{}, Msg: fmt.Sprint("Value error, ", err), Type: "value_error", Input: json.RawMessage(body)}})
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		answer(w, http.StatusBadRequest, string(text))
		return
	}
	bare := *instance // the answer for want of a card is another one
	bare.Requirements = nil
	if s.cfg.Instances == nil || s.cfg.Instances.Room(&bare) != nil {
		fail(w, http.StatusServiceUnavailable, "This CRN cannot reserve the requested resources at this time.")
		return
	}
	until, missing := s.cfg.Instances.ReserveCards(sender, instance)
	if missing != nil {
		answer(w, http.StatusBadRequest, map[string]string{
			"status": "error", "error": "Failed to reserves all resources",
			"reason": fmt.Sprintf("Failed to find available GPU matching spec %s %s", missing.Vendor, missing.DeviceID),
		})
		return
	}
	answer(w, http.StatusOK, map[string]any{"status": "reserved", "expires": stamp(until)})
}
