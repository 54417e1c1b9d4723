package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/signature/ethereum"
	"github.com/aleph-im/aleph-go/wallet"
)

// address is the one that a command is about: what the user says, be it the name of an account or an alias, or else whom they
// speak for. No key is needed to know it.
func (a *app) address(said string) (string, error) {
	switch {
	case said != "":
		return a.resolve(said)
	case a.owner != "":
		return a.owner, nil
	}
	key, given, err := a.givenKey()
	switch {
	case err != nil:
		return "", keyError{err}
	case given:
		return key.Address(), nil
	}
	w, err := a.wallet()
	if err != nil {
		return "", err
	}
	e, err := w.Entry(a.account)
	if errors.Is(err, wallet.ErrNotFound) {
		name := a.nameOr(defaultAccount)
		err = fmt.Errorf("there is no account %q; make one with: aleph account create %s", name, name)
	}
	if err != nil {
		return "", keyError{err}
	}
	return e.Address, nil
}

// resolve turns the name of an account or an alias, or an address as people write it, into an address as the network does.
func (a *app) resolve(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	w, err := a.wallet()
	if err != nil {
		return "", err
	}
	address, err := plainAddress(w.Resolve(text))
	if err != nil {
		return "", usageError{fmt.Errorf("%s %w", text, err)}
	}
	return address, nil
}

// plainAddress checks that a text can be an address, so that nothing is sent to a name that is not known or to one that was
// mistyped. The network tells addresses of Ethereum apart by their case: in that of EIP-55 they are those that sign.
func plainAddress(text string) (string, error) {
	digits, ok := strings.CutPrefix(text, "0x")
	if !ok {
		if len(text) < 26 || strings.IndexFunc(text, func(r rune) bool { return r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) >= 0 {
			return "", errors.New("is no address, and no account or alias has that name; those are in: aleph account list, aleph account alias list")
		}
		return text, nil
	}
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != 20 {
		return "", fmt.Errorf("is no address: 0x is followed by 40 hex digits, not by %d characters", utf8.RuneCountInString(digits))
	}
	whole := ethereum.ChecksumAddress([20]byte(raw))
	if text != whole && digits != strings.ToLower(digits) && digits != strings.ToUpper(digits) {
		return "", errors.New("is not an address as wallets write it: a character is wrong, or the case of one")
	}
	return whole, nil
}

// resolveAll is resolve for several addresses.
func (a *app) resolveAll(texts []string) ([]string, error) {
	var addresses []string
	for _, text := range texts {
		address, err := a.resolve(text)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, address)
	}
	return addresses, nil
}

func addressOf(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// ofOwner lets a command that takes an ADDRESS be told it with --owner as well, which is how those are told it that take something else.
func ofOwner(c *cobra.Command) *cobra.Command {
	var owner string
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		switch {
		case owner == "":
			return run(c, args)
		case len(args) > 0:
			return usageError{fmt.Errorf("say one address: %s, or --owner %s", args[0], owner)}
		}
		return run(c, []string{owner})
	}
	c.Flags().StringVar(&owner, "owner", "", "the same as `ADDRESS`")
	return c
}
