package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
)

// logs answers GET /control/machine/{ref}/logs: what a program printed, for its owner, also when it runs no more
// (spec/crn.md §2.7.4).
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	sender, err := s.sender(r)
	var no *refused
	if errors.As(err, &no) {
		fail(w, no.status, no.reason)
		return
	}
	hash, ok := refOf(w, r)
	if !ok {
		return
	}
	lines, closer, err := s.cfg.Pool.Logs(hash)
	if errors.Is(err, os.ErrNotExist) {
		fail(w, http.StatusNotFound, "No execution found for this VM")
		return
	}
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	defer closer.Close()
	allowed, err := s.mayOperate(r.Context(), s.cfg.Pool, hash, sender)
	if err != nil {
		s.failed(w, err)
		return
	}
	if !allowed {
		plain(w, http.StatusForbidden, "Unauthorized sender")
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = io.WriteString(w, "[")
	separator := ""
	for line := range lines {
		raw, err := json.Marshal(map[string]string{
			"SYSLOG_IDENTIFIER": "vm-" + string(hash) + "-" + line.Stream, "MESSAGE": line.Text, "file": line.Stream,
			"__REALTIME_TIMESTAMP": line.Time.UTC().Format("2006-01-02 15:04:05.000000"),
		})
		if err != nil {
			break
		}
		if _, err := io.WriteString(w, separator+string(raw)); err != nil {
			return
		}
		separator = ",\n"
	}
	_, _ = io.WriteString(w, "]")
}
