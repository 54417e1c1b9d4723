package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/wallet"
)

const defaultAccount = "default"

// walletFolder is where accounts are kept.
func (a *app) walletFolder() (string, error) {
	if home := a.getenv("ALEPH_CONFIG_HOME"); home != "" {
		return home, nil
	}
	if home := a.getenv("XDG_CONFIG_HOME"); home != "" {
		return filepath.Join(home, "aleph"), nil
	}
	home, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no folder for keys, set ALEPH_CONFIG_HOME: %w", err)
	}
	return filepath.Join(home, "aleph"), nil
}

// keyFolder is where plain key files are: one file each, named for the account.
func (a *app) keyFolder() (string, error) {
	folder, err := a.walletFolder()
	return filepath.Join(folder, "keys"), err
}

// wallet opens the accounts of the user.
func (a *app) wallet() (*wallet.Wallet, error) {
	folder, err := a.walletFolder()
	if err != nil {
		return nil, err
	}
	w, err := wallet.Open(wallet.Config{Dir: folder, Password: a.password})
	if err != nil {
		return nil, keyError{err}
	}
	return w, nil
}

// signer returns the account that the user speaks as: --key-file, --account, ALEPH_PRIVATE_KEY, ALEPH_PRIVATE_KEY_FILE or the stored
// default, in this order.
func (a *app) signer() (client.Account, error) {
	key, given, err := a.givenKey()
	if err != nil {
		return nil, keyError{err}
	}
	if given {
		return key, nil
	}
	w, err := a.wallet()
	if err != nil {
		return nil, err
	}
	account, err := w.Account(context.Background(), a.account) // whoever is asked for a password ends the wait
	if errors.Is(err, wallet.ErrNotFound) {
		name := a.nameOr(defaultAccount)
		err = fmt.Errorf("there is no account %q; make one with: aleph account create %s", name, name)
	}
	if err != nil {
		return nil, keyError{err}
	}
	return account, nil
}

// givenKey reads the key that the command line or the environment names, if one does. ALEPH_CHAIN says of which chain it is where
// the key does not.
func (a *app) givenKey() (key wallet.Key, given bool, err error) {
	chain := message.Chain(strings.ToUpper(a.getenv("ALEPH_CHAIN")))
	switch {
	case a.keyFile == "-":
		key, err = a.readKey(chain)
		return key, true, err
	case a.keyFile != "":
		key, err = a.readKeyFile(a.keyFile, chain)
		return key, true, err
	case a.account == "" && a.getenv("ALEPH_PRIVATE_KEY") != "":
		key, err = wallet.ParseKey([]byte(a.getenv("ALEPH_PRIVATE_KEY")), chain)
		if err != nil {
			err = fmt.Errorf("ALEPH_PRIVATE_KEY: %w", err)
		}
		return key, true, err
	case a.account == "" && a.getenv("ALEPH_PRIVATE_KEY_FILE") != "":
		if key, err = a.readKeyFile(a.getenv("ALEPH_PRIVATE_KEY_FILE"), chain); err != nil {
			err = fmt.Errorf("ALEPH_PRIVATE_KEY_FILE: %w", err)
		}
		return key, true, err
	}
	return key, false, nil
}

// readKeyFile reads a key from a file, which may be a pipe that nobody writes to.
func (a *app) readKeyFile(path string, chain message.Chain) (wallet.Key, error) {
	var read wallet.Key
	err := a.unlessInterrupted(func() (err error) {
		read, err = wallet.ReadKeyFile(path, chain)
		return err
	})
	if err == errInterrupted { // the read goes on
		return wallet.Key{}, err
	}
	return read, err
}

// readKey reads a key from standard input; a terminal asks for it and does not show it.
func (a *app) readKey(chain message.Chain) (wallet.Key, error) {
	in := a.stdin()
	if a.inIsTerminal() {
		text, err := a.hidden("Private key or phrase: ")
		if err != nil {
			return wallet.Key{}, err
		}
		in = strings.NewReader(text)
	}
	key, err := wallet.ReadKey(in, chain)
	if err != nil {
		return wallet.Key{}, fmt.Errorf("private key on standard input: %w", err)
	}
	return key, nil
}

// inIsTerminal reports whether somebody types what is read.
func (a *app) inIsTerminal() bool {
	in, ok := a.in.(*os.File)
	return ok && term.IsTerminal(int(in.Fd()))
}

func (a *app) nameOr(other string) string {
	if a.account != "" {
		return a.account
	}
	return other
}

// password asks for the password of a keystore: ALEPH_PASSWORD, or the terminal, which does not show it. It is never an argument,
// which others could see.
func (a *app) password(_ context.Context, account string, repeat bool) (string, error) {
	if p := a.getenv("ALEPH_PASSWORD"); p != "" {
		return p, nil
	}
	first, err := a.hidden(fmt.Sprintf("Password of account %q: ", account))
	if errors.Is(err, errNoTerminal) {
		err = errors.New("its password is not known: set ALEPH_PASSWORD, or use a terminal")
	}
	if err != nil || !repeat {
		return first, err
	}
	second, err := a.hidden("The same password again: ")
	if err == nil && first != second {
		err = errors.New("the two passwords differ")
	}
	return first, err
}

var errNoTerminal = errors.New("there is no terminal to ask on")

// hidden asks for what the terminal does not show.
func (a *app) hidden(question string) (string, error) {
	if a.noInput || !a.inIsTerminal() {
		return "", errNoTerminal
	}
	in := a.in.(*os.File)
	shown, err := term.GetState(int(in.Fd()))
	if err != nil {
		return "", fmt.Errorf("ask on the terminal: %w", err)
	}
	fmt.Fprint(a.err, question)
	var p []byte
	err = a.unlessInterrupted(func() (err error) {
		p, err = term.ReadPassword(int(in.Fd()))
		return err
	})
	fmt.Fprintln(a.err)
	if errors.Is(err, errInterrupted) {
		return "", errors.Join(err, term.Restore(int(in.Fd()), shown))
	}
	if err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	return string(p), nil
}
