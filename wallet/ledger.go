package wallet

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// Transport carries commands to a device and its answers back, status word included.
type Transport interface {
	Exchange(ctx context.Context, command []byte) (answer []byte, err error)
	io.Closer
}

// The commands of Ledger's Ethereum application that are used here (its published protocol, ethapp.adoc).
const (
	ledgerClass       = 0xe0
	ledgerGetAddress  = 0x02
	ledgerSignTx      = 0x04
	ledgerSignMessage = 0x08

	ledgerFirst = 0x00
	ledgerMore  = 0x80
	ledgerChunk = 255 // bytes of one command's data
)

// LedgerPath is where Ethereum wallets on a device have their first account.
const LedgerPath = "44'/60'/0'/0/0"

// LedgerAddresses asks a device for the addresses of the first accounts, by the paths that wallets use.
func (w *Wallet) LedgerAddresses(ctx context.Context, count int) (paths, addresses []string, err error) {
	device, err := w.cfg.Ledger(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer device.Close()
	for i := range count {
		path := strings.TrimSuffix(LedgerPath, "0") + strconv.Itoa(i)
		address, err := ledgerAddress(ctx, device, path)
		if err != nil {
			return nil, nil, err
		}
		paths, addresses = append(paths, path), append(addresses, address)
	}
	return paths, addresses, nil
}

// encodePath writes a path such as 44'/60'/0'/0/0 as devices take it: a count and numbers of four bytes.
func encodePath(path string) ([]byte, error) {
	parts := strings.Split(strings.TrimPrefix(path, "m/"), "/")
	if len(parts) > 10 {
		return nil, fmt.Errorf("path %q is too long", path)
	}
	b := []byte{byte(len(parts))}
	for _, part := range parts {
		digits, hardened := strings.CutSuffix(part, "'")
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("path %q: want numbers between slashes, such as %s", path, LedgerPath)
		}
		if hardened {
			n |= 1 << 31
		}
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	return b, nil
}

func ledgerAddress(ctx context.Context, device Transport, path string) (string, error) {
	data, err := encodePath(path)
	if err != nil {
		return "", err
	}
	answer, err := command(ctx, device, ledgerGetAddress, ledgerFirst, data)
	if err != nil {
		return "", fmt.Errorf("ask the Ledger for the address at %s: %w", path, err)
	}
	// The public key and the address, each after its length.
	if len(answer) > 0 && len(answer) > int(answer[0])+1 {
		if rest := answer[1+answer[0]:]; len(rest) == 1+int(rest[0]) && rest[0] == 40 {
			return "0x" + string(rest[1:]), nil
		}
	}
	return "", fmt.Errorf("the Ledger's answer %x is not an address", answer)
}

// ledgerSign sends a path and a text in as many commands as that takes, and returns v, r and s. A person confirms on the device.
func ledgerSign(ctx context.Context, device Transport, instruction byte, path string, text []byte) ([]byte, error) {
	data, err := encodePath(path)
	if err != nil {
		return nil, err
	}
	data = append(data, text...)
	var answer []byte
	for at := byte(ledgerFirst); len(data) > 0; at = ledgerMore {
		part := data[:min(len(data), ledgerChunk)]
		data = data[len(part):]
		if answer, err = command(ctx, device, instruction, at, part); err != nil {
			return nil, fmt.Errorf("sign with the Ledger: %w", err)
		}
	}
	if len(answer) != 65 {
		return nil, fmt.Errorf("sign with the Ledger: its answer has %d bytes, want 65", len(answer))
	}
	return answer, nil
}

// command makes one exchange and reads the status word.
func command(ctx context.Context, device Transport, instruction, p1 byte, data []byte) ([]byte, error) {
	answer, err := device.Exchange(ctx, append([]byte{ledgerClass, instruction, p1, 0, byte(len(data))}, data...))
	if err != nil {
		return nil, err
	}
	if len(answer) < 2 {
		return nil, fmt.Errorf("the device answered %d bytes", len(answer))
	}
	body, status := answer[:len(answer)-2], binary.BigEndian.Uint16(answer[len(answer)-2:])
	switch status {
	case 0x9000:
		return body, nil
	case 0x6985, 0x6982:
		return nil, errors.New("it was refused on the device, or the device is locked")
	case 0x5515, 0x6b0c, 0x6804:
		return nil, errors.New("the device is locked: enter its PIN")
	case 0x6511, 0x6d00, 0x6e00, 0x6e01:
		return nil, errors.New("open the Ethereum application on the device")
	}
	return nil, fmt.Errorf("the device answered with status %04x", status)
}

// ledgerAccount signs on a device, which is connected to for each signature.
type ledgerAccount struct {
	chain         message.Chain
	address, path string
	connect       func(context.Context) (Transport, error)
}

func (a *ledgerAccount) Chain() message.Chain { return a.chain }
func (a *ledgerAccount) Address() string      { return a.address }

// Sign has the device sign as personal_sign does. It ends with ctx.
func (a *ledgerAccount) Sign(ctx context.Context, payload []byte) (string, error) {
	device, err := a.connect(ctx)
	if err != nil {
		return "", err
	}
	defer device.Close()
	sig, err := ledgerSign(ctx, device, ledgerSignMessage, a.path, append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload...))
	if err != nil {
		return "", err
	}
	v := sig[0]
	if v < 27 {
		v += 27
	}
	text := "0x" + hex.EncodeToString(append(sig[1:65:65], v))
	if err := signedBy(a.chain, a.address, payload, text); err != nil {
		return "", fmt.Errorf("the Ledger is not the one that has this account: %w", err)
	}
	return text, nil
}

// SignTransaction has the device sign what the hash of a transaction is made of, the type and the unsigned fields, and returns r, s
// and the parity, 65 bytes.
func (a *ledgerAccount) SignTransaction(ctx context.Context, unsigned []byte) (sig [65]byte, err error) {
	device, err := a.connect(ctx)
	if err != nil {
		return sig, err
	}
	defer device.Close()
	raw, err := ledgerSign(ctx, device, ledgerSignTx, a.path, unsigned)
	if err != nil {
		return sig, err
	}
	copy(sig[:], raw[1:])
	sig[64] = raw[0] & 1
	if raw[0] >= 27 {
		sig[64] = (raw[0] - 27) & 1
	}
	return sig, nil
}
