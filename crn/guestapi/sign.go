package guestapi

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// secretSize is the size of the node's secret in bytes.
const secretSize = 32

// readSecret returns the secret of the node, made on the first start. It never leaves the host, and neither do the keys.
func readSecret(path string) ([]byte, error) {
	secret, err := os.ReadFile(path)
	if err == nil && len(secret) != secretSize {
		return nil, fmt.Errorf("secret of the guest API: %s has %d bytes, want %d", path, len(secret), secretSize)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return secret, err
	}
	secret = make([]byte, secretSize)
	rand.Read(secret)
	// Whole or not at all: half a secret would be taken for another.
	f, err := os.CreateTemp(filepath.Dir(path), ".secret-*") // with mode 0600
	if err != nil {
		return nil, fmt.Errorf("make the secret of the guest API: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(secret)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("make the secret of the guest API: %w", err)
	}
	return secret, os.Rename(f.Name(), path)
}

// deriveAccount returns the account of a program: the same as long as the node has its secret, and nobody else's.
// Nearly every 32 bytes are a key; where they are not, the next ones are tried.
func deriveAccount(secret []byte, hash message.Hash) *ethereum.Account {
	for i := 0; ; i++ {
		key, err := hkdf.Key(sha256.New, secret, nil, fmt.Sprintf("aleph guest api account %s %d", hash, i), 32)
		if err != nil {
			panic(err) // only for keys longer than SHA-256 can make
		}
		if account, err := ethereum.NewAccount(key); err == nil {
			return account
		}
	}
}

func (p *program) properties(w http.ResponseWriter, r *http.Request) {
	public := secp256k1.PrivKeyFromBytes(p.account.Secret()).PubKey().SerializeCompressed()
	answer(w, map[string]string{
		"chain": string(p.account.Chain()), "curve": "secp256k1", "address": p.account.Address(), "public_key": "0x" + hex.EncodeToString(public),
	})
}

// maxMessage bounds the body of a message, in bytes.
const maxMessage = 1 << 20

func (p *program) sign(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	if err != nil {
		refuseBody(w, err)
		return
	}
	var envelope map[string]json.RawMessage
	if err := json.Unmarshal(raw, &envelope); err != nil || envelope == nil {
		refuse(w, http.StatusBadRequest, "The body is not a message in JSON")
		return
	}
	if err := p.signEnvelope(r, envelope); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	answer(w, envelope)
}

// signEnvelope makes a message one of the program's: it is the sender, and the signature is its. Other members stay as they are.
func (p *program) signEnvelope(r *http.Request, envelope map[string]json.RawMessage) error {
	m := message.Message{Sender: p.account.Address(), Chain: p.account.Chain()}
	for name, want := range map[string]string{"sender": m.Sender, "chain": string(m.Chain)} {
		if got := text(envelope[name]); got != "" && got != want {
			return fmt.Errorf("%s is %q: this program signs as %s on %s", name, got, m.Sender, m.Chain)
		}
		envelope[name] = quote(want)
	}
	if m.Type = message.Type(text(envelope["type"])); m.Type == "" {
		return errors.New("the message has no type")
	}
	if content := text(envelope["item_content"]); content != "" {
		if err := p.adopt(envelope, content); err != nil {
			return err
		}
	}
	var err error
	if m.ItemHash, err = message.ParseHash(text(envelope["item_hash"])); err != nil {
		return fmt.Errorf("item_hash: %w", err)
	}
	proof, err := p.account.Sign(r.Context(), m.SigningPayload())
	if err != nil {
		return err
	}
	envelope["signature"] = quote(proof)
	return nil
}

// adopt sees to it that an inline content belongs to somebody whom the network knows. Programs write what they know of
// themselves, their hash or host name, or nothing; that becomes the address of their key. Any other address stays: whether the program may
// speak for it is the network's to decide.
func (p *program) adopt(envelope map[string]json.RawMessage, content string) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(content), &members); err != nil || members == nil {
		return errors.New("item_content is not an object in JSON")
	}
	if slices.Contains(p.names, text(members["address"])) {
		members["address"] = quote(p.account.Address())
		raw, err := json.Marshal(members)
		if err != nil {
			return err
		}
		content = string(raw)
		envelope["item_content"], envelope["item_hash"] = quote(content), quote(string(message.HashBytes(raw)))
	}
	if hash := message.HashBytes([]byte(content)); text(envelope["item_hash"]) != string(hash) {
		return fmt.Errorf("item_hash is %q, and item_content hashes to %s", text(envelope["item_hash"]), hash)
	}
	return nil
}

// text returns a JSON string, or nothing for anything else.
func text(raw json.RawMessage) (s string) {
	_ = json.Unmarshal(raw, &s) // what is no text is as good as absent: whatever needs it says so
	return s
}

func quote(s string) json.RawMessage {
	raw, _ := json.Marshal(s) // a text always encodes
	return raw
}
