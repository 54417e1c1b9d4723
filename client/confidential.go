package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// Certificates returns those of the secure processor of a compute node, as it exports them; package sev reads them.
func (c *Client) Certificates(ctx context.Context, crnURL string) ([]byte, error) {
	a, err := c.callAt(ctx, http.MethodGet, strings.TrimRight(crnURL, "/")+"/about/certificates", nil, nil)
	if err == nil && a.status != http.StatusOK {
		err = httpError(http.MethodGet, a.url, a)
	}
	if err != nil {
		return nil, fmt.Errorf("certificates of %s: %w", crnURL, err)
	}
	return a.body, nil
}

// InitializeConfidential has a compute node load a confidential machine with the session and the certificate of its owner, both in
// base64. The machine then waits for its secret (crn §2.9).
func (c *Client) InitializeConfidential(ctx context.Context, by Account, crnURL string, hash message.Hash, session, owner string) error {
	var form bytes.Buffer
	parts := multipart.NewWriter(&form)
	for _, f := range []struct{ field, name, content string }{{"session", "vm_session.b64", session}, {"godh", "vm_godh.b64", owner}} {
		w, err := parts.CreateFormFile(f.field, f.name)
		if err != nil {
			return err
		}
		if _, err := w.Write([]byte(f.content)); err != nil {
			return err
		}
	}
	if err := parts.Close(); err != nil {
		return err
	}
	a, err := c.signedCall(ctx, by, http.MethodPost, crnURL, machinePath(hash, "confidential/initialize"), "", &form, parts.FormDataContentType())
	if err == nil && a.status != http.StatusOK {
		err = httpError(http.MethodPost, a.url, a)
	}
	if err != nil {
		return fmt.Errorf("initialize %s: %w", hash, err)
	}
	return nil
}

// LaunchMeasurement is what a secure processor measured of a machine, and what QEMU says of the launch.
type LaunchMeasurement struct {
	SEV struct {
		Enabled bool   `json:"enabled"`
		Major   uint8  `json:"api_major"`
		Minor   uint8  `json:"api_minor"`
		Build   uint8  `json:"build_id"`
		Policy  uint32 `json:"policy"`
		State   string `json:"state"` // launch-secret while a secret is awaited
	} `json:"sev_info"`
	Answer []byte `json:"launch_measure"` // of the processor: MAC and nonce, 48 bytes
}

// ErrNotLoaded is what a machine without a measurement is: it is not started, or not loaded yet.
var ErrNotLoaded = errors.New("the machine is not loaded")

// MeasureConfidential asks for the measurement of a machine. It is [ErrNotLoaded] until there is one.
func (c *Client) MeasureConfidential(ctx context.Context, by Account, crnURL string, hash message.Hash) (*LaunchMeasurement, error) {
	m := &LaunchMeasurement{}
	a, err := c.signedCall(ctx, by, http.MethodGet, crnURL, machinePath(hash, "confidential/measurement"), "", nil, "")
	switch {
	case err != nil:
	case a.status == http.StatusForbidden && bytes.Contains(a.body, []byte("not running")): // who may not ask is answered with 403, too
		err = ErrNotLoaded
	default:
		err = decode(http.MethodGet, a, m)
	}
	if err != nil {
		return nil, fmt.Errorf("measurement of %s: %w", hash, err)
	}
	return m, nil
}

// InjectSecret hands a sealed secret to a machine that waits for it, and has it go on. It reports whether the machine runs.
func (c *Client) InjectSecret(ctx context.Context, by Account, crnURL string, hash message.Hash, header, packet []byte) (running bool, err error) {
	body, err := json.Marshal(map[string][]byte{"packet_header": header, "secret": packet})
	if err != nil {
		return false, err
	}
	a, err := c.signedCall(ctx, by, http.MethodPost, crnURL, machinePath(hash, "confidential/inject_secret"), "", bytes.NewReader(body), "application/json")
	var reply struct {
		Status struct {
			Running bool `json:"running"`
		} `json:"status"`
	}
	if err == nil {
		err = decode(http.MethodPost, a, &reply)
	}
	if err != nil {
		return false, fmt.Errorf("send the secret to %s: %w", hash, err)
	}
	return reply.Status.Running, nil
}
