//go:build !linux

package wallet

import (
	"context"
	"errors"
)

// openUSB says what is missing here.
func openUSB(context.Context) (Transport, error) {
	return nil, errors.New("a Ledger is reached on Linux only; use a signer command for it here")
}
