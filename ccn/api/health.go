package api

import (
	"context"
	"net/http"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
)

func (a *API) healthRoutes() routes {
	return routes{
		"GET /health": plain(a.getHealth),
		"GET /ready":  plain(a.getReady),
	}
}

// getHealth tells that the process lives: whoever restarts dead ones asks it.
func (a *API) getHealth(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readyTimeout bounds how long the database may keep a writer waiting.
const readyTimeout = 5 * time.Second

// getReady tells whether requests should be sent here: the database, whose schema New brought up to date, can be written
// and the node is not stopping.
func (a *API) getReady(w http.ResponseWriter, r *http.Request) error {
	select {
	case <-a.cfg.Stopping: // nil never is
		return reply(w, http.StatusServiceUnavailable, map[string]string{"status": "stopping"})
	default:
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := a.cfg.Store.Write(ctx, func(*store.Tx) error { return nil }); err != nil {
		a.cfg.Logger.Error("database cannot be written", "error", err)
		return reply(w, http.StatusServiceUnavailable, map[string]string{"status": "the database cannot be written"})
	}
	return reply(w, http.StatusOK, map[string]string{"status": "ready"})
}
