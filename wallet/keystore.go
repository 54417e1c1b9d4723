package wallet

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/crypto/scrypt"
	"golang.org/x/crypto/sha3"

	"github.com/aleph-im/aleph-go/message"
)

// keystore is version 3 of Ethereum's Web3 Secret Storage. Of keys of the Ethereum family the 32 bytes are encrypted, so that other
// wallets read the file; of others the text of the key, and chain says whose it is.
type keystore struct {
	Version int           `json:"version"`
	ID      string        `json:"id"`
	Address string        `json:"address"`
	Chain   message.Chain `json:"chain,omitempty"`
	Crypto  sealed        `json:"crypto"`
}

type sealed struct {
	Cipher     string          `json:"cipher"`
	Params     cipherParams    `json:"cipherparams"`
	CipherText string          `json:"ciphertext"`
	KDF        string          `json:"kdf"`
	KDFParams  json.RawMessage `json:"kdfparams"`
	MAC        string          `json:"mac"`
}

type cipherParams struct {
	IV string `json:"iv"`
}

type kdfParams struct {
	Length int    `json:"dklen"`
	Salt   string `json:"salt"`
	N      int    `json:"n,omitempty"`
	R      int    `json:"r,omitempty"`
	P      int    `json:"p,omitempty"`
	C      int    `json:"c,omitempty"`
	PRF    string `json:"prf,omitempty"`
}

const (
	scryptN     = 1 << 18 // takes 256 MiB and about a second, as Ethereum's wallets have it
	scryptR     = 8
	scryptP     = 1
	maxKeystore = 16 << 10 // bytes of a file
	maxScrypt   = 1 << 30  // bytes of memory that a keystore may ask for
	maxRounds   = 10 << 20 // of PBKDF2
)

// ErrPassword is what a wrong password gives.
var ErrPassword = errors.New("the password is wrong")

// encrypt returns the keystore of a key; n is the cost of its password.
func encrypt(key Key, password string, n int) ([]byte, error) {
	var salt, id [32]byte
	var iv [16]byte
	for _, b := range [][]byte{salt[:], iv[:], id[:16]} {
		rand.Read(b) // never fails
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // a random UUID
	derived, err := scrypt.Key([]byte(password), salt[:], n, scryptR, scryptP, 32)
	if err != nil {
		return nil, err
	}
	k := keystore{
		Version: 3, ID: fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16]),
		Address: strings.ToLower(strings.TrimPrefix(key.Address(), "0x")),
	}
	secret := key.Secret()
	if !isEVM(key.Chain()) {
		secret, k.Address = []byte(key.Text()), key.Address()
	}
	if key.Chain() != message.ChainETH {
		k.Chain = key.Chain()
	}
	text, err := ctr(derived[:16], iv[:], secret)
	if err != nil {
		return nil, err
	}
	params, err := json.Marshal(kdfParams{Length: 32, Salt: hex.EncodeToString(salt[:]), N: n, R: scryptR, P: scryptP})
	if err != nil {
		return nil, err
	}
	k.Crypto = sealed{
		Cipher: "aes-128-ctr", Params: cipherParams{hex.EncodeToString(iv[:])}, CipherText: hex.EncodeToString(text),
		KDF: "scrypt", KDFParams: params, MAC: hex.EncodeToString(macOf(derived, text)),
	}
	return json.MarshalIndent(k, "", "  ")
}

// Decrypt returns the key in a keystore. The error is [ErrPassword] when the password does not fit. chain says which of its family
// the key is for when the keystore does not; "" is Ethereum.
func Decrypt(raw []byte, password string, chain message.Chain) (Key, error) {
	var k keystore
	if err := json.Unmarshal(raw, &k); err != nil {
		return Key{}, fmt.Errorf("the keystore is not JSON: %w", err)
	}
	if k.Version != 3 || k.Crypto.Cipher != "aes-128-ctr" {
		return Key{}, fmt.Errorf("the keystore has version %d and cipher %.40q: 3 and aes-128-ctr are read", k.Version, k.Crypto.Cipher)
	}
	text, err1 := hex.DecodeString(k.Crypto.CipherText)
	iv, err2 := hex.DecodeString(k.Crypto.Params.IV)
	mac, err3 := hex.DecodeString(k.Crypto.MAC)
	if err := errors.Join(err1, err2, err3); err != nil || len(iv) != 16 {
		return Key{}, errors.New("the keystore is damaged: want hex, and an iv of 16 bytes")
	}
	derived, err := derive(k.Crypto.KDF, k.Crypto.KDFParams, password)
	if err != nil {
		return Key{}, err
	}
	if subtle.ConstantTimeCompare(macOf(derived, text), mac) != 1 {
		return Key{}, ErrPassword
	}
	secret, err := ctr(derived[:16], iv, text)
	if err != nil {
		return Key{}, err
	}
	if k.Chain != "" {
		chain = k.Chain
	}
	if chain == "" {
		chain = message.ChainETH
	}
	if isEVM(chain) {
		return NewKey(chain, secret)
	}
	if len(secret) == 32 { // as other tools keep seeds
		return NewKey(chain, secret)
	}
	return ParseKey(secret, chain)
}

// derive stretches a password, within bounds: the file says how long that takes.
func derive(kdf string, raw json.RawMessage, password string) ([]byte, error) {
	var p kdfParams
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("the keystore is damaged: %w", err)
	}
	salt, err := hex.DecodeString(p.Salt)
	if err != nil || p.Length != 32 {
		return nil, errors.New("the keystore is damaged: want a salt in hex and dklen 32")
	}
	switch {
	case kdf == "scrypt":
		if p.N < 2 || p.R < 1 || p.P < 1 || p.P > 64 || p.N > maxScrypt/128 || p.R > maxScrypt/128/p.N {
			return nil, fmt.Errorf("the keystore asks for scrypt with n %d, r %d, p %d, which is out of bounds", p.N, p.R, p.P)
		}
		return scrypt.Key([]byte(password), salt, p.N, p.R, p.P, 32)
	case kdf == "pbkdf2" && p.PRF == "hmac-sha256":
		if p.C < 1 || p.C > maxRounds {
			return nil, fmt.Errorf("the keystore asks for pbkdf2 with %d rounds, which is out of bounds", p.C)
		}
		return pbkdf2.Key(sha256.New, password, salt, p.C, 32)
	}
	return nil, fmt.Errorf("the keystore stretches its password with %.40q: scrypt, and pbkdf2 with hmac-sha256, are read", kdf)
}

func ctr(key, iv, text []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(text))
	cipher.NewCTR(block, iv).XORKeyStream(out, text)
	return out, nil
}

func macOf(derived, text []byte) []byte {
	h := sha3.NewLegacyKeccak256()
	h.Write(derived[16:32])
	h.Write(text)
	return h.Sum(nil)
}

func (w *Wallet) encrypt(ctx context.Context, name string, key Key) error {
	password, err := w.password(ctx, name, true)
	if err != nil {
		return err
	}
	if password == "" {
		return errors.New("an empty password protects nothing")
	}
	raw, err := encrypt(key, password, w.stretch)
	if err != nil {
		return err
	}
	return writeNew(w.path("keystores", name+".json"), append(raw, '\n'))
}

func (w *Wallet) decrypt(ctx context.Context, name string, chain message.Chain) (Key, error) {
	path := w.path("keystores", name+".json")
	raw, err := readOwn(path, maxKeystore)
	if errors.Is(err, fs.ErrNotExist) {
		return Key{}, fmt.Errorf("its keystore %s is gone", path)
	}
	if err != nil {
		return Key{}, err
	}
	password, err := w.password(ctx, name, false)
	if err != nil {
		return Key{}, err
	}
	return Decrypt(raw, password, chain)
}

func (w *Wallet) password(ctx context.Context, name string, repeat bool) (string, error) {
	if w.cfg.Password == nil {
		return "", errors.New("its keystore needs a password, and nobody can be asked for it")
	}
	return w.cfg.Password(ctx, name, repeat)
}
