package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/message"
)

// Operations are what an owner may do to a workload; [execution.Pool] has them for programs.
type Operations interface {
	// Owner returns the address that a workload belongs to.
	Owner(ctx context.Context, hash message.Hash) (string, error)
	// Stop ends the machine and reports whether it was running.
	Stop(ctx context.Context, hash message.Hash) (running bool, err error)
	// Reboot starts the machine again and reports whether it was running before.
	Reboot(ctx context.Context, hash message.Hash) (running bool, err error)
	// Erase ends the machine and removes all that it kept.
	Erase(ctx context.Context, hash message.Hash) error
	// Reinstall gives the workload a new machine, by choice with new volumes.
	Reinstall(ctx context.Context, hash message.Hash, eraseVolumes bool) error
	// Expire ends the machine after a time.
	Expire(hash message.Hash, after time.Duration)
}

// operate makes the handler of an operation that only an owner and those it trusts may order (spec/crn.md §2.7.4).
func (s *Server) operate(act func(w http.ResponseWriter, r *http.Request, on Operations, hash message.Hash)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		sender, ok := s.senderOf(w, r)
		if !ok {
			return
		}
		hash, ok := refOf(w, r)
		if !ok {
			return
		}
		on := s.operations(hash)
		if on == nil {
			fail(w, http.StatusNotFound, "No virtual machine with ref "+string(hash))
			return
		}
		allowed, err := s.mayOperate(r.Context(), on, hash, sender)
		if err != nil {
			status, text := refusal(err)
			fail(w, status, text)
			return
		}
		if !allowed {
			plain(w, http.StatusForbidden, "Unauthorized sender")
			return
		}
		act(w, r, on, hash)
	}
}

// refOf reads the hash in the path, and answers when it is none.
func refOf(w http.ResponseWriter, r *http.Request) (message.Hash, bool) {
	hash, err := message.ParseHash(r.PathValue("ref"))
	if err != nil {
		fail(w, http.StatusBadRequest, "Invalid message reference: "+r.PathValue("ref"))
		return "", false
	}
	return hash, true
}

// operations returns who runs a workload now; nil when nobody does.
func (s *Server) operations(hash message.Hash) Operations {
	if _, ok := s.cfg.Pool.Find(hash); ok {
		return s.cfg.Pool
	}
	if s.cfg.Instances != nil && s.cfg.Instances.Has(hash) {
		return s.cfg.Instances
	}
	return nil
}

// mayOperate reports whether an address owns a workload or is trusted with it by who does.
func (s *Server) mayOperate(ctx context.Context, on Operations, hash message.Hash, sender string) (bool, error) {
	owner, err := on.Owner(ctx, hash)
	if err != nil {
		return false, err
	}
	return strings.EqualFold(owner, sender) || s.trusts(ctx, owner, sender), nil
}

// securityAge is how old an owner's list of those it trusts may be. A list without the one who asks is read again after
// refusalAge: an owner who trusts somebody waits for nothing else.
const (
	securityAge = 120 * time.Second
	refusalAge  = 5 * time.Second
)

// trusts reports whether an owner lets another address operate its machines. When the core node does not answer, nobody but the
// owner is trusted.
func (s *Server) trusts(ctx context.Context, owner, address string) bool {
	return s.trustedWithin(ctx, securityAge, owner, address) || s.trustedWithin(ctx, refusalAge, owner, address)
}

// trustedWithin looks for an entry of the owner's security aggregate for all types of messages, or for INSTANCE. Other limits of
// an entry say what the address may publish, which is nothing to this node.
func (s *Server) trustedWithin(ctx context.Context, age time.Duration, owner, address string) bool {
	var security struct {
		Authorizations []struct {
			Address string   `json:"address"`
			Types   []string `json:"types"`
		} `json:"authorizations"`
	}
	if err := s.cfg.Network.Aggregate(ctx, owner, "security", age, &security); err != nil {
		return false
	}
	for _, a := range security.Authorizations {
		if !strings.EqualFold(a.Address, address) {
			continue
		}
		if len(a.Types) == 0 {
			return true
		}
		for _, t := range a.Types {
			if t == string(message.TypeInstance) {
				return true
			}
		}
	}
	return false
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request, on Operations, hash message.Hash) {
	running, err := on.Stop(r.Context(), hash)
	switch {
	case err != nil:
		s.failed(w, err)
	case !running:
		plain(w, http.StatusOK, "Already stopped, nothing to do")
	default:
		plain(w, http.StatusOK, "Stopped VM with ref "+string(hash))
	}
}

// start starts what was stopped. Programs start when they are called.
func (s *Server) start(w http.ResponseWriter, r *http.Request, on Operations, hash message.Hash) {
	instances, ok := on.(Instances)
	if !ok {
		fail(w, http.StatusBadRequest, "Programs start when they are called")
		return
	}
	if err := instances.Start(r.Context(), hash); err != nil {
		s.failed(w, err)
		return
	}
	plain(w, http.StatusOK, "Started VM with ref "+string(hash))
}

func (s *Server) reboot(w http.ResponseWriter, r *http.Request, on Operations, hash message.Hash) {
	running, err := on.Reboot(r.Context(), hash)
	switch {
	case err != nil:
		s.failed(w, err)
	case !running:
		plain(w, http.StatusOK, "Starting VM (was not running) with ref "+string(hash))
	default:
		plain(w, http.StatusOK, "Rebooted VM with ref "+string(hash))
	}
}

func (s *Server) erase(w http.ResponseWriter, r *http.Request, on Operations, hash message.Hash) {
	if err := on.Erase(r.Context(), hash); err != nil {
		s.failed(w, err)
		return
	}
	if s.cfg.Backups != nil {
		if err := s.cfg.Backups.Forget(hash); err != nil {
			s.failed(w, err)
			return
		}
	}
	plain(w, http.StatusOK, "Erased VM with ref "+string(hash))
}

func (s *Server) reinstall(w http.ResponseWriter, r *http.Request, on Operations, hash message.Hash) {
	eraseVolumes := !strings.EqualFold(r.URL.Query().Get("erase_volumes"), "false")
	if err := on.Reinstall(r.Context(), hash, eraseVolumes); err != nil {
		s.failed(w, err)
		return
	}
	plain(w, http.StatusOK, "Reinstalled VM with ref "+string(hash))
}

// maxExpiry bounds how far ahead the end of a workload may be set.
const maxExpiry = 10 * 24 * time.Hour

// expire sets the end of a workload, from {"timeout": seconds}.
func (s *Server) expire(w http.ResponseWriter, r *http.Request, on Operations, hash message.Hash) {
	var order struct {
		Timeout float64 `json:"timeout"`
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil || json.Unmarshal(body, &order) != nil || !(order.Timeout > 0 && order.Timeout < maxExpiry.Seconds()) {
		fail(w, http.StatusBadRequest, "Invalid timeout duration")
		return
	}
	on.Expire(hash, time.Duration(order.Timeout*float64(time.Second)))
	plain(w, http.StatusOK, fmt.Sprintf("Expiring VM with ref %s in %v seconds", hash, order.Timeout))
}

// update answers POST /control/machine/{ref}/update: the workload's ports and names are to be read again. Programs have no ports.
func (s *Server) update(w http.ResponseWriter, r *http.Request) {
	hash, ok := refOf(w, r)
	if !ok {
		return
	}
	if x, ok := s.cfg.Pool.Find(hash); ok {
		s.named.forget()
		if x.Times.Started.IsZero() {
			answer(w, http.StatusOK, map[string]string{"status": "ok", "msg": "VM not starting yet"})
			return
		}
		answer(w, http.StatusOK, struct{}{})
		return
	}
	if s.cfg.Instances == nil || !s.cfg.Instances.Has(hash) {
		fail(w, http.StatusNotFound, "404: VM not found")
		return
	}
	s.named.forget()
	if err := s.cfg.Instances.Update(r.Context(), hash); err != nil {
		s.failed(w, err)
		return
	}
	answer(w, http.StatusOK, struct{}{})
}

// failed answers for an operation that did not succeed.
func (s *Server) failed(w http.ResponseWriter, err error) {
	status, text := refusal(err)
	fail(w, status, text)
}

var _ Operations = (*execution.Pool)(nil)
