package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/message"
)

// confidential are the steps that start a confidential instance (decision 0039).
type confidential interface {
	// Initialize starts it with the session and the certificate of its owner.
	Initialize(ctx context.Context, hash message.Hash, session, owner []byte) error
	// Measurement is what the processor measured.
	Measurement(ctx context.Context, hash message.Hash) (*qemu.Measurement, error)
	// InjectSecret gives it what its owner sealed, has it run, and returns QEMU's word on its state.
	InjectSecret(ctx context.Context, hash message.Hash, header, secret string) (json.RawMessage, error)
}

// problemOf answers for a step in the form that clients of confidential instances read (spec/crn.md §2.9).
func problemOf(w http.ResponseWriter, code, description string) {
	answer(w, http.StatusBadRequest, map[string]string{"code": code, "description": description})
}

// initialize answers POST …/confidential/initialize.
func (s *Server) initialize(w http.ResponseWriter, r *http.Request, on Operations, hash message.Hash) {
	if s.running(hash) {
		problemOf(w, "vm_running", "Operation not allowed, instance already running")
		return
	}
	if !s.isConfidential(w, r, hash) {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	var parts [2][]byte
	for n, field := range [2]struct{ name, missing string }{
		{"session", "Session field is missing"}, {"godh", "godh field is missing. Please provide a GODH file"},
	} {
		file, _, err := r.FormFile(field.name)
		if err == nil {
			parts[n], err = io.ReadAll(file)
			file.Close()
		}
		if err != nil {
			problemOf(w, "field_missing", field.missing)
			return
		}
	}
	err := s.cfg.Instances.Initialize(r.Context(), hash, parts[0], parts[1])
	switch {
	case errors.Is(err, instance.ErrRunning): // by another order meanwhile
		problemOf(w, "vm_running", "Operation not allowed, instance already running")
	case err != nil:
		s.failed(w, err)
	default:
		plain(w, http.StatusOK, "Started VM with ref "+string(hash))
	}
}

// measurement answers GET …/confidential/measurement.
func (s *Server) measurement(w http.ResponseWriter, r *http.Request, on Operations, hash message.Hash) {
	if !s.loaded(w, r, hash) {
		return
	}
	m, err := s.cfg.Instances.Measurement(r.Context(), hash)
	if err != nil {
		s.failed(w, err)
		return
	}
	answer(w, http.StatusOK, m)
}

// injectSecret answers POST …/confidential/inject_secret.
func (s *Server) injectSecret(w http.ResponseWriter, r *http.Request, on Operations, hash message.Hash) {
	if !s.loaded(w, r, hash) {
		return
	}
	var sealed struct {
		Header string `json:"packet_header"`
		Secret string `json:"secret"`
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil || json.Unmarshal(body, &sealed) != nil || sealed.Header == "" || sealed.Secret == "" {
		fail(w, http.StatusBadRequest, "Body must be JSON with packet_header and secret, in base64")
		return
	}
	state, err := s.cfg.Instances.InjectSecret(r.Context(), hash, sealed.Header, sealed.Secret)
	if err != nil {
		s.failed(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"status": state})
}

// loaded reports whether an instance has a confidential machine, and answers when it has none.
func (s *Server) loaded(w http.ResponseWriter, r *http.Request, hash message.Hash) bool {
	if !s.running(hash) {
		fail(w, http.StatusForbidden, "Operation not running")
		return false
	}
	return s.isConfidential(w, r, hash)
}

// isConfidential reports whether a workload is, and answers when it is not.
func (s *Server) isConfidential(w http.ResponseWriter, r *http.Request, hash message.Hash) bool {
	workload, err := s.cfg.Network.Workload(r.Context(), hash)
	if err != nil {
		s.failed(w, err)
		return false
	}
	if i, ok := workload.Content.(*message.Instance); ok && i.Environment.TrustedExecution != nil {
		return true
	}
	problemOf(w, "not_confidential", "Instance is not a confidential instance")
	return false
}

// running reports whether an instance runs.
func (s *Server) running(hash message.Hash) bool {
	return s.cfg.Instances != nil && slices.ContainsFunc(s.cfg.Instances.List(), func(i instance.Info) bool { return i.Hash == hash && i.Running })
}
