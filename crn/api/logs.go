package api

import (
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"os"

	"github.com/aleph-im/aleph-go/crn/logfile"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// logs answers GET /control/machine/{ref}/logs: what a workload printed, for its owner, also when it runs no more
// (spec/crn.md §2.7.4).
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	sender, ok := s.senderOf(w, r)
	if !ok {
		return
	}
	hash, ok := refOf(w, r)
	if !ok {
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
	allowed, err := s.mayOperate(r.Context(), source, hash, sender)
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
		raw, err := json.Marshal(pastLine(hash, line))
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

// pastLine is a line as journals of systemd have it.
func pastLine(hash message.Hash, line wire.LogLine) map[string]string {
	return map[string]string{
		"SYSLOG_IDENTIFIER": "vm-" + string(hash) + "-" + line.Stream, "MESSAGE": line.Text, "file": line.Stream,
		"__REALTIME_TIMESTAMP": line.Time.UTC().Format("2006-01-02 15:04:05.000000"),
	}
}

// logsOf returns who has what a workload printed.
func (s *Server) logsOf(hash message.Hash) logger {
	if s.cfg.Instances != nil && s.cfg.Instances.Has(hash) {
		return s.cfg.Instances
	}
	return s.cfg.Pool
}

// logger keeps what workloads printed; [execution.Pool] of programs, [instance.Pool] of instances.
type logger interface {
	Operations
	Logs(hash message.Hash) (iter.Seq[wire.LogLine], io.Closer, error)
	// Follow follows what a workload goes on to print. The error is os.ErrNotExist when it does not run.
	Follow(hash message.Hash) (*logfile.Follower, error)
}
