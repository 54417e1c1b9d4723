package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client/sev"
	"github.com/aleph-im/aleph-go/message"
)

const confidentialLong = `A confidential machine runs on a secure processor of AMD, SEV or SEV-ES, that keeps its memory from whoever has the computer. Its disk
is encrypted, and the passphrase is sent once the processor has proven which firmware it loaded. All of it is done here, without
sevctl. It was tried against a processor in software only, not yet on a real one.`

func (a *app) instanceConfidential() *cobra.Command {
	c := group("confidential", "Start an instance that its compute node cannot look into", "  aleph instance confidential start "+exampleInstance+" --secret-file passphrase.txt",
		a.confidentialInit(), a.confidentialStart())
	c.Long = confidentialLong
	return c
}

// confidentialFlags are those of both steps.
type confidentialFlags struct {
	roots string
}

func (f *confidentialFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.roots, "amd-roots", "", "`file` with AMD's keys (ask_ark_….cert) for a generation of processors that this tool does not know")
}

// confidentialView is how far a machine is. A contract with scripts: members are added, never changed.
type confidentialView struct {
	ItemHash message.Hash `json:"item_hash"`
	CRNURL   string       `json:"crn_url"`
	Policy   sev.Policy   `json:"policy"`
	AMD      string       `json:"amd,omitempty"`      // generation of processors to whose key of AMD the chain leads
	Firmware string       `json:"firmware,omitempty"` // SHA-256 that was measured
	Running  bool         `json:"running"`
}

func writeConfidential(w io.Writer, v confidentialView) {
	fmt.Fprintf(w, "instance\t%s\nnode\t%s\npolicy\t%#x\n", v.ItemHash, v.CRNURL, uint32(v.Policy))
	if v.AMD != "" {
		fmt.Fprintf(w, "processor\tvouched for by AMD's key of %s\n", v.AMD)
	}
	if v.Firmware != "" {
		fmt.Fprintf(w, "measured\t%s\n", v.Firmware)
	}
	fmt.Fprintf(w, "running\t%s\n", yesNo(v.Running))
}

func (a *app) confidentialInit() *cobra.Command {
	var f confidentialFlags
	c := &cobra.Command{
		Use: "init HASH", Short: "Make keys for one start of a confidential instance and have it loaded", Args: cobra.ExactArgs(1),
		Long: confidentialLong + `

The certificates of the processor are led back to AMD, keys are made that only this processor can unwrap, and the compute node loads
the machine with them. They are kept in the tool's folder, readable by nobody else, until the secret is sent.`,
		Example: "  aleph instance confidential init " + exampleInstance,
		RunE: a.within(func(ctx context.Context, args []string) error {
			m, err := a.confidentialMachine(ctx, args[0])
			if err != nil {
				return err
			}
			_, amd, err := a.initialize(ctx, m, f)
			if err != nil {
				return err
			}
			return print(a, confidentialView{ItemHash: m.hash, CRNURL: m.url, Policy: m.policy, AMD: amd}, writeConfidential)
		}),
	}
	f.add(c)
	return c
}

func (a *app) confidentialStart() *cobra.Command {
	var f confidentialFlags
	var firmware, digest, secretFile string
	c := &cobra.Command{
		Use: "start HASH", Short: "Check what was loaded and send the passphrase of the disk", Args: cobra.ExactArgs(1),
		Long: confidentialLong + `

An instance that is not loaded yet is loaded first, as aleph instance confidential init does. When what the processor measured is not
this firmware, under the policy of the instance and with the keys that were made here, nothing is sent.

With SEV-ES, bit 2 of the policy, the states of the processors are measured after the firmware: give the digest of all of it with
--firmware-hash. --secret-file is read without the end of its last line; otherwise the terminal asks.`,
		Example: "  aleph instance confidential start " + exampleInstance + " --secret-file passphrase.txt\n" +
			"  aleph instance confidential start " + exampleInstance + " --firmware OVMF.fd",
		RunE: a.within(func(ctx context.Context, args []string) error {
			m, err := a.confidentialMachine(ctx, args[0])
			if err != nil {
				return err
			}
			launch, err := m.launchDigest(firmware, digest)
			if err != nil {
				return err
			}
			secret, err := a.passphrase(secretFile)
			if err != nil {
				return err
			}
			v := confidentialView{ItemHash: m.hash, CRNURL: m.url, Policy: m.policy, Firmware: hex.EncodeToString(launch[:])}
			s, err := m.resume()
			if err == nil && s == nil {
				s, v.AMD, err = a.initialize(ctx, m, f)
			}
			if err != nil {
				return err
			}
			if v.Running, err = a.startConfidential(ctx, m, s, launch, secret); err != nil {
				return err
			}
			return print(a, v, writeConfidential)
		}),
	}
	f.add(c)
	flags := c.Flags()
	flags.StringVar(&firmware, "firmware", "", "`file` of the firmware that the instance is to run; default the network's usual one")
	flags.StringVar(&digest, "firmware-hash", "", "SHA-256 of what is to be measured, in `hex`")
	flags.StringVar(&secretFile, "secret-file", "", "`file` with the passphrase of the disk, - for standard input")
	c.MarkFlagsMutuallyExclusive("firmware", "firmware-hash")
	return c
}

// launchDigest is what the processor has to have measured.
func (m *confidentialMachine) launchDigest(file, digest string) (sum [sha256.Size]byte, err error) {
	if digest == "" && m.policy&sev.EncryptedState != 0 {
		return sum, usageError{errors.New("with SEV-ES the states of the processors are measured, too: give the digest of firmware and states with --firmware-hash")}
	}
	switch {
	case file != "":
		raw, err := os.ReadFile(file)
		if err != nil {
			return sum, usageError{fmt.Errorf("--firmware: %w", err)}
		}
		return sha256.Sum256(raw), nil
	case digest == "" && m.firmware != usualFirmware:
		return sum, usageError{fmt.Errorf("the instance runs a firmware of its own, %s: name its file with --firmware, or its SHA-256 with --firmware-hash", m.firmware)}
	case digest == "":
		digest = usualFirmwareSHA256
	}
	raw, err := hex.DecodeString(digest)
	if err != nil || len(raw) != len(sum) {
		return sum, usageError{fmt.Errorf("--firmware-hash %s: want the 64 hex digits of a SHA-256", digest)}
	}
	return [sha256.Size]byte(raw), nil
}

// passphrase reads the secret: it is never an argument, which other users could see.
func (a *app) passphrase(file string) (secret []byte, err error) {
	switch file {
	case "":
		var text string
		if text, err = a.hidden("Passphrase of the disk: "); errors.Is(err, errNoTerminal) {
			err = errors.New("the passphrase of the disk is not known: name its file with --secret-file, or use a terminal")
		}
		secret = []byte(text)
	case "-":
		secret, err = io.ReadAll(io.LimitReader(a.stdin(), sev.MaxPassphrase+3))
	default:
		secret, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("read the passphrase: %w", err)}
	}
	secret = bytes.TrimSuffix(bytes.TrimSuffix(secret, []byte("\n")), []byte("\r"))
	if len(secret) == 0 || len(secret) > sev.MaxPassphrase {
		return nil, usageError{fmt.Errorf("a passphrase has 1 to %d bytes, this one %d", sev.MaxPassphrase, len(secret))}
	}
	return secret, nil
}
