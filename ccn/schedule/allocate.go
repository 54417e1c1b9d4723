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
}

const allocationPath = "/control/allocations"

// outcome is a compute node's answer to an allocation.
type outcome struct {
	Failing []message.Hash          `json:"failing"`
	Errors  map[message.Hash]string `json:"errors"`
	// Refused are those of Failing that can never run; nodes of other makers do not say so.
	Refused []message.Hash `json:"refused"`
}

// post sends an allocation to the compute node at address, signed as spec/crn.md §2.1.3 says. The error is nil when there is nothing
// to gain by sending it again.
func (a allocation) post(ctx context.Context, client *http.Client, signer Signer, address string) (o outcome, err error) {
	body, err := json.Marshal(a)
	if err != nil {
		return o, fmt.Errorf("encode allocation: %w", err)
	}
	sum := sha256.Sum256(body)
	payload, err := json.Marshal(map[string]any{
		"method":      http.MethodPost,
		"path":        allocationPath,
		"body_sha256": hex.EncodeToString(sum[:]),
		"iat":         time.Now().Unix(),
		"nonce":       rand64(),
	})
	if err != nil {
		return o, fmt.Errorf("encode allocation payload: %w", err)
	}
	signature, err := signer.Sign(ctx, payload)
	if err != nil {
		return o, fmt.Errorf("sign allocation: %w", err)
	}
	target, err := url.JoinPath(address, allocationPath)
	if err != nil {
		return o, fmt.Errorf("address of compute node %q: %w", address, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return o, fmt.Errorf("address of compute node %q: %w", address, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", fmt.Sprintf("Aleph-EIP191-V1 sig=%s,payload=%s", strings.TrimPrefix(signature, "0x"), hex.EncodeToString(payload)))
	resp, err := client.Do(req)
	if err != nil {
		return o, fmt.Errorf("send allocation: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return o, fmt.Errorf("read answer to allocation from %s: %w", address, err)
	}
	if json.Unmarshal(answer, &o) == nil && len(o.Refused) > 0 && len(o.Refused) == len(o.Failing) {
		return o, nil
	}
	if resp.StatusCode != http.StatusOK {
		return o, fmt.Errorf("compute node %s answered an allocation with %s: %s", address, resp.Status, bytes.TrimSpace(answer))
	}
	return o, nil
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
