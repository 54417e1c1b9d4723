package api

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// statusEvery is how often subscribers of the metrics may get new ones.
const statusEvery = 10 * time.Second

// maxStatusSockets is how many subscribers the metrics have at once at most.
func (a *API) maxStatusSockets() int64 { return max(a.cfg.MaxSockets/10, 1) }

// notSocket refuses a request that does not open a WebSocket.
func notSocket(r *http.Request) error {
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return nil
	}
	return refuse(http.StatusBadRequest, "No WebSocket UPGRADE hdr: open this address as a WebSocket")
}

// watchStatus sends the metrics, at once and whenever they changed (ccn-api §14.2). Those of sockets and fetches are left
// out of the comparison by being 0, as a subscriber that joins would change them for all.
func (a *API) watchStatus(w http.ResponseWriter, r *http.Request) error {
	if err := notSocket(r); err != nil {
		return err
	}
	s := a.accept(w, r, &a.sockets.status, &a.sockets.statusRejected, a.maxStatusSockets())
	if s == nil {
		return nil
	}
	defer s.end()
	ctx := s.attend(r.Context())
	ticker := time.NewTicker(a.statusEvery)
	defer ticker.Stop()
	var last []byte
	for {
		raw, err := a.status(ctx)
		if err != nil {
			a.cfg.Logger.Error("metrics not read for subscribers", "error", err)
		} else if !bytes.Equal(raw, last) {
			if s.send(raw) != nil {
				return nil
			}
			last = raw
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.cfg.Stopping:
			s.Close(websocket.StatusGoingAway, "the node stops")
			return nil
		case <-ticker.C:
		}
	}
}
