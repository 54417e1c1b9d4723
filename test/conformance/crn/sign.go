package crn

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/mr-tron/base58"

	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// wallet is an Ethereum key.
type wallet struct{ secret []byte }

// number is the wallet whose key is a number.
func number(n byte) wallet { return wallet{append(make([]byte, 31), n)} }

// The wallets of the rig. The first is corenodetest.Owner, to whom everything belongs.
var (
	owner, scheduler, stranger = number(1), number(2), number(3)
	otherScheduler             = number(4)
)

// tokenHash is of the token "test" (appendix D.6).
const tokenHash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

func (w wallet) Address() string {
	account, err := ethereum.NewAccount(w.secret)
	if err != nil {
		panic(err) // a number between one and the order of the curve is a key
	}
	return account.Address()
}

func (w wallet) sign(payload []byte) string {
	proof, err := ethereum.SignPersonal(w.secret, payload)
	if err != nil {
		panic(err)
	}
	return proof
}

func hexAddress(text string) common.Address { return common.HexToAddress(text) }

// allocation makes the header of a signed allocation. changes replace members of what is signed.
func (w wallet) allocation(body string, changes map[string]any) string {
	sum := sha256.Sum256([]byte(body))
	order := map[string]any{
		"method": "POST", "path": "/control/allocations", "body_sha256": hex.EncodeToString(sum[:]), "iat": time.Now().Unix(),
		"nonce": rand.Text(),
	}
	maps.Copy(order, changes)
	payload, err := json.Marshal(order)
	if err != nil {
		panic(err)
	}
	return "Aleph-EIP191-V1 sig=" + strings.TrimPrefix(w.sign(payload), "0x") + ",payload=" + hex.EncodeToString(payload)
}

// ephemeral is a key that a wallet delegates to.
type ephemeral struct{ *ecdsa.PrivateKey }

func newEphemeral() ephemeral {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return ephemeral{key}
}

// delegation is what the wallet signs for it. changes replace members.
func (e ephemeral) delegation(address, chain string, changes map[string]any) []byte {
	point, err := e.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	v := map[string]any{
		"pubkey": map[string]any{
			"kty": "EC", "crv": "P-256", "x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
		},
		"alg": "ECDSA", "address": address, "chain": chain, "expires": time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.000Z"),
	}
	maps.Copy(v, changes)
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}

// operation signs what is to be done. changes replace members.
func (e ephemeral) operation(method, path string, changes map[string]any) signedHex {
	v := map[string]any{"time": time.Now().UTC().Format("2006-01-02T15:04:05.000000+00:00"), "method": method, "path": path, "domain": domain}
	maps.Copy(v, changes)
	payload, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	digest := sha256.Sum256(payload)
	r, s, err := ecdsa.Sign(rand.Reader, e.PrivateKey, digest[:])
	if err != nil {
		panic(err)
	}
	proof := make([]byte, 64)
	r.FillBytes(proof[:32])
	s.FillBytes(proof[32:])
	return signedHex{hex.EncodeToString(payload), hex.EncodeToString(proof)}
}

// signedHex is how both travel.
type signedHex struct {
	Payload   string `json:"payload"`
	Signature string `json:"signature"`
}

func (s signedHex) String() string {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// headers are those of an operation that the wallet orders.
func (w wallet) headers(method, path string) []string {
	e := newEphemeral()
	d := e.delegation(w.Address(), "ETH", nil)
	return []string{
		"X-SignedPubKey", signedHex{hex.EncodeToString(d), w.sign(d)}.String(), "X-SignedOperation", e.operation(method, path, nil).String(),
	}
}

// solana is a Solana wallet with a key of the rig's.
type solana struct{ ed25519.PrivateKey }

func newSolana() solana { return solana{ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))} }

func (s solana) Address() string { return base58.Encode(s.Public().(ed25519.PublicKey)) }

func (s solana) headers(method, path string) []string {
	e := newEphemeral()
	d := hex.EncodeToString(e.delegation(s.Address(), "SOL", nil))
	return []string{
		"X-SignedPubKey", signedHex{d, hex.EncodeToString(ed25519.Sign(s.PrivateKey, []byte(d)))}.String(),
		"X-SignedOperation", e.operation(method, path, nil).String(),
	}
}
