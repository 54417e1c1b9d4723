package message

import (
	"encoding/json"
	"fmt"
)

// ErrorCode says why a message was refused. The numbers cross the wire (spec/ccn-core.md §2.6).
type ErrorCode int

const (
	ErrInternal            ErrorCode = -1
	ErrInvalidFormat       ErrorCode = 0
	ErrInvalidSignature    ErrorCode = 1
	ErrPermissionDenied    ErrorCode = 2
	ErrContentUnavailable  ErrorCode = 3
	ErrFileUnavailable     ErrorCode = 4
	ErrBalanceInsufficient ErrorCode = 5
	ErrCreditInsufficient  ErrorCode = 6
	ErrAmendNoTarget       ErrorCode = 100
	ErrAmendTargetNotFound ErrorCode = 101
	ErrAmendAmend          ErrorCode = 102
	ErrStoreRefNotFound    ErrorCode = 200
	ErrStoreUpdateUpdate   ErrorCode = 201
	ErrPaymentMethod       ErrorCode = 202
	ErrVMRefNotFound       ErrorCode = 300
	ErrVMVolumeNotFound    ErrorCode = 301
	ErrVMAmendNotAllowed   ErrorCode = 302
	ErrVMUpdateUpdate      ErrorCode = 303
	ErrVMVolumeTooSmall    ErrorCode = 304
	ErrForgetNoTarget      ErrorCode = 500
	ErrForgetNotFound      ErrorCode = 501
	ErrForgetForget        ErrorCode = 502
	ErrForgetNotAllowed    ErrorCode = 503
	ErrForgottenDuplicate  ErrorCode = 504
)

// Retryable reports whether the cause can vanish by itself: content that arrives, a dependency that is processed.
func (c ErrorCode) Retryable() bool {
	switch c {
	case ErrInternal, ErrContentUnavailable, ErrFileUnavailable, ErrAmendTargetNotFound, ErrStoreRefNotFound,
		ErrVMRefNotFound, ErrVMVolumeNotFound, ErrForgetNotFound:
		return true
	}
	return false
}

// String returns the description that the network's nodes use for the code.
func (c ErrorCode) String() string {
	switch c {
	case ErrInternal:
		return "Internal error"
	case ErrInvalidFormat:
		return "Invalid message format"
	case ErrInvalidSignature:
		return "Invalid signature"
	case ErrPermissionDenied:
		return "Permission denied"
	case ErrContentUnavailable:
		return "Message content unavailable"
	case ErrFileUnavailable:
		return "File unavailable"
	case ErrBalanceInsufficient:
		return "Insufficient balance"
	case ErrCreditInsufficient:
		return "Insufficient credit"
	case ErrAmendNoTarget:
		return "Amend post ref field is empty"
	case ErrAmendTargetNotFound:
		return "Cannot find original ref of amend post"
	case ErrAmendAmend:
		return "Amend post cannot amend another amend"
	case ErrStoreRefNotFound:
		return "Store reference not found"
	case ErrStoreUpdateUpdate:
		return "Store update not targeting the original version of the file"
	case ErrPaymentMethod:
		return "Messages with non-credit payment types are no longer allowed"
	case ErrVMRefNotFound:
		return "VM reference not found"
	case ErrVMVolumeNotFound:
		return "VM volume reference(s) not found"
	case ErrVMAmendNotAllowed:
		return "VM update not allowed"
	case ErrVMUpdateUpdate:
		return "VM update not targeting the original version of the VM"
	case ErrVMVolumeTooSmall:
		return "VM volume parent is larger than the child volume"
	case ErrForgetNoTarget:
		return "No FORGET target specified"
	case ErrForgetNotFound:
		return "FORGET target not found"
	case ErrForgetForget:
		return "Cannot forget a FORGET message"
	case ErrForgetNotAllowed:
		return "Cannot forget a used message"
	case ErrForgottenDuplicate:
		return "Cannot process a forgotten message"
	}
	return fmt.Sprintf("Error %d", int(c))
}

// Error is a refusal by the protocol: the one error type that decides what becomes of a message.
type Error struct {
	Code ErrorCode
	// Errors is what the API shows as details.errors: strings or JSON objects whose shape depends on Code
	// (spec/ccn-core.md §2.6). Empty means that details is null.
	Errors []any
	// WaitsFor names what would lift the refusal, in the form of [WaitKey] values. A retryable refusal without any can only
	// be lifted by time, another one never. A message that was rejected comes back when one of its keys comes to be.
	WaitsFor []WaitKey
}

// WaitKey names something a message may wait for; intake wakes the waiters of a key when it comes to be.
type WaitKey string

// The kinds of keys. Each is made true by exactly one kind of event.
func WaitMessage(h Hash) WaitKey { return WaitKey("message/" + h) } // the message h is processed
func WaitRefused(h Hash) WaitKey { return WaitKey("refused/" + h) } // the message h is right and was refused for the node's state
func WaitFile(h Hash) WaitKey    { return WaitKey("file/" + h) }    // the bytes of file h are on disk
func WaitTag(tag string) WaitKey { return WaitKey("tag/" + tag) }   // the file tag names other versions
func WaitAggregate(owner, key string) WaitKey {
	return WaitKey("aggregate/" + owner + "/" + key)
}
func WaitGone(h Hash) WaitKey        { return WaitKey("gone/" + h) }      // the message h is not applied any more
func WaitGrant(owner string) WaitKey { return WaitKey("grant/" + owner) } // owner granted something
func WaitFunds(owner string) WaitKey { return WaitKey("funds/" + owner) } // owner has more to spend, or spends less
func WaitUnused(h Hash) WaitKey      { return WaitKey("unused/" + h) }    // a VM that used the file of STORE message h is gone

// Errorf returns a refusal whose only detail is a formatted sentence.
func Errorf(code ErrorCode, format string, args ...any) *Error {
	return &Error{Code: code, Errors: []any{fmt.Sprintf(format, args...)}}
}

func (e *Error) Error() string {
	if len(e.Errors) == 0 {
		return e.Code.String()
	}
	details, err := json.Marshal(e.Errors)
	if err != nil {
		return e.Code.String()
	}
	return e.Code.String() + ": " + string(details)
}

// Retryable reports whether the message should wait instead of being rejected.
func (e *Error) Retryable() bool { return e.Code.Retryable() }

// Details returns the JSON that the API shows as details: null, or {"errors": […]}.
func (e *Error) Details() json.RawMessage {
	if len(e.Errors) == 0 {
		return json.RawMessage("null")
	}
	raw, err := json.Marshal(map[string]any{"errors": e.Errors})
	if err != nil { // the items are strings and plain structs; a failure here is a bug in the caller
		panic(fmt.Sprintf("details of %v are not JSON: %v", e.Code, err))
	}
	return raw
}
