package wallet

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// Signer is an account whose key another program has. For each signature the program is started, given on its standard input
//
//	{"chain": "ETH", "address": "0x…", "payload": "text to sign", "payload_hex": "the same bytes"}
//
// and must write {"signature": "…"} to its standard output, in the form that the chain's messages have, and end with status 0.
// What it writes to its standard error is shown when it fails.
type Signer struct {
	chain   message.Chain
	address string
	command []string
}

// NewSigner returns an account that signs with a program and its arguments. Nothing is started yet.
func NewSigner(chain message.Chain, address string, command []string) *Signer {
	return &Signer{chain, address, command}
}

// Chain implements signature.Account.
func (s *Signer) Chain() message.Chain { return s.chain }

// Address implements signature.Account.
func (s *Signer) Address() string { return s.address }

const maxSignerOutput = 64 << 10 // bytes

// Sign implements signature.Account. It ends with ctx.
func (s *Signer) Sign(ctx context.Context, payload []byte) (string, error) {
	request, err := json.Marshal(map[string]string{
		"chain": string(s.chain), "address": s.address, "payload": string(payload), "payload_hex": hex.EncodeToString(payload),
	})
	if err != nil {
		return "", err
	}
	program := exec.CommandContext(ctx, s.command[0], s.command[1:]...)
	program.Stdin = bytes.NewReader(append(request, '\n'))
	var out, complaint bounded
	program.Stdout, program.Stderr = &out, &complaint
	if err := program.Run(); err != nil {
		return "", fmt.Errorf("the signer %s failed: %w: %s", s.command[0], err, strings.TrimSpace(string(complaint.b)))
	}
	var reply struct {
		Signature string `json:"signature"`
	}
	if err := json.Unmarshal(out.b, &reply); err != nil || reply.Signature == "" {
		return "", fmt.Errorf(`the signer %s answered %.100q: want {"signature": "…"}`, s.command[0], out.b)
	}
	if err := signedBy(s.chain, s.address, payload, reply.Signature); err != nil {
		return "", fmt.Errorf("the signer %s: %w", s.command[0], err)
	}
	return reply.Signature, nil
}

// signedBy checks a signature that was made elsewhere, where that is possible without the whole message.
func signedBy(chain message.Chain, address string, payload []byte, text string) error {
	if !isEVM(chain) {
		return nil
	}
	by, err := ethereum.RecoverPersonal(payload, text)
	if err != nil {
		return err
	}
	if !strings.EqualFold(by, address) {
		return fmt.Errorf("the signature is from %s, and not from %s", by, address)
	}
	return nil
}

// bounded takes what a signer writes, and no more than that.
type bounded struct{ b []byte }

func (o *bounded) Write(p []byte) (int, error) {
	if len(o.b)+len(p) > maxSignerOutput {
		return 0, errors.New("it writes too much")
	}
	o.b = append(o.b, p...)
	return len(p), nil
}
