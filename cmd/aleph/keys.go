package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/signature/ethereum"
	"github.com/aleph-im/aleph-go/signature/solana"
)

const (
	defaultAccount = "default"
	maxKeyFile     = 4096 // bytes
)

// keyFolder is where accounts are stored: one file each, named for the account.
func (a *app) keyFolder() (string, error) {
	if home := a.getenv("ALEPH_CONFIG_HOME"); home != "" {
		return filepath.Join(home, "keys"), nil
	}
	if home := a.getenv("XDG_CONFIG_HOME"); home != "" {
		return filepath.Join(home, "aleph", "keys"), nil
	}
	home, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no folder for keys, set ALEPH_CONFIG_HOME: %w", err)
	}
	return filepath.Join(home, "aleph", "keys"), nil
}

func (a *app) keyPath(name string) (string, error) {
	if name == "" || strings.ContainsAny(name, `/\`) || strings.HasPrefix(name, ".") {
		return "", usageError{fmt.Errorf("%q is no name for an account: it becomes a file name", name)}
	}
	folder, err := a.keyFolder()
	return filepath.Join(folder, name+".key"), err
}

// signer returns the account that the user speaks as: --key-file, --account, ALEPH_PRIVATE_KEY or the stored default, in
// this order.
func (a *app) signer() (client.Account, error) {
	switch {
	case a.keyFile == "-":
		raw, err := io.ReadAll(io.LimitReader(a.in, maxKeyFile))
		if err != nil {
			return nil, keyError{fmt.Errorf("read the private key from standard input: %w", err)}
		}
		return parseKey(raw)
	case a.keyFile != "":
		return readKey(a.keyFile)
	case a.account == "" && a.getenv("ALEPH_PRIVATE_KEY") != "":
		return parseKey([]byte(a.getenv("ALEPH_PRIVATE_KEY")))
	}
	name := a.account
	if name == "" {
		name = defaultAccount
	}
	path, err := a.keyPath(name)
	if err != nil {
		return nil, err
	}
	account, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, keyError{fmt.Errorf("there is no account %q; make one with: aleph account create --account %s", name, name)}
	}
	return account, err
}

func readKey(path string) (client.Account, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, keyError{fmt.Errorf("key file: %w", err)}
	}
	if runtime.GOOS != "windows" && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return nil, keyError{fmt.Errorf("key file %s can be read by others (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)}
	}
	if info.Size() > maxKeyFile {
		return nil, keyError{fmt.Errorf("%s is too large for a key file", path)}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, keyError{fmt.Errorf("key file: %w", err)}
	}
	account, err := parseKey(raw)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return account, nil
}

// parseKey reads the forms in which wallets give keys away: hex or 32 raw bytes (Ethereum), base58 or a list of numbers
// (Solana). The error never holds the key.
func parseKey(raw []byte) (client.Account, error) {
	text := strings.TrimSpace(string(raw))
	digits := strings.TrimPrefix(text, "0x")
	switch {
	case len(digits) == 64 && strings.Trim(digits, "0123456789abcdefABCDEF") == "":
		account, err := ethereum.FromHex(digits)
		if err != nil {
			return nil, keyError{err}
		}
		return account, nil
	case len(raw) == 32 && slices.ContainsFunc(raw, func(b byte) bool { return b < ' ' || b > '~' }):
		account, err := ethereum.NewAccount(raw)
		if err != nil {
			return nil, keyError{err}
		}
		return account, nil
	}
	account, err := solana.FromText(text)
	if err != nil {
		return nil, keyError{errors.New("no private key: want 64 hex digits (Ethereum), base58 or a list of 64 numbers (Solana)")}
	}
	return account, nil
}

// store keeps a key under a name, readable by its owner only, and never replaces one.
func (a *app) store(name, secret string) (path string, err error) {
	if path, err = a.keyPath(name); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", keyError{fmt.Errorf("store account %q: %w", name, err)}
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return "", keyError{fmt.Errorf("account %q exists already (%s); name another with --account", name, path)}
	}
	if err != nil {
		return "", keyError{fmt.Errorf("store account %q: %w", name, err)}
	}
	_, err = file.WriteString(secret + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return "", keyError{errors.Join(fmt.Errorf("store account %q: %w", name, err), os.Remove(path))}
	}
	return path, nil
}
