package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Kind is what sort of failure an error is, for programs that decide by it.
type Kind string

const (
	KindNotFound          Kind = "not_found"
	KindBadRequest        Kind = "bad_request" // the node does not take the request as it is
	KindNotAllowed        Kind = "not_allowed"
	KindTooLarge          Kind = "too_large"
	KindRateLimited       Kind = "rate_limited"
	KindUnavailable       Kind = "unavailable" // the node answers, and cannot do it now
	KindRejected          Kind = "rejected"    // the network refused a message
	KindInsufficientFunds Kind = "insufficient_funds"
	KindUntrusted         Kind = "untrusted" // the node returned what is proven wrong
	KindUnproven          Kind = "unproven"  // the node returned what cannot be proven
	KindPending           Kind = "pending"   // the time was up before the network had decided
	KindNetwork           Kind = "network"   // no node could be reached
	KindTimeout           Kind = "timeout"
	KindCancelled         Kind = "cancelled"
	KindFailed            Kind = "failed" // anything else
)

// Failure is what the error types of this package share.
type Failure interface {
	error
	Kind() Kind
	Retryable() bool // the same call may succeed later, as it is
}

// KindOf returns the kind of any error of this package's calls; that of nil is "".
func KindOf(err error) Kind {
	var f Failure
	var network net.Error
	var link *url.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &f):
		return f.Kind()
	case errors.Is(err, ErrNotFound):
		return KindNotFound
	case errors.Is(err, context.Canceled):
		return KindCancelled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errStalled), errors.As(err, &network) && network.Timeout():
		return KindTimeout
	case errors.As(err, &network), errors.As(err, &link):
		return KindNetwork
	}
	return KindFailed
}

// Retryable reports whether the call that failed with err may succeed later without a change.
func Retryable(err error) bool {
	var f Failure
	if errors.As(err, &f) {
		return f.Retryable()
	}
	kind := KindOf(err)
	return kind == KindNetwork || kind == KindTimeout
}

// ErrNotFound is what a node's 404 and 410 are, by [errors.Is].
var ErrNotFound = errors.New("not found")

// HTTPError is an answer with a status that the call has no better word for.
type HTTPError struct {
	Method, URL string
	Status      int
	Body        string        // its beginning
	RetryAfter  time.Duration // how long the node asks to be left alone; 0 when it does not say
}

func httpError(method, url string, a answer) error {
	body := a.body[:min(len(a.body), maxError)]
	return &HTTPError{Method: method, URL: url, Status: a.status, Body: strings.TrimSpace(string(body)), RetryAfter: a.wait}
}

func (e *HTTPError) Error() string {
	if e.Body == "" {
		return fmt.Sprintf("%s %s: %d %s", e.Method, e.URL, e.Status, http.StatusText(e.Status))
	}
	// Core nodes begin the text with the status.
	return fmt.Sprintf("%s %s: %d: %s", e.Method, e.URL, e.Status, strings.TrimPrefix(e.Body, strconv.Itoa(e.Status)+": "))
}

// Is makes 404 and 410 [ErrNotFound].
func (e *HTTPError) Is(target error) bool {
	return target == ErrNotFound && (e.Status == http.StatusNotFound || e.Status == http.StatusGone)
}

// Kind implements [Failure].
func (e *HTTPError) Kind() Kind {
	switch {
	case e.Status == http.StatusNotFound, e.Status == http.StatusGone:
		return KindNotFound
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		return KindNotAllowed
	case e.Status == http.StatusPaymentRequired:
		return KindInsufficientFunds
	case e.Status == http.StatusRequestEntityTooLarge:
		return KindTooLarge
	case e.Status == http.StatusTooManyRequests:
		return KindRateLimited
	case e.Status >= 500:
		return KindUnavailable
	}
	return KindBadRequest
}

// Retryable implements [Failure].
func (e *HTTPError) Retryable() bool {
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests
}

// RejectedError says that the network refused a message, and why.
type RejectedError struct {
	Hash    message.Hash
	Code    message.ErrorCode
	Details json.RawMessage // null, or {"errors": […]} whose members depend on Code (ccn-api §3.3)
}

func (e *RejectedError) Error() string {
	text := fmt.Sprintf("message %s was rejected: %s (code %d)", e.Hash, e.Code, int(e.Code))
	if len(e.Details) > 0 && string(e.Details) != "null" {
		text += ": " + string(e.Details)
	}
	return text
}

// Kind implements [Failure].
func (e *RejectedError) Kind() Kind {
	switch e.Code {
	case message.ErrBalanceInsufficient, message.ErrCreditInsufficient:
		return KindInsufficientFunds
	}
	return KindRejected
}

// Retryable implements [Failure]: the same message is taken once what it refers to is there.
func (e *RejectedError) Retryable() bool { return e.Code.Retryable() }

// Unwrap returns an [*InsufficientFundsError] when that is the reason.
func (e *RejectedError) Unwrap() error {
	var details struct {
		Errors []struct {
			RequiredBalance json.RawMessage `json:"required_balance"`
			AccountBalance  json.RawMessage `json:"account_balance"`
			RequiredCredits json.RawMessage `json:"required_credits"`
			AccountCredits  json.RawMessage `json:"account_credits"`
		} `json:"errors"`
	}
	if e.Kind() != KindInsufficientFunds {
		return nil
	}
	if json.Unmarshal(e.Details, &details) != nil || len(details.Errors) == 0 {
		return &InsufficientFundsError{Required: "unknown", Available: "unknown", Unit: unitOf(e.Code)}
	}
	d := details.Errors[0]
	if e.Code == message.ErrCreditInsufficient {
		return &InsufficientFundsError{Required: amount(d.RequiredCredits), Available: amount(d.AccountCredits), Unit: UnitCredits}
	}
	return &InsufficientFundsError{Required: amount(d.RequiredBalance), Available: amount(d.AccountBalance), Unit: UnitALEPH}
}

func unitOf(code message.ErrorCode) string {
	if code == message.ErrCreditInsufficient {
		return UnitCredits
	}
	return UnitALEPH
}

// amount reads a number that travels as text or as a JSON number.
func amount(raw json.RawMessage) string { return strings.Trim(string(raw), `"`) }

// What accounts pay with. Gas is the coin of the chain that a stream is on.
const (
	UnitALEPH   = "ALEPH"
	UnitCredits = "credits"
	UnitGas     = "gas"
)

// InsufficientFundsError says that an account cannot pay. Amounts are decimals in Unit.
type InsufficientFundsError struct {
	Address             string // who would pay; "" when the node did not say
	Required, Available string
	Unit                string // UnitALEPH, UnitCredits or UnitGas
}

func (e *InsufficientFundsError) Error() string {
	who := "the account"
	if e.Address != "" {
		who = e.Address
	}
	verb := "has"
	if e.Unit == UnitALEPH {
		verb = "holds, free of other uses,"
	}
	return fmt.Sprintf("this needs %s %s, but %s %s only %s %s", e.Required, e.Unit, who, verb, e.Available, e.Unit)
}

// Kind implements [Failure].
func (e *InsufficientFundsError) Kind() Kind { return KindInsufficientFunds }

// Retryable implements [Failure].
func (e *InsufficientFundsError) Retryable() bool { return false }

// UntrustedError says that a node returned something that is proven wrong: bytes that do not have the hash that was asked for,
// a signature that is not the sender's. Another node should be asked.
type UntrustedError struct {
	Node string // base URL; "" when several may have answered
	What string
	Err  error
}

func (e *UntrustedError) Error() string {
	node := "the node"
	if e.Node != "" {
		node = e.Node
	}
	return fmt.Sprintf("%s returned a wrong %s, ask another node: %v", node, e.What, e.Err)
}

func (e *UntrustedError) Unwrap() error { return e.Err }

// Kind implements [Failure].
func (e *UntrustedError) Kind() Kind { return KindUntrusted }

// Retryable implements [Failure].
func (e *UntrustedError) Retryable() bool { return false }

// UnprovenError says that what a node returned may be right, and cannot be proven: a file of IPFS whose blocks were not cut in
// any of the usual ways. The caller has it in full, and decides.
type UnprovenError struct{ Hash message.Hash }

func (e *UnprovenError) Error() string {
	return fmt.Sprintf("file %s: the bytes do not add up to its CID in any usual layout of blocks; they are other bytes, or were cut in a way of their own", e.Hash)
}

// Kind implements [Failure].
func (e *UnprovenError) Kind() Kind { return KindUnproven }

// Retryable implements [Failure].
func (e *UnprovenError) Retryable() bool { return false }

// PendingError says that the network had not decided on a message when the time was up.
type PendingError struct {
	Hash message.Hash
	Err  error // of the context
}

func (e *PendingError) Error() string {
	return fmt.Sprintf("message %s is not processed yet: %v", e.Hash, e.Err)
}

func (e *PendingError) Unwrap() error { return e.Err }

// Kind implements [Failure].
func (e *PendingError) Kind() Kind { return KindPending }

// Retryable implements [Failure].
func (e *PendingError) Retryable() bool { return true }
