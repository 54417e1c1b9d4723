package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// ErrNotFound is what a node's 404 and 410 are, by [errors.Is].
var ErrNotFound = errors.New("not found")

// HTTPError is an answer with a status that the call has no better word for.
type HTTPError struct {
	Method, URL string
	Status      int
	Body        string // its beginning
}

func httpError(method, url string, a answer) error {
	body := a.body[:min(len(a.body), maxError)]
	return &HTTPError{Method: method, URL: url, Status: a.status, Body: strings.TrimSpace(string(body))}
}

func (e *HTTPError) Error() string {
	if e.Body == "" {
		return fmt.Sprintf("%s %s: %d %s", e.Method, e.URL, e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("%s %s: %d: %s", e.Method, e.URL, e.Status, e.Body)
}

// Is makes 404 and 410 [ErrNotFound].
func (e *HTTPError) Is(target error) bool {
	return target == ErrNotFound && (e.Status == http.StatusNotFound || e.Status == http.StatusGone)
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
	if e.Code != message.ErrBalanceInsufficient && e.Code != message.ErrCreditInsufficient {
		return nil
	}
	if json.Unmarshal(e.Details, &details) != nil || len(details.Errors) == 0 {
		return &InsufficientFundsError{Required: "unknown", Available: "unknown", Unit: unitOf(e.Code)}
	}
	d := details.Errors[0]
	if e.Code == message.ErrCreditInsufficient {
		return &InsufficientFundsError{Required: amount(d.RequiredCredits), Available: amount(d.AccountCredits), Unit: "credits"}
	}
	return &InsufficientFundsError{Required: amount(d.RequiredBalance), Available: amount(d.AccountBalance), Unit: "ALEPH"}
}

func unitOf(code message.ErrorCode) string {
	if code == message.ErrCreditInsufficient {
		return "credits"
	}
	return "ALEPH"
}

// amount reads a number that travels as text or as a JSON number.
func amount(raw json.RawMessage) string { return strings.Trim(string(raw), `"`) }

// InsufficientFundsError says that an account cannot pay. Amounts are decimals in Unit, ALEPH to hold or credits.
type InsufficientFundsError struct {
	Address             string // who would pay; "" when the node did not say
	Required, Available string
	Unit                string
}

func (e *InsufficientFundsError) Error() string {
	who := "the account"
	if e.Address != "" {
		who = e.Address
	}
	verb := "has"
	if e.Unit == "ALEPH" {
		verb = "holds, free of other uses,"
	}
	return fmt.Sprintf("this needs %s %s, but %s %s only %s %s", e.Required, e.Unit, who, verb, e.Available, e.Unit)
}
