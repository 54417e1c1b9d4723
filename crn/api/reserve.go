package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// GPU is a card that machines may be given (spec/crn.md §2.4.3).
type GPU struct {
	Vendor      string `json:"vendor"`
	Model       string `json:"model"`
	DeviceName  string `json:"device_name"`
	DeviceClass string `json:"device_class"`
	PCIHost     string `json:"pci_host"`
	DeviceID    string `json:"device_id"`
	Compatible  bool   `json:"compatible"`
}

// reservationTime is how long a card is kept for who asked for it.
const reservationTime = time.Minute

// reservations are cards that somebody is about to use.
type reservations struct {
	gpus []GPU
	now  func() time.Time

	mu   sync.Mutex
	held map[string]reservation // by the card's place on the bus
}

type reservation struct {
	user  string // lower case
	until time.Time
}

func newReservations(gpus []GPU, now func() time.Time) *reservations {
	return &reservations{gpus: gpus, now: now, held: map[string]reservation{}}
}

// reserve keeps a card for each that is wanted, all or none, and returns until when, or which is not to be had. What the user had
// before is given back.
func (r *reservations) reserve(user string, wanted []message.GPURequirement) (until time.Time, missing *message.GPURequirement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	user, now := strings.ToLower(user), r.now()
	until = now.Add(reservationTime)
	taken := map[string]bool{}
	for _, want := range wanted {
		found := false
		for _, gpu := range r.gpus {
			if held, ok := r.held[gpu.PCIHost]; ok && held.user != user && held.until.After(now) {
				continue
			}
			if gpu.DeviceID == want.DeviceID && !taken[gpu.PCIHost] {
				taken[gpu.PCIHost], found = true, true
				break
			}
		}
		if !found {
			return until, &want
		}
	}
	for place, held := range r.held {
		if held.user == user || !held.until.After(now) {
			delete(r.held, place)
		}
	}
	for place := range taken {
		r.held[place] = reservation{user, until}
	}
	return until, nil
}

// available are the cards that nobody has reserved.
func (r *reservations) available() []GPU {
	r.mu.Lock()
	defer r.mu.Unlock()
	free := []GPU{}
	for _, gpu := range r.gpus {
		if held, ok := r.held[gpu.PCIHost]; !ok || !held.until.After(r.now()) {
			free = append(free, gpu)
		}
	}
	return free
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
	if s.cfg.Instances == nil || s.cfg.Instances.Room(instance) != nil {
		fail(w, http.StatusServiceUnavailable, "This CRN cannot reserve the requested resources at this time.")
		return
	}
	var wanted []message.GPURequirement
	if instance.Requirements != nil {
		wanted = instance.Requirements.GPU
	}
	until, missing := s.reservations.reserve(sender, wanted)
	if missing != nil {
		answer(w, http.StatusBadRequest, map[string]string{
			"status": "error", "error": "Failed to reserves all resources",
			"reason": fmt.Sprintf("Failed to find available GPU matching spec %s %s", missing.Vendor, missing.DeviceID),
		})
		return
	}
	answer(w, http.StatusOK, map[string]any{"status": "reserved", "expires": stamp(until)})
}
