package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// allocationAuth decides whose allocations are followed: scheme A of spec/crn.md §2.1.3.
type allocationAuth struct {
	signers   func(context.Context) []string // EIP-55
	tokenHash []byte
	now       func() time.Time

	mu   sync.Mutex
	seen map[[sha256.Size]byte]time.Time // accepted payloads with their signer, and when they may be forgotten
}

const (
	// allocationAge is how far the time of a signed allocation may be from ours, on either side.
	allocationAge = 300 * time.Second
	maxAllocation = 1 << 20 // bytes of a body
)

func newAllocationAuth(signers func(context.Context) []string, tokenHash string, now func() time.Time) (*allocationAuth, error) {
	a := &allocationAuth{signers: signers, now: now, seen: map[[sha256.Size]byte]time.Time{}}
	if tokenHash != "" {
		raw, err := hex.DecodeString(tokenHash)
		if err != nil || len(raw) != sha256.Size {
			return nil, fmt.Errorf("allocation token hash is no SHA-256 in hex")
		}
		a.tokenHash = raw
	}
	return a, nil
}

// signers returns whose allocations are followed: those that the operator names, else those of the network's settings, else
// those that come with the network's parameters.
func (s *Server) signers(ctx context.Context) []string {
	if len(s.cfg.AllocationSigners) > 0 {
		return s.cfg.AllocationSigners
	}
	var settings struct {
		Signers []string `json:"authorized_allocation_signers"`
	}
	err := s.cfg.Network.Aggregate(ctx, s.cfg.Settings, "settings", settingsAge, &settings)
	if err != nil && !errors.Is(err, corenode.ErrNotFound) {
		// Whom the network has dismissed must not come back because the core node is silent.
		if known := s.lastSigners.Load(); known != nil {
			return *known
		}
		s.cfg.Log.Warn("whom the network lets allocate is not known, the signers of its parameters may", "error", err)
	}
	named := slices.DeleteFunc(settings.Signers, func(text string) bool { return checkSigner(text) != nil })
	if len(named) == 0 {
		named = s.cfg.DefaultSigners
	}
	if err == nil {
		s.lastSigners.Store(&named)
	}
	return named
}

// settingsAge is how old the network's settings may be.
const settingsAge = time.Minute

func checkSigner(text string) error {
	raw, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
	if err != nil || len(raw) != 20 || ethereum.ChecksumAddress([20]byte(raw)) != text {
		return fmt.Errorf("allocation signer %q is no Ethereum address with checksum (EIP-55)", text)
	}
	return nil
}

// allows reports whether the request is an order of an authorised scheduler. An Authorization header decides alone: were there a
// fallback, a bad signature could be helped along by a stolen token.
func (a *allocationAuth) allows(r *http.Request, body []byte) bool {
	if values := r.Header.Values("Authorization"); len(values) > 0 {
		return len(values) == 1 && a.signed(r, values[0], body)
	}
	token := r.Header.Get("X-Auth-Signature")
	if token == "" || a.tokenHash == nil {
		return false
	}
	sum := sha256.Sum256([]byte(token))
	return len(body) <= maxAllocation && subtle.ConstantTimeCompare(sum[:], a.tokenHash) == 1
}

func (a *allocationAuth) signed(r *http.Request, header string, body []byte) bool {
	signature, payload, ok := parseAuthorization(header)
	if !ok || r.URL.RawQuery != "" || r.URL.ForceQuery || r.ContentLength < 0 || len(body) > maxAllocation {
		return false
	}
	var order struct {
		Method *string         `json:"method"`
		Path   *string         `json:"path"`
		Body   *string         `json:"body_sha256"`
		Issued json.RawMessage `json:"iat"`
	}
	if json.Unmarshal(payload, &order) != nil || order.Method == nil || order.Path == nil || order.Body == nil {
		return false
	}
	issued, err := strconv.ParseInt(string(bytes.TrimSpace(order.Issued)), 10, 64)
	if err != nil {
		return false // a boolean, a float, or nothing
	}
	now := a.now()
	if age := now.Unix() - issued; age > int64(allocationAge/time.Second) || age < -int64(allocationAge/time.Second) {
		return false
	}
	sum := sha256.Sum256(body)
	if *order.Method != r.Method || *order.Path != r.URL.EscapedPath() || *order.Body != hex.EncodeToString(sum[:]) {
		return false
	}
	signer, err := ethereum.RecoverPersonal(payload, "0x"+signature)
	if err != nil || !slices.Contains(a.signers(r.Context()), signer) {
		return false
	}
	return a.first(signer, payload, now)
}

// issued returns when an order that was allowed was given: when its scheduler signed it, or now when it shows the token.
func (a *allocationAuth) issued(r *http.Request) time.Time {
	_, payload, ok := parseAuthorization(r.Header.Get("Authorization"))
	var order struct {
		Issued int64 `json:"iat"`
	}
	if !ok || json.Unmarshal(payload, &order) != nil {
		return a.now()
	}
	return time.Unix(order.Issued, 0)
}

// first records an accepted payload and reports whether it is the first time. The payload counts and not its signature, of which
// anyone can make a second valid form.
func (a *allocationAuth) first(signer string, payload []byte, now time.Time) bool {
	key := sha256.Sum256(append([]byte(signer+"\x00"), payload...))
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, until := range a.seen {
		if now.After(until) {
			delete(a.seen, k)
		}
	}
	if _, replayed := a.seen[key]; replayed {
		return false
	}
	// Signed up to one age ahead of our clock, it stays valid for one age after that.
	a.seen[key] = now.Add(2*allocationAge + time.Second)
	return true
}

// parseAuthorization reads "Aleph-EIP191-V1 sig=<hex>,payload=<hex>": exactly these two, in any order.
func parseAuthorization(header string) (signature string, payload []byte, ok bool) {
	scheme, rest, found := strings.Cut(strings.TrimSpace(header), " ")
	if !found || !strings.EqualFold(scheme, "Aleph-EIP191-V1") {
		return "", nil, false
	}
	values := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, found := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := values[name]; !found || twice || (name != "sig" && name != "payload") {
			return "", nil, false
		}
		values[name] = strings.TrimPrefix(value, "0x")
	}
	payload, err := hex.DecodeString(values["payload"])
	if err != nil || len(payload) == 0 || values["sig"] == "" {
		return "", nil, false
	}
	return values["sig"], payload, true
}
