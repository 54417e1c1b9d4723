package client

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mr-tron/base58"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// ProgramRequest is an HTTP request to a program.
type ProgramRequest struct {
	Method string // default GET
	Path   string // with its query; default /
	Header http.Header
	Body   []byte
}

// CallProgram sends a request to a program on the compute node at crnURL (crn §2.3). The answer is the program's own,
// whatever its status; the caller closes its body. The call is not repeated, and only ctx bounds it.
func (c *Client) CallProgram(ctx context.Context, crnURL string, hash message.Hash, r ProgramRequest) (*http.Response, error) {
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	target := ProgramURL(crnURL, hash) + strings.TrimPrefix(r.Path, "/")
	req, err := c.request(ctx, method, target, bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		req.Header[name] = values
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call program %s: %w", hash, err)
	}
	return resp, nil
}

// ProgramURL is where a program answers on a compute node, with a slash at its end.
func ProgramURL(crnURL string, hash message.Hash) string {
	return strings.TrimRight(crnURL, "/") + "/vm/" + string(hash) + "/"
}

// LogLine is one line that a workload printed.
type LogLine struct {
	Time    string `json:"__REALTIME_TIMESTAMP"`
	Stream  string `json:"file"` // stdout or stderr
	Message string `json:"MESSAGE"`
}

// ProgramLogs returns what a workload printed, if the account may see it. The account delegates to a key that is made for
// this call (crn §2.1.1).
func (c *Client) ProgramLogs(ctx context.Context, by Account, crnURL string, hash message.Hash) ([]LogLine, error) {
	path := "/control/machine/" + string(hash) + "/logs"
	header, err := operation(ctx, by, http.MethodGet, crnURL, path, time.Now())
	if err != nil {
		return nil, fmt.Errorf("logs of %s: %w", hash, err)
	}
	a, err := c.callAt(ctx, http.MethodGet, strings.TrimRight(crnURL, "/")+path, header, nil)
	if err != nil {
		return nil, fmt.Errorf("logs of %s: %w", hash, err)
	}
	var lines []LogLine
	if err := decode(http.MethodGet, a, &lines); err != nil {
		return nil, fmt.Errorf("logs of %s: %w", hash, err)
	}
	return lines, nil
}

// signed is how both headers of an owner operation travel.
type signed struct {
	Payload   string `json:"payload"` // hex
	Signature string `json:"signature"`
}

// operation returns the headers by which an account lets an operation on a compute node be done.
func operation(ctx context.Context, by Account, method, crnURL, path string, now time.Time) (http.Header, error) {
	proofs, err := prove(ctx, by, method, crnURL, path, now)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	for name, proof := range proofs {
		header.Set(name, string(proof))
	}
	return header, nil
}

// prove returns the two proofs, by name, that an account lets an operation on a compute node be done within two minutes: the
// account's for a key that is made here, and that key's for the operation.
func prove(ctx context.Context, by Account, method, crnURL, path string, now time.Time) (map[string]json.RawMessage, error) {
	u, err := url.Parse(crnURL)
	if err != nil {
		return nil, fmt.Errorf("address of the compute node: %w", err)
	}
	chain, err := operatorChain(by.Chain())
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	pub, err := key.PublicKey.Bytes() // 4 ‖ x ‖ y
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	coordinate := base64.RawURLEncoding.EncodeToString
	delegation, err := json.Marshal(map[string]any{
		"pubkey":  map[string]any{"kty": "EC", "crv": "P-256", "x": coordinate(pub[1:33]), "y": coordinate(pub[33:])},
		"alg":     "ECDSA",
		"domain":  u.Hostname(),
		"address": by.Address(),
		"expires": now.Add(10 * time.Minute).UTC().Format(time.RFC3339),
		"chain":   chain,
	})
	if err != nil {
		return nil, err
	}
	// Solana wallets sign text only, so there the hex is what is signed.
	toSign := delegation
	if chain == message.ChainSOL {
		toSign = []byte(hex.EncodeToString(delegation))
	}
	proof, err := by.Sign(ctx, toSign)
	if err != nil {
		return nil, fmt.Errorf("sign as %s: %w", by.Address(), err)
	}
	if chain == message.ChainSOL {
		if proof, err = bareSolana(proof); err != nil {
			return nil, fmt.Errorf("sign as %s: %w", by.Address(), err)
		}
	}
	act, err := json.Marshal(map[string]string{
		"time": now.UTC().Format("2006-01-02T15:04:05.000Z"), "method": method, "path": path, "domain": u.Hostname(),
	})
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(act)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return nil, fmt.Errorf("sign the operation: %w", err)
	}
	actProof := make([]byte, 64)
	r.FillBytes(actProof[:32])
	s.FillBytes(actProof[32:])
	proofs := map[string]json.RawMessage{}
	for name, v := range map[string]signed{
		"X-SignedPubKey":    {hex.EncodeToString(delegation), proof},
		"X-SignedOperation": {hex.EncodeToString(act), hex.EncodeToString(actProof)},
	} {
		if proofs[name], err = json.Marshal(v); err != nil {
			return nil, err
		}
	}
	return proofs, nil
}

// operatorChain is the chain under whose name compute nodes check an account: they know one of each of two families.
func operatorChain(chain message.Chain) (message.Chain, error) {
	switch {
	case chain == message.ChainSOL, chain == message.ChainES:
		return message.ChainSOL, nil
	case slices.Contains(ethereum.Chains(), chain):
		return message.ChainETH, nil
	}
	return "", fmt.Errorf("compute nodes take accounts of Ethereum, Solana and their families, not of %s", chain)
}

// bareSolana turns the signature of a message, {"signature": base58, …} as text, into the hex that a compute node takes.
func bareSolana(text string) (string, error) {
	var v struct{ Signature string }
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return "", fmt.Errorf("signature is not JSON: %w", err)
	}
	raw, err := base58.Decode(v.Signature)
	if err != nil {
		return "", fmt.Errorf("signature is not base58: %w", err)
	}
	return hex.EncodeToString(raw), nil
}

// ReadAnswer reads at most limit bytes of a program's answer and closes it.
func ReadAnswer(resp *http.Response, limit int64) ([]byte, error) {
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return raw, fmt.Errorf("read the program's answer: %w", err)
	}
	if int64(len(raw)) > limit {
		return raw[:limit], fmt.Errorf("the program's answer is larger than %d bytes", limit)
	}
	return raw, nil
}
