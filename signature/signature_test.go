package signature

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/internal/vectors"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
	"github.com/aleph-im/aleph-go/signature/solana"
	"pgregory.net/rapid"
)

type vector struct {
	ID       string
	Message  json.RawMessage
	Expected string
}

func load(t testing.TB, family string) []vector {
	var file struct{ Fixtures, Own []vector }
	vectors.Load(t, "signatures_"+family+".json", &file)
	return append(file.Fixtures, file.Own...)
}

// envelope reads what a signature covers, and the signature, from envelopes that need not be valid otherwise.
func (v vector) envelope(t testing.TB) *message.Message {
	var e struct {
		Sender, Signature string
		Chain             message.Chain
		Type              message.Type
		ItemHash          message.Hash `json:"item_hash"`
	}
	if err := json.Unmarshal(v.Message, &e); err != nil {
		t.Fatalf("%s: %v", v.ID, err)
	}
	return &message.Message{Sender: e.Sender, Chain: e.Chain, Type: e.Type, ItemHash: e.ItemHash, Signature: e.Signature}
}

func TestVectors(t *testing.T) {
	r := Default()
	for _, family := range []string{"evm", "sol", "es"} {
		for _, v := range load(t, family) {
			t.Run(v.ID, func(t *testing.T) {
				m := v.envelope(t)
				err := r.Verify(m)
				if v.Expected == "valid" {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				want := message.ErrInvalidSignature
				if _, known := r.verifiers[m.Chain]; !known {
					want = message.ErrInvalidFormat
				}
				// AVAX is here as an EVM chain; its own verifier would refuse the signature, with another code.
				checkCode(t, err, want)
			})
		}
	}
}

func checkCode(t *testing.T, err error, want message.ErrorCode) {
	t.Helper()
	var refusal *message.Error
	if !errors.As(err, &refusal) || refusal.Code != want {
		t.Fatalf("error %v, want code %d", err, want)
	}
}

func TestMissingSignatureAndUnknownChain(t *testing.T) {
	m := load(t, "evm")[0].envelope(t)
	m.Signature = ""
	checkCode(t, Default().Verify(m), message.ErrInvalidSignature)
	m.Chain = message.ChainAURORA
	checkCode(t, Default().Verify(m), message.ErrInvalidFormat)
}

func accounts(t testing.TB) []Account {
	eth, err := ethereum.Generate()
	if err != nil {
		t.Fatal(err)
	}
	sol, err := solana.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return []Account{eth, sol}
}

func TestWhatAnAccountSignsVerifies(t *testing.T) {
	r := Default()
	for _, a := range accounts(t) {
		m, _, err := message.Build(a.Address(), a.Chain(), message.TypePost,
			&message.Post{PostType: "test", Content: json.RawMessage(`{"<&>":"é"}`)}, nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := Sign(t.Context(), a, m); err != nil {
			t.Fatal(err)
		}
		parsed, _, err := message.Parse(m.AppendJSON(nil))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Verify(parsed); err != nil {
			t.Fatal(err)
		}
		m.Sender = "somebody else"
		if err := Sign(t.Context(), a, m); err == nil {
			t.Error("signed a message of somebody else")
		}
	}
}

// TestNoByteOfASignedMessageMayChange flips one bit anywhere in what is signed, or in the signature.
func TestNoByteOfASignedMessageMayChange(t *testing.T) {
	r := Default()
	all := accounts(t)
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SampledFrom(all).Draw(t, "account")
		m := &message.Message{
			Sender: a.Address(), Chain: a.Chain(), Type: message.TypePost,
			ItemHash: message.HashBytes(rapid.SliceOf(rapid.Byte()).Draw(t, "content")),
		}
		if err := Sign(t.Context(), a, m); err != nil {
			t.Fatal(err)
		}
		if err := r.Verify(m); err != nil {
			t.Fatal(err)
		}
		hash := []byte(m.ItemHash)
		hash[rapid.IntRange(0, len(hash)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 6).Draw(t, "bit")
		m.ItemHash = message.Hash(hash)
		if err := r.Verify(m); err == nil {
			t.Fatalf("accepted with the hash changed to %q", hash)
		}
	})
}

func TestAnySignatureTextIsAnswered(t *testing.T) {
	r := Default()
	rapid.Check(t, func(t *rapid.T) {
		m := &message.Message{
			Sender:    rapid.String().Draw(t, "sender"),
			Chain:     rapid.SampledFrom(message.Chains()).Draw(t, "chain"),
			Signature: rapid.String().Draw(t, "signature"),
		}
		if err := r.Verify(m); err == nil {
			t.Fatal("accepted")
		}
	})
}

func TestPrintingAnAccountShowsNoKey(t *testing.T) {
	eth, err := ethereum.FromHex(strings.Repeat("42", 32))
	if err != nil {
		t.Fatal(err)
	}
	sol, err := solana.NewAccount([]byte(strings.Repeat("B", 32)))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []Account{eth, sol} {
		var b strings.Builder
		slog.New(slog.NewJSONHandler(&b, nil)).Info("opened", "account", a)
		slog.New(slog.NewTextHandler(&b, nil)).Info("opened", "account", a)
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U"} {
			fmt.Fprintf(&b, verb+" ", a)
		}
		for _, piece := range []string{"4242", "66 66", "66,66", "BBB", "102 102", "1000010 1000010", "U+0042"} {
			if strings.Contains(b.String(), piece) {
				t.Errorf("%q of the key shows in %s", piece, b.String())
			}
		}
	}
}

func BenchmarkVerifyEthereum(b *testing.B) { benchmarkVerify(b, "evm", "evm-own-ETH") }
func BenchmarkVerifySolana(b *testing.B)   { benchmarkVerify(b, "sol", "sol-own-valid") }

func benchmarkVerify(b *testing.B, family, id string) {
	r := Default()
	for _, v := range load(b, family) {
		if v.ID != id {
			continue
		}
		m := v.envelope(b)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := r.Verify(m); err != nil {
					b.Error(err)
				}
			}
		})
	}
}

// BenchmarkParseAndVerify is what a node does with each message that it receives, before it stores it.
func BenchmarkParseAndVerify(b *testing.B) {
	r := Default()
	var raw []byte
	for _, v := range load(b, "evm") {
		if v.ID == "evm-own-ETH" {
			raw = v.Message
		}
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m, _, err := message.Parse(raw)
			if err != nil {
				b.Error(err)
				return
			}
			if err := r.Verify(m); err != nil {
				b.Error(err)
			}
		}
	})
}
