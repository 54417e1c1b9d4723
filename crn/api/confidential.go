package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/message"
)

// noConfidential is what a node without a secure processor tells who asks for one.
const noConfidential = "Confidential computing setting not enabled on that server"

// confidential answers the steps that start a confidential machine (spec/crn.md §2.9). This node starts none, and says of each
// instance why the step cannot be.
func (s *Server) confidential(w http.ResponseWriter, r *http.Request, on Operations, hash message.Hash) {
	workload, err := s.cfg.Network.Workload(r.Context(), hash)
	if err != nil {
		s.failed(w, err)
		return
	}
	if i, ok := workload.Content.(*message.Instance); ok && i.Environment.TrustedExecution != nil {
		fail(w, http.StatusServiceUnavailable, noConfidential)
		return
	}
	problem := map[string]string{"code": "not_confidential", "description": "Instance is not a confidential instance"}
	switch initialize := strings.HasSuffix(r.URL.Path, "/initialize"); {
	case initialize && s.running(hash):
		problem = map[string]string{"code": "vm_running", "description": "Operation not allowed, instance already running"}
	case !initialize && !s.running(hash):
		fail(w, http.StatusForbidden, "Operation not running")
		return
	}
	answer(w, http.StatusBadRequest, problem)
}

// running reports whether an instance runs.
func (s *Server) running(hash message.Hash) bool {
	return s.cfg.Instances != nil && slices.ContainsFunc(s.cfg.Instances.List(), func(i instance.Info) bool { return i.Hash == hash && i.Running })
}
