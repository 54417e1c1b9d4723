package wallet

import (
	"errors"
	"fmt"

	"github.com/zalando/go-keyring"
)

// Keychain keeps texts by names.
type Keychain interface {
	Get(name string) (string, error) // the error is [ErrNotFound] when there is none
	Set(name, text string) error
	Delete(name string) error
}

// keychainService is under which keys are kept, the same as of other tools of the network.
const keychainService = "cloud.aleph.cli"

// systemKeychain is that of the operating system: on Linux the Secret Service, which is reached by D-Bus.
type systemKeychain struct{}

func (systemKeychain) Get(name string) (string, error) {
	text, err := keyring.Get(keychainService, name)
	return text, keychainError(err)
}

func (systemKeychain) Set(name, text string) error {
	if _, err := keyring.Get(keychainService, name); err == nil {
		return fmt.Errorf("an entry %q of the keychain %w", name, ErrExists)
	}
	return keychainError(keyring.Set(keychainService, name, text))
}

func (systemKeychain) Delete(name string) error {
	return keychainError(keyring.Delete(keychainService, name))
}

func keychainError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keyring.ErrNotFound):
		return fmt.Errorf("the keychain has no such entry: %w", ErrNotFound)
	}
	return fmt.Errorf("the keychain of this system cannot be used (on Linux it needs a desktop session with a Secret Service); keep the key with --encrypted instead: %w", err)
}
