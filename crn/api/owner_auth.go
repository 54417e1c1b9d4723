package api

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/mr-tron/base58"

	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// refused is an answer to a request whose signatures do not hold (spec/crn.md §2.1.1).
type refused struct {
	status int
	reason string
}

func (e *refused) Error() string { return e.reason }

// operationAge is how far the time of a signed operation may be from ours, on either side.
const operationAge = 2 * time.Minute

// delegation is what a wallet signs: that a key may act for it until it expires. Its domain is not checked, because browsers
// use one for all nodes; the operation's is.
type delegation struct {
	PublicKey struct {
		Type  string `json:"kty"`
		Curve string `json:"crv"`
		X     string `json:"x"`
		Y     string `json:"y"`
	} `json:"pubkey"`
	Address string `json:"address"`
	Expires string `json:"expires"`
	Chain   string `json:"chain"`
}

// operation is what that key signs.
type operation struct {
	Time   string `json:"time"`
	Method string `json:"method"`
	Path   string `json:"path"`
	Domain string `json:"domain"`

	signed bool // by the key
}

// signedHex is how both travel, in a header each.
type signedHex struct {
	Payload   string `json:"payload"`
	Signature string `json:"signature"`
}

func (s signedHex) decode() (payload, signature []byte, err error) {
	if payload, err = hex.DecodeString(s.Payload); err != nil {
		return nil, nil, err
	}
	signature, err = hex.DecodeString(strings.TrimPrefix(s.Signature, "0x"))
	return payload, signature, err
}

// senderOf returns the address on whose behalf the request is made, and answers when it is nobody's.
func (s *Server) senderOf(w http.ResponseWriter, r *http.Request) (sender string, ok bool) {
	sender, err := s.sender(r)
	var no *refused
	switch {
	case errors.As(err, &no):
		fail(w, no.status, no.reason)
	case err != nil:
		s.failed(w, err)
	}
	return sender, err == nil
}

// sender returns the address on whose behalf the request is made. The error is a *refused.
func (s *Server) sender(r *http.Request) (string, error) {
	key, address, err := s.delegated(r.Header.Get("X-SignedPubKey"))
	if err != nil {
		return "", err
	}
	o, err := s.operation(r.Header.Get("X-SignedOperation"), key)
	if err != nil {
		return "", err
	}
	switch {
	case o.Path != r.URL.Path:
		return "", &refused{http.StatusUnauthorized, fmt.Sprintf("Invalid path. Signed: '%s' !=  requested path: '%s'", o.Path, r.URL.Path)}
	case o.Method != r.Method:
		return "", &refused{http.StatusUnauthorized, fmt.Sprintf("Invalid method. Signed: '%s' !=  request:'%s", o.Method, r.Method)}
	}
	if !o.signed {
		return "", &refused{http.StatusUnauthorized, "Signature could not verified"}
	}
	return address, nil
}

// socketSender is the same for the first message of a WebSocket, which has no headers. Its path and method are not compared:
// clients disagree on what to sign there (spec/crn.md §2.1.2).
func (s *Server) socketSender(key, op string) (string, error) {
	public, address, err := s.delegated(key)
	if err != nil {
		return "", err
	}
	o, err := s.operation(op, public)
	if err != nil {
		return "", err
	}
	if !o.signed {
		return "", &refused{http.StatusUnauthorized, "Signature could not verified"}
	}
	return address, nil
}

// delegated checks the wallet's signature and returns the key that it delegates to.
func (s *Server) delegated(header string) (*ecdsa.PublicKey, string, error) {
	if header == "" {
		return nil, "", &refused{http.StatusBadRequest, "Missing X-SignedPubKey header"}
	}
	invalid := &refused{http.StatusBadRequest, "Invalid X-SignedPubKey data"}
	if !json.Valid([]byte(header)) {
		return nil, "", &refused{http.StatusBadRequest, "Invalid X-SignedPubKey format"}
	}
	var signed signedHex
	if json.Unmarshal([]byte(header), &signed) != nil {
		return nil, "", invalid
	}
	payload, signature, err := signed.decode()
	if err != nil {
		return nil, "", invalid
	}
	var d delegation
	if json.Unmarshal(payload, &d) != nil {
		return nil, "", invalid
	}
	expires, err := parseTime(d.Expires)
	if err != nil {
		return nil, "", invalid
	}
	if !expires.After(s.cfg.Now()) {
		return nil, "", &refused{http.StatusUnauthorized, "Token expired"}
	}
	key, err := d.key()
	if err != nil {
		return nil, "", invalid
	}
	switch d.Chain {
	case "", "ETH":
		signer, err := ethereum.RecoverPersonal(payload, "0x"+hex.EncodeToString(signature))
		if err != nil || !strings.EqualFold(signer, d.Address) {
			return nil, "", &refused{http.StatusUnauthorized, "Invalid signature"}
		}
	case "SOL":
		// Solana wallets sign text: the hexadecimal form.
		public, err := base58.Decode(d.Address)
		if err != nil || len(public) != ed25519.PublicKeySize || !ed25519.Verify(public, []byte(signed.Payload), signature) {
			return nil, "", &refused{http.StatusUnauthorized, "Invalid signature"}
		}
	default:
		return nil, "", invalid
	}
	return key, d.Address, nil
}

func (d *delegation) key() (*ecdsa.PublicKey, error) {
	if d.PublicKey.Type != "EC" || d.PublicKey.Curve != "P-256" {
		return nil, errors.New("not a P-256 key")
	}
	point := []byte{4}
	for _, text := range []string{d.PublicKey.X, d.PublicKey.Y} {
		coordinate, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
		if err != nil || len(coordinate) != 32 {
			return nil, errors.New("not a coordinate of P-256")
		}
		point = append(point, coordinate...)
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

// operation reads what the key signed, just now and for this node. Whether it did is reported last, in operation.signed: clients
// are told first what else is wrong.
func (s *Server) operation(header string, key *ecdsa.PublicKey) (o operation, err error) {
	if header == "" {
		return o, &refused{http.StatusBadRequest, "Missing X-SignedOperation header"}
	}
	invalid := &refused{http.StatusBadRequest, "Invalid X-SignedOperation fields"}
	var signed signedHex
	if json.Unmarshal([]byte(header), &signed) != nil {
		return o, invalid
	}
	payload, signature, err := signed.decode()
	if err != nil {
		return o, invalid
	}
	if json.Unmarshal(payload, &o) != nil {
		return o, invalid
	}
	at, err := parseTime(o.Time)
	if err != nil || s.cfg.Now().Sub(at).Abs() > operationAge {
		return o, invalid
	}
	switch o.Method {
	case http.MethodGet, http.MethodPost, http.MethodDelete:
	default:
		return o, invalid
	}
	if o.Domain != s.cfg.DomainName && !s.cfg.SkipDomainCheck {
		return o, &refused{http.StatusUnauthorized, fmt.Sprintf("Invalid domain: Signed: '%s' != Request: '%s'", o.Domain, s.cfg.DomainName)}
	}
	digest := sha256.Sum256(payload)
	o.signed = len(signature) == 64 && ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	return o, nil
}

// parseTime reads ISO 8601 with a zone. Times without one say nothing.
func parseTime(text string) (time.Time, error) { return time.Parse(time.RFC3339Nano, text) }
