package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

const (
	maxTokenAge   = 300 * time.Second
	maxTokenAhead = 30 * time.Second
)

// authorize checks the token of an operator (ccn-api §11.6): base64 of "<unix seconds>:<base64 of a DER signature of them>".
func (a *API) authorize(w http.ResponseWriter, r *http.Request) error {
	token := r.Header.Get("X-Auth-Token")
	switch {
	case token == "":
		w.Header().Set("WWW-Authenticate", "Bearer")
		return refuse(http.StatusUnauthorized, "Missing X-Auth-Token header")
	case !validToken(token, a.cfg.RecalculateKey, a.cfg.Now()):
		w.Header().Set("WWW-Authenticate", "Bearer")
		return refuse(http.StatusUnauthorized, "Invalid or expired authentication token")
	}
	return nil
}

func validToken(token, key string, now time.Time) bool {
	raw, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return false
	}
	text, encoded, found := strings.Cut(string(raw), ":")
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || !found {
		return false
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > maxTokenAge || age < -maxTokenAhead {
		return false
	}
	compressed, err := hex.DecodeString(strings.TrimPrefix(key, "0x"))
	if err != nil {
		return false
	}
	public, err := secp256k1.ParsePubKey(compressed)
	if err != nil {
		return false
	}
	der, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return false
	}
	signature, err := ecdsa.ParseDERSignature(der)
	if err != nil {
		return false
	}
	digest := sha256.Sum256([]byte(text))
	return signature.Verify(digest[:], public)
}

// recalculateAll computes again what every resource costs, with the prices that were in force at its time (ccn-api §11.6).
func (a *API) recalculateAll(w http.ResponseWriter, r *http.Request) error {
	if err := a.authorize(w, r); err != nil {
		return err
	}
	return a.recalculate(w, r, "")
}

// recalculateOne is recalculateAll for one resource.
func (a *API) recalculateOne(w http.ResponseWriter, r *http.Request) error {
	if err := a.authorize(w, r); err != nil {
		return err
	}
	hash, err := pathHash(r)
	if err != nil {
		return err
	}
	err = a.cfg.Store.Read(r.Context(), func(rd *store.Reader) error {
		_, err := a.priceOf(rd, hash, false)
		return err
	})
	if err != nil {
		return err
	}
	return a.recalculate(w, r, hash)
}

// failure is a resource whose costs could not be computed.
type failure struct {
	ItemHash message.Hash `json:"item_hash"`
	Error    string       `json:"error"`
}

func (a *API) recalculate(w http.ResponseWriter, r *http.Request, only message.Hash) error {
	var resources []message.Hash
	var prices int
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		if resources, err = rd.Charged(only); err != nil {
			return err
		}
		pricing := a.cfg.Params.Pricing
		return rd.Elements(pricing.Addresses[0], pricing.Keys[0], func(*store.Element) (bool, error) { prices++; return true, nil })
	})
	if err != nil {
		return err
	}
	if len(resources) == 0 || a.cfg.Recalculate == nil {
		return reply(w, http.StatusOK, map[string]any{"message": "No messages found for cost recalculation", "recalculated_count": 0, "total_messages": 0})
	}
	done := 0
	var failures []failure
	for _, hash := range resources {
		err := a.cfg.Store.Write(r.Context(), func(tx *store.Tx) error { return a.cfg.Recalculate(tx, hash) })
		if r.Context().Err() != nil {
			return r.Context().Err()
		}
		if err != nil {
			a.cfg.Logger.Error("costs not recalculated", "message", hash, "error", err)
			failures = append(failures, failure{hash, "the costs cannot be computed"})
			continue
		}
		done++
	}
	answer := map[string]any{
		"message": "Cost recalculation completed with historical pricing", "recalculated_count": done,
		"total_messages": len(resources), "pricing_changes_found": prices,
	}
	if failures != nil {
		answer["errors"] = failures
	}
	return reply(w, http.StatusOK, answer)
}
