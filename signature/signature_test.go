package signature

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/internal/vectors"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/avalanche"
	"github.com/aleph-im/aleph-go/signature/cosmos"
	"github.com/aleph-im/aleph-go/signature/ethereum"
	"github.com/aleph-im/aleph-go/signature/nuls"
	"github.com/aleph-im/aleph-go/signature/solana"
	"github.com/aleph-im/aleph-go/signature/substrate"
	"github.com/aleph-im/aleph-go/signature/tezos"
	"pgregory.net/rapid"
)

type vector struct {
	ID       string
	Message  json.RawMessage
	Expected string
}

// families name the vector files.
var families = []string{"evm", "sol", "es", "tezos", "dot", "csdk", "avax", "nuls", "nuls2"}

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
		Time              any
	}
	if err := json.Unmarshal(v.Message, &e); err != nil {
		t.Fatalf("%s: %v", v.ID, err)
	}
	seconds, _ := e.Time.(float64) // some fixtures have it as a text; no signature of theirs covers it
	return &message.Message{
		Sender: e.Sender, Chain: e.Chain, Type: e.Type, ItemHash: e.ItemHash, Signature: e.Signature,
		Time: message.TimeFromSeconds(seconds),
	}
}

// TestVectorTable checks each verdict, and prints how many there are of each chain.
func TestVectorTable(t *testing.T) {
	r := Default()
	type counts struct{ run, valid, invalid, unknown, failed int }
	table := map[message.Chain]*counts{}
	for _, family := range families {
		for _, v := range load(t, family) {
			m := v.envelope(t)
			c := table[m.Chain]
			if c == nil {
				c = &counts{}
				table[m.Chain] = c
			}
			c.run++
			if v.Expected != "valid" && v.Expected != "invalid" {
				t.Errorf("%s: there is no verdict %q", v.ID, v.Expected)
			}
			if !t.Run(v.ID, func(t *testing.T) {
				err := r.Verify(m)
				if v.Expected == "valid" {
					c.valid++
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				want := message.ErrInvalidSignature
				if _, known := r.verifiers[m.Chain]; known {
					c.invalid++
				} else {
					c.unknown++
					want = message.ErrInvalidFormat
				}
				checkCode(t, err, want)
			}) {
				c.failed++
			}
		}
	}
	var b strings.Builder
	var sum counts
	line := func(chain string, c counts) {
		fmt.Fprintf(&b, "\n%-12s %5d %6d %8d %8d %7d", chain, c.run, c.valid, c.invalid, c.unknown, c.failed)
	}
	fmt.Fprintf(&b, "\n%-12s %5s %6s %8s %8s %7s", "chain", "run", "valid", "invalid", "unknown", "failed")
	for _, chain := range slices.Sorted(maps.Keys(table)) {
		c := table[chain]
		line(string(chain), *c)
		sum = counts{sum.run + c.run, sum.valid + c.valid, sum.invalid + c.invalid, sum.unknown + c.unknown, sum.failed + c.failed}
	}
	line("all", sum)
	for _, chain := range message.Chains() {
		if table[chain] == nil {
			t.Errorf("no vectors of %s", chain)
		}
	}
	t.Log(b.String())
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
	key := []byte(strings.Repeat("B", 32))
	sol, err := solana.NewAccount(key)
	if err != nil {
		t.Fatal(err)
	}
	all := []Account{sol, sol.Eclipse()}
	add := func(a Account, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	add(ethereum.NewAccount(key))
	for _, curve := range []tezos.Curve{tezos.Ed25519, tezos.Secp256k1, tezos.P256} {
		add(tezos.NewAccount(curve, key))
	}
	for _, network := range []uint16{0, substrate.Generic, 63, 64, 1284, 16383} {
		add(substrate.NewAccount(key, network))
	}
	for _, hrp := range []string{"cosmos", "osmo"} {
		add(cosmos.NewAccount(key, hrp))
	}
	for _, chain := range []string{"X", "P", "C"} {
		add(avalanche.NewAccount(key, chain))
	}
	for _, network := range []uint16{nuls.LegacyMainnet, nuls.LegacyTestnet} {
		add(nuls.NewLegacyAccount(key, network))
	}
	for _, network := range []uint16{nuls.Mainnet, nuls.Testnet} {
		add(nuls.NewAccount(key, network))
	}
	return all
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

// TestNoByteOfASignedMessageMayChange flips one bit anywhere in what is signed.
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
		changed := *m
		switch rapid.IntRange(0, 3).Draw(t, "part") {
		case 0:
			changed.ItemHash = flip(t, m.ItemHash)
		case 1:
			changed.Sender = flip(t, m.Sender)
		case 2:
			changed.Type = flip(t, m.Type)
		case 3:
			changed.Chain = rapid.SampledFrom(message.Chains()).Filter(func(c message.Chain) bool { return c != m.Chain }).Draw(t, "chain")
		}
		if err := r.Verify(&changed); err == nil {
			t.Fatalf("accepted %+v instead of %+v", changed, m)
		}
	})
}

func flip[T ~string](t *rapid.T, text T) T {
	b := []byte(text)
	b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 6).Draw(t, "bit")
	return T(b)
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

// TestLongSignaturesAreRefusedUnread takes a good signature that only white space makes long.
func TestLongSignaturesAreRefusedUnread(t *testing.T) {
	r := Default()
	for _, v := range load(t, "sol") {
		if v.Expected != "valid" {
			continue
		}
		m := v.envelope(t)
		m.Signature += strings.Repeat(" ", MaxSignature-len(m.Signature))
		if err := r.Verify(m); err != nil {
			t.Fatal(err)
		}
		m.Signature += " "
		checkCode(t, r.Verify(m), message.ErrInvalidSignature)
	}
}

func TestPrintingAnAccountShowsNoKey(t *testing.T) {
	timeless := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { // a time may hold the digits of the key
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	for _, a := range accounts(t) {
		var b strings.Builder
		slog.New(slog.NewJSONHandler(&b, timeless)).Info("opened", "account", a)
		slog.New(slog.NewTextHandler(&b, timeless)).Info("opened", "account", a)
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

func BenchmarkVerifyEthereum(b *testing.B)       { benchmarkVerify(b, "evm", "evm-own-ETH") }
func BenchmarkVerifySolana(b *testing.B)         { benchmarkVerify(b, "sol", "sol-own-valid") }
func BenchmarkVerifyTezosEd25519(b *testing.B)   { benchmarkVerify(b, "tezos", "tezos-tz1-raw") }
func BenchmarkVerifyTezosSecp256k1(b *testing.B) { benchmarkVerify(b, "tezos", "tezos-tz2-raw") }
func BenchmarkVerifyTezosP256(b *testing.B)      { benchmarkVerify(b, "tezos", "tezos-tz3-raw") }
func BenchmarkVerifySubstrate(b *testing.B)      { benchmarkVerify(b, "dot", "dot-plain") }
func BenchmarkVerifyCosmos(b *testing.B)         { benchmarkVerify(b, "csdk", "csdk-own-valid") }
func BenchmarkVerifyAvalanche(b *testing.B)      { benchmarkVerify(b, "avax", "avax-own-X") }
func BenchmarkVerifyNULS(b *testing.B)           { benchmarkVerify(b, "nuls", "nuls-own-repr") }
func BenchmarkVerifyNULS2(b *testing.B)          { benchmarkVerify(b, "nuls2", "nuls2-own-NULS") }

func benchmarkVerify(b *testing.B, family, id string) {
	r := Default()
	list := load(b, family)
	i := slices.IndexFunc(list, func(v vector) bool { return v.ID == id })
	if i < 0 {
		b.Fatalf("no vector %s", id)
	}
	m := list[i].envelope(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := r.Verify(m); err != nil {
				b.Error(err)
			}
		}
	})
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
