package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"os"
	"strings"

	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// logs answers GET /control/machine/{ref}/logs: what a program printed, for its owner (spec/crn.md §2.7.4).
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	hash, err := message.ParseHash(r.PathValue("ref"))
	if err != nil {
		fail(w, http.StatusBadRequest, "Invalid message reference: "+r.PathValue("ref"))
		return
	}
	sender, err := s.sender(r)
	var no *refused
	if errors.As(err, &no) {
		fail(w, no.status, no.reason)
		return
	}
	source := s.logsOf(hash)
	lines, closer, err := source.Logs(hash)
	if errors.Is(err, os.ErrNotExist) {
		fail(w, http.StatusNotFound, "No execution found for this VM")
		return
	}
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	defer closer.Close()
	owner, err := source.Owner(r.Context(), hash)
	if err != nil {
		status, text := refusal(err)
		fail(w, status, text)
		return
	}
	if !strings.EqualFold(owner, sender) {
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

// logs are what a workload printed; [execution.Pool] has them of programs, [instance.Pool] of instances.
type logs interface {
	Logs(hash message.Hash) (iter.Seq[wire.LogLine], io.Closer, error)
	Owner(ctx context.Context, hash message.Hash) (string, error)
}

func (s *Server) logsOf(hash message.Hash) logs {
	if s.cfg.Instances != nil && s.cfg.Instances.Has(hash) {
		return s.cfg.Instances
	}
	return s.cfg.Pool
}
