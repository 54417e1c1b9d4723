package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/replica"
	"github.com/aleph-im/aleph-go/message"
)

// replicator keeps instances a second time on another node (decision 0029).
type replicator interface {
	// Replicate has an instance of this node replicated, and lets it go on for another lease from when that was said.
	Replicate(hash message.Hash, r instance.Replication, said time.Time) error
	// Hold has a replica of another node's instance kept here.
	Hold(ctx context.Context, hash message.Hash, token string, lease time.Duration) error
	// Drop has such a replica removed.
	Drop(hash message.Hash) error
	// Revive has an instance come back from its replica.
	Revive(ctx context.Context, hash message.Hash, secret []byte) error
	// Replicas are those that are kept here.
	Replicas() *replica.Store
}

// replicating makes the handler of an order of the scheduler about a replica, or the instance that has one. It decodes the body.
func replicating[T any](s *Server, act func(r *http.Request, hash message.Hash, order T) error) http.HandlerFunc {
	return s.ordered(func(w http.ResponseWriter, r *http.Request, body []byte) {
		hash, ok := refOf(w, r)
		if !ok {
			return
		}
		if s.cfg.Instances == nil {
			fail(w, http.StatusServiceUnavailable, "This CRN cannot host the requested instance at this time.")
			return
		}
		var order T
		if err := json.Unmarshal(body, &order); err != nil {
			fail(w, http.StatusBadRequest, "Body is not valid JSON: "+err.Error())
			return
		}
		s.replied(w, map[string]any{"vm_hash": hash}, act(r, hash, order))
	})
}

// replied answers with v, or with an error in a way that the other side can tell apart.
func (s *Server) replied(w http.ResponseWriter, v any, err error) {
	switch {
	case err == nil:
		answer(w, http.StatusOK, v)
	case errors.Is(err, errOrder):
		fail(w, http.StatusBadRequest, err.Error())
	case replica.Status(err) != http.StatusInternalServerError:
		fail(w, replica.Status(err), err.Error())
	default:
		s.failed(w, err)
	}
}

// seconds is a time, as orders have it.
type seconds int64

func (n seconds) duration() time.Duration { return time.Duration(n) * time.Second }

// maxLease bounds leases and the time between generations, in seconds.
const maxLease = 7 * 24 * 3600

func (n seconds) valid() bool { return n > 0 && n <= maxLease }

// errOrder: an order that makes no sense.
var errOrder = errors.New("the order makes no sense")

type replicateOrder struct {
	Holder string  `json:"holder"` // address of a registered node; empty to end it
	Token  string  `json:"token"`
	Secret []byte  `json:"secret"`
	Every  seconds `json:"every"`
	Lease  seconds `json:"lease"`
}

// replicate answers POST /control/machine/{ref}/replica.
func (s *Server) replicate(r *http.Request, hash message.Hash, order replicateOrder) error {
	if order.Holder == "" {
		return s.cfg.Instances.Replicate(hash, instance.Replication{}, s.allocated.issued(r))
	}
	u, err := url.Parse(order.Holder)
	if err != nil || !order.Every.valid() || !order.Lease.valid() || order.Token == "" {
		return errOrder
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	holder, err := s.cfg.Identity.Registered(r.Context(), u.Hostname(), port)
	if err != nil {
		return err
	}
	return s.cfg.Instances.Replicate(hash, instance.Replication{
		Holder: holder, Token: order.Token, Secret: order.Secret, Every: order.Every.duration(), Lease: order.Lease.duration(),
	}, s.allocated.issued(r))
}

type holdOrder struct {
	Token string  `json:"token"`
	Lease seconds `json:"lease"`
}

// hold answers POST /control/replica/{ref}/hold.
func (s *Server) hold(r *http.Request, hash message.Hash, order holdOrder) error {
	if order.Token == "" || !order.Lease.valid() {
		return errOrder
	}
	return s.cfg.Instances.Hold(r.Context(), hash, order.Token, order.Lease.duration())
}

type reviveOrder struct {
	Secret []byte `json:"secret"`
}

// revive answers POST /control/replica/{ref}/revive.
func (s *Server) revive(r *http.Request, hash message.Hash, order reviveOrder) error {
	return s.cfg.Instances.Revive(r.Context(), hash, order.Secret)
}

// drop answers POST /control/replica/{ref}/drop.
func (s *Server) drop(_ *http.Request, hash message.Hash, _ struct{}) error {
	return s.cfg.Instances.Drop(hash)
}

// holding makes the handler of what the node that has the instance asks of the one that holds its replica. It shows the token that the
// scheduler gave to both.
func (s *Server) holding(act func(r *http.Request, on *replica.Store, hash message.Hash, token string) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		hash, ok := refOf(w, r)
		if !ok {
			return
		}
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || s.cfg.Instances == nil {
			fail(w, http.StatusUnauthorized, "Authentication token received is invalid")
			return
		}
		v, err := act(r, s.cfg.Instances.Replicas(), hash, token)
		if v == nil {
			v = struct{}{}
		}
		s.replied(w, v, err)
	}
}

func replicaState(r *http.Request, on *replica.Store, hash message.Hash, token string) (any, error) {
	return on.State(hash, token, r.URL.Query().Get("line"))
}

func renewReplica(_ *http.Request, on *replica.Store, hash message.Hash, token string) (any, error) {
	return nil, on.Renew(hash, token)
}

func resetReplica(_ *http.Request, on *replica.Store, hash message.Hash, token string) (any, error) {
	return nil, on.Reset(hash, token)
}

func putChunk(r *http.Request, on *replica.Store, hash message.Hash, token string) (any, error) {
	var id replica.ID
	// A name that is none is that of no bytes.
	if err := id.UnmarshalText([]byte(r.PathValue("id"))); err != nil {
		return nil, errors.Join(replica.ErrIncomplete, err)
	}
	if _, err := on.Allows(hash, token); err != nil {
		return nil, err
	}
	return nil, on.Put(hash, token, id, r.Body)
}

func commitReplica(r *http.Request, on *replica.Store, hash message.Hash, token string) (any, error) {
	// Without the token nothing is read.
	limit, err := on.Allows(hash, token)
	if err != nil {
		return nil, err
	}
	var g replica.Generation
	if err := json.NewDecoder(io.LimitReader(r.Body, limit)).Decode(&g); err != nil {
		return nil, errors.Join(replica.ErrIncomplete, err)
	}
	return nil, on.Commit(hash, token, g)
}
