package schedule

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Signer signs for the core node's operator: EIP-191 personal messages, as hex.
type Signer interface {
	Address() string
	Sign(ctx context.Context, payload []byte) (string, error)
}

// allocation is the body of POST /control/allocations (spec/crn.md §2.6.1): the whole desired set of one compute node.
type allocation struct {
	PersistentVMs []message.Hash `json:"persistent_vms"`
	Instances     []message.Hash `json:"instances"`
	OnDemandVMs   []message.Hash `json:"on_demand_vms"`
	// Leaving are instances that go on there until another node fetches them; nodes of other makers stop them at once.
	Leaving []message.Hash `json:"leaving,omitempty"`
}

// newAllocation returns one of nothing, whose lists are there.
func newAllocation() allocation {
	return allocation{PersistentVMs: []message.Hash{}, Instances: []message.Hash{}, OnDemandVMs: []message.Hash{}}
}

const allocationPath = "/control/allocations"

// outcome is a compute node's answer to an allocation.
type outcome struct {
	Successful []message.Hash          `json:"successful"`
	Failing    []message.Hash          `json:"failing"`
	Errors     map[message.Hash]string `json:"errors"`
	// Refused are those of Failing that can never run; nodes of other makers do not say so.
	Refused []message.Hash `json:"refused"`
}

// post sends an allocation to the compute node at address, signed as spec/crn.md §2.1.3 says. The error is nil when there is nothing
// to gain by sending it again.
func (a allocation) post(ctx context.Context, client *http.Client, signer Signer, address string) (o outcome, err error) {
	status, answer, err := send(ctx, client, signer, http.MethodPost, address, allocationPath, a)
	if err != nil {
		return o, fmt.Errorf("send allocation: %w", err)
	}
	if json.Unmarshal(answer, &o) == nil && len(o.Refused) > 0 && len(o.Refused) == len(o.Failing) {
		return o, nil
	}
	if status != http.StatusOK {
		return o, fmt.Errorf("compute node %s answered an allocation with %d: %.1000s", address, status, bytes.TrimSpace(answer))
	}
	return o, nil
}

// delivered notes how a delivery ended.
func (s *Scheduler) delivered(ctx context.Context, r deliveryResult) {
	if err := s.settled(ctx, r); err != nil && r.err == nil {
		r.err = err
	}
	if r.err != nil {
		s.cfg.Logger.Warn("compute node did not take its allocation, sent again soon", "crn", r.node.Hash, "error", r.err)
	}
	v := s.current()
	for _, hash := range r.outcome.Refused {
		// Of what it was never given it may say what it likes.
		if p, planned := v.plan[hash]; planned && p.Compute.Hash == r.node.Hash {
			s.cfg.Logger.Warn("compute node refuses what can never run", "crn", r.node.Hash, "workload", hash, "error", brief(r.outcome.Errors[hash]))
		}
	}
	if last := s.sent[r.node.Hash]; last != nil && last.key == r.key {
		last.pending, last.ok = false, r.err == nil
	}
}

// order sends a compute node one of the other orders that only a scheduler may give, and decodes its answer. The error is nil for
// answers 200 and 202.
func (s *Scheduler) order(ctx context.Context, method, address, path string, body, into any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	status, answer, err := send(ctx, s.http, s.cfg.Signer, method, address, path, body)
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if status != http.StatusOK && status != http.StatusAccepted {
		return status, fmt.Errorf("compute node %s answered %s %s with %d: %.1000s", address, method, path, status, bytes.TrimSpace(answer))
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			return 0, fmt.Errorf("answer of %s to %s %s: %w", address, method, path, err)
		}
	}
	return status, nil
}

// maxAnswer bounds what a compute node may answer, in bytes.
const maxAnswer = 4 << 20

// stay follows no redirection but the one to HTTPS that proxies make of themselves: a compute node is anybody's, and would have this
// node send what requests it likes to whom it likes, in networks that it cannot reach itself.
func stay(to *http.Request, via []*http.Request) error {
	first := via[0]
	same := to.URL.Host == first.URL.Hostname() && to.URL.Path == first.URL.Path && to.URL.RawQuery == first.URL.RawQuery && to.Method == first.Method
	if same && len(via) == 1 && first.URL.Scheme == "http" && to.URL.Scheme == "https" {
		return nil
	}
	return fmt.Errorf("it redirects to %.200s, which is not followed: its registered address must be the one that it answers at", to.URL)
}

// brief cuts what a compute node says to a length for a log.
func brief(said string) string { return fmt.Sprintf("%.1000s", said) }

// send sends a request to the compute node at address, signed as spec/crn.md §2.1.3 says. A body of nil is none.
func send(ctx context.Context, client *http.Client, signer Signer, method, address, path string, order any) (status int, answer []byte, err error) {
	var body []byte
	if order != nil {
		if body, err = json.Marshal(order); err != nil {
			return 0, nil, fmt.Errorf("encode the order: %w", err)
		}
	}
	sum := sha256.Sum256(body)
	payload, err := json.Marshal(map[string]any{
		"method":      method,
		"path":        path,
		"body_sha256": hex.EncodeToString(sum[:]),
		"iat":         time.Now().Unix(),
		"nonce":       rand64(),
	})
	if err != nil {
		return 0, nil, fmt.Errorf("encode what is signed: %w", err)
	}
	signature, err := signer.Sign(ctx, payload)
	if err != nil {
		return 0, nil, fmt.Errorf("sign the order: %w", err)
	}
	target, err := url.JoinPath(address, path)
	if err != nil {
		return 0, nil, fmt.Errorf("address of compute node %q: %w", address, err)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("address of compute node %q: %w", address, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", fmt.Sprintf("Aleph-EIP191-V1 sig=%s,payload=%s", strings.TrimPrefix(signature, "0x"), hex.EncodeToString(payload)))
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("read the answer of %s: %w", address, err)
	}
	return resp.StatusCode, answer, nil
}

// probe asks whether the compute node at address is alive.
func probe(ctx context.Context, client *http.Client, address string) error {
	target, err := url.JoinPath(address, "/about/usage/system")
	if err != nil {
		return fmt.Errorf("address of compute node %q: %w", address, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return fmt.Errorf("address of compute node %q: %w", address, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("probe: compute node answered %s", resp.Status)
	}
	return nil
}
