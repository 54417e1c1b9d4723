package nuls

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/internal/vectors"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/signaturetest"
)

func TestAccountVectors(t *testing.T) {
	type detail struct {
		ChainID  uint16 `json:"chain_id"`
		Secret   string `json:"private_key_hex"`
		Mnemonic string
	}
	signaturetest.Accounts(t, message.ChainNULS2, func(t *testing.T, v signaturetest.Account[detail]) {
		secret, err := hex.DecodeString(v.Detail.Secret)
		if err != nil {
			t.Fatal(err)
		}
		network := cmp.Or(v.Detail.ChainID, Mainnet)
		a, err := NewAccount(secret, network)
		if err != nil {
			t.Fatal(err)
		}
		if a.Address() != v.Address || hex.EncodeToString(a.Secret()) != v.Detail.Secret {
			t.Errorf("address %s, want %s", a.Address(), v.Address)
		}
		if v.Detail.Mnemonic == "" {
			return
		}
		m, err := FromMnemonic(v.Detail.Mnemonic, "", network)
		if err != nil {
			t.Fatal(err)
		}
		if m.Address() != v.Address {
			t.Errorf("address of the phrase %s, want %s", m.Address(), v.Address)
		}
	})
}

func TestLegacyAccountVectors(t *testing.T) {
	type detail struct {
		ChainID uint16 `json:"chain_id"`
		Secret  string `json:"private_key_hex"`
		Good    struct {
			Digest     string `json:"digest_hex"`
			Serialized string `json:"serialized_hex"`
		} `json:"sign_GOOD"`
	}
	signaturetest.Accounts(t, message.ChainNULS, func(t *testing.T, v signaturetest.Account[detail]) {
		secret, err := hex.DecodeString(v.Detail.Secret)
		if err != nil {
			t.Fatal(err)
		}
		a, err := NewLegacyAccount(secret, v.Detail.ChainID)
		if err != nil {
			t.Fatal(err)
		}
		if a.Address() != v.Address || hex.EncodeToString(a.Secret()) != v.Detail.Secret {
			t.Errorf("address %s, want %s", a.Address(), v.Address)
		}
		if v.Detail.Good.Digest == "" {
			return
		}
		if digest := hashLegacy(withLength([]byte("GOOD"))); hex.EncodeToString(digest[:]) != v.Detail.Good.Digest {
			t.Errorf("digest %x, want %s", digest, v.Detail.Good.Digest)
		}
		if sig, err := a.Sign(t.Context(), []byte("GOOD")); err != nil || sig != v.Detail.Good.Serialized {
			t.Errorf("signature %s, %v, want %s", sig, err, v.Detail.Good.Serialized)
		}
	})
}

// TestRawFormNeedsTheOption runs the vectors that are signed over the bytes: two of them are real messages.
func TestRawFormNeedsTheOption(t *testing.T) {
	type vector struct {
		ID      string
		Notes   []string
		Message struct {
			Sender, Signature string
			Type              message.Type
			ItemHash          message.Hash `json:"item_hash"`
		}
	}
	var file struct{ Fixtures, Own []vector }
	vectors.Load(t, "signatures_nuls.json", &file)
	seen := 0
	for _, v := range append(file.Fixtures, file.Own...) {
		if v.ID != "nuls-own-raw-bytes" && !strings.Contains(strings.Join(v.Notes, " "), "only raw-bytes payload verifies") {
			continue
		}
		seen++
		m := &message.Message{
			Sender: v.Message.Sender, Chain: message.ChainNULS, Type: v.Message.Type, ItemHash: v.Message.ItemHash, Signature: v.Message.Signature,
		}
		if err := (LegacyVerifier{}).Verify(m); err == nil {
			t.Errorf("%s: accepted without the option", v.ID)
		}
		if err := (LegacyVerifier{Raw: true}).Verify(m); err != nil {
			t.Errorf("%s: refused with the option: %v", v.ID, err)
		}
		m.Type += "x"
		if err := (LegacyVerifier{Raw: true}).Verify(m); err == nil {
			t.Errorf("%s: accepted another message", v.ID)
		}
	}
	if seen != 3 {
		t.Errorf("%d vectors of the raw form, want 3", seen)
	}
}

func TestBytesAsPythonShowsThem(t *testing.T) {
	for in, want := range map[string]string{
		"":           `b''`,
		"a'b":        `b"a'b"`,
		`a"b`:        `b'a"b'`,
		`'"`:         `b'\'"'`,
		"\\\n\r\t":   `b'\\\n\r\t'`,
		"\x00\x1f~":  `b'\x00\x1f~'`,
		"\x7f\x80é/": `b'\x7f\x80\xc3\xa9/'`,
	} {
		if got := string(appendRepr(nil, []byte(in))); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestLengths(t *testing.T) {
	for n, want := range map[int]string{0: "00", 252: "fc", 253: "fdfd00", 65535: "fdffff", 65536: "fe00000100"} {
		if got := hex.EncodeToString(withLength(make([]byte, n))); !strings.HasPrefix(got, want) || len(got) != len(want)+2*n {
			t.Errorf("length %d begins with %.10s, want %s", n, got, want)
		}
	}
}

func TestMalformedIsRefused(t *testing.T) {
	a := GenerateLegacy(LegacyMainnet)
	m := &message.Message{Sender: a.Address(), Chain: message.ChainNULS}
	good, err := a.Sign(t.Context(), m.SigningPayload())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"", "21", "zz", good[2:], good[:len(good)-2], good + "00", "22" + good[2:], good[:70] + "ff" + good[72:], good[:72] + "31" + good[74:],
		strings.Repeat("21", 2000),
	} {
		m.Signature = text
		if err := (LegacyVerifier{}).Verify(m); err == nil {
			t.Errorf("accepted %s", text)
		}
	}
	m.Signature = good
	for _, sender := range []string{"", "N", "0", a.Address()[1:], a.Address() + "1", strings.Repeat("z", 4000)} {
		m.Sender = sender
		if err := (LegacyVerifier{}).Verify(m); err == nil {
			t.Errorf("accepted from %s", sender)
		}
	}
	if _, err := NewLegacyAccount(make([]byte, 32), LegacyMainnet); err == nil {
		t.Error("opened the key 0")
	}
	for _, network := range []uint16{0, 3} {
		if a, err := Generate(network); err == nil {
			t.Errorf("opened %s", a.Address())
		}
	}
}

func TestHeadersOutOfRangeAreRefused(t *testing.T) {
	a, err := Generate(Mainnet)
	if err != nil {
		t.Fatal(err)
	}
	m := &message.Message{Sender: a.Address(), Chain: message.ChainNULS2}
	good, err := a.Sign(t.Context(), m.SigningPayload())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	right := raw[0]
	for h := range 256 {
		raw[0] = byte(h)
		m.Signature = base64.StdEncoding.EncodeToString(raw)
		if err := (Verifier{}).Verify(m); (err == nil) != (raw[0] == right) {
			t.Errorf("header %d: %v, right is %d", h, err, right)
		}
	}
}

func FuzzVerify(f *testing.F) { signaturetest.Fuzz(f, message.ChainNULS2, Verifier{}.Verify) }

func FuzzLegacyVerify(f *testing.F) {
	signaturetest.Fuzz(f, message.ChainNULS, LegacyVerifier{Raw: true}.Verify)
}
