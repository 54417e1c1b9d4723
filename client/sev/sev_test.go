package sev_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/client/sev"
	"github.com/aleph-im/aleph-go/client/sev/sevtest"
)

var build = sev.Build{Major: sevtest.Major, Minor: sevtest.Minor, Build: sevtest.Build}

// verified is a chain that leads to the authority of a platform.
func verified(t *testing.T, p *sevtest.Platform) *sev.Chain {
	t.Helper()
	chain, err := sev.ParseChain(p.Certificates())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chain.Verify([]*sev.Authority{authority(t, p)}); err != nil {
		t.Fatal(err)
	}
	return chain
}

func authority(t *testing.T, p *sevtest.Platform) *sev.Authority {
	t.Helper()
	a, err := sev.ParseAuthority("ours", p.Authority())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAMDsKeysSignEachOther(t *testing.T) {
	known, err := sev.Authorities()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range known {
		names = append(names, a.Name)
	}
	if !slices.Equal(names, []string{"genoa", "milan", "naples", "rome", "turin"}) {
		t.Errorf("known are %q", names)
	}
}

func TestASecretReachesTheMachineThatWasMeasured(t *testing.T) {
	platform, firmware := sevtest.New(t), []byte("firmware")
	for _, policy := range []sev.Policy{0, sev.NoDebug, sev.NoDebug | sev.EncryptedState, 0x01370001} {
		s, err := sev.NewSession(verified(t, platform), policy)
		if err != nil {
			t.Fatal(err)
		}
		guest, err := platform.Launch(uint32(policy), s.Owner, s.Launch, firmware)
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.Check(build, sha256.Sum256(firmware), guest.Measure())
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"x", "correct horse battery staple", strings.Repeat("long ", sev.MaxPassphrase/5)} {
			header, packet, err := m.Seal([]byte(secret))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(packet, []byte(secret)) && len(secret) > 1 {
				t.Error("the packet shows the secret")
			}
			if err := guest.Inject(header, packet); err != nil || guest.Passphrase() != secret {
				t.Errorf("policy %#x: the machine has %.40q, %v", uint32(policy), guest.Passphrase(), err)
			}
		}
		for _, secret := range []string{"", "a\x00b", strings.Repeat("x", sev.MaxPassphrase+1)} {
			if _, _, err := m.Seal([]byte(secret)); err == nil {
				t.Errorf("a passphrase of %d bytes was sealed", len(secret))
			}
		}
	}
}

func TestAnotherMachineIsNotTrusted(t *testing.T) {
	platform, firmware := sevtest.New(t), []byte("firmware")
	s, err := sev.NewSession(verified(t, platform), sev.NoDebug)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := platform.Launch(0, s.Owner, s.Launch, firmware); err == nil {
		t.Error("the platform took another policy than the owner's")
	}
	if _, err := sevtest.New(t).Launch(uint32(sev.NoDebug), s.Owner, s.Launch, firmware); err == nil {
		t.Error("another platform unwrapped the keys")
	}
	guest, err := platform.Launch(uint32(sev.NoDebug), s.Owner, s.Launch, firmware)
	if err != nil {
		t.Fatal(err)
	}
	other, err := sev.NewSession(verified(t, platform), sev.NoDebug)
	if err != nil {
		t.Fatal(err)
	}
	laxer := *s
	laxer.Policy = 0
	broken := *s
	broken.Integrity = nil
	good, digest := guest.Measure(), sha256.Sum256(firmware)
	flipped := guest.Measure()
	flipped[3] ^= 1
	renonced := guest.Measure()
	renonced[47] ^= 1
	for name, try := range map[string]struct {
		session *sev.Session
		build   sev.Build
		digest  [32]byte
		answer  []byte
		mention bool // [sev.ErrMeasurement]
	}{
		"other firmware":    {s, build, sha256.Sum256([]byte("evil")), good, true},
		"other policy":      {&laxer, build, digest, good, true},
		"other session":     {other, build, digest, good, true},
		"other build":       {s, sev.Build{Major: 1, Minor: 55, Build: 22}, digest, good, true},
		"other measurement": {s, build, digest, flipped, true},
		"other nonce":       {s, build, digest, renonced, true},
		"short":             {s, build, digest, good[:47], false},
		"no keys":           {&broken, build, digest, good, false},
	} {
		if _, err := try.session.Check(try.build, try.digest, try.answer); err == nil || errors.Is(err, sev.ErrMeasurement) != try.mention {
			t.Errorf("%s: %v", name, err)
		}
	}

	// What is sealed for one launch is of no use to the next, even of the same session.
	m, err := s.Check(build, digest, good)
	if err != nil {
		t.Fatal(err)
	}
	header, packet, err := m.Seal([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	evil, err := platform.Launch(uint32(sev.NoDebug), s.Owner, s.Launch, []byte("evil"))
	if err != nil {
		t.Fatal(err)
	}
	if err := evil.Inject(header, packet); err == nil {
		t.Error("a machine that was not measured took the secret")
	}
}

func TestAChainIsOnlyAsGoodAsEachSignature(t *testing.T) {
	p := sevtest.New(t)
	known := []*sev.Authority{authority(t, p)}
	amd, err := sev.Authorities()
	if err != nil {
		t.Fatal(err)
	}
	others := sevtest.New(t).Certificates()
	const size, signatures = 2084, 1044
	for name, try := range map[string]struct {
		change func(c []byte) []byte
		known  []*sev.Authority
		want   string // "" for a chain that is good
	}{
		"as it is":            {func(c []byte) []byte { return c }, known, ""},
		"among others":        {func(c []byte) []byte { return c }, append(slices.Clone(amd), known...), ""},
		"with its authority":  {func(c []byte) []byte { return append(c, p.Authority()...) }, known, ""},
		"not AMD's":           {func(c []byte) []byte { return c }, amd, "no key of AMD"},
		"brings its own root": {func(c []byte) []byte { return append(c, p.Authority()...) }, amd, "nothing says that it is AMD's"},
		"no signature of AMD": {func(c []byte) []byte {
			copy(c[3*size+signatures:], []byte{0, 0x10, 0, 0, 0, 0, 0, 0})
			return c
		}, known, "has no signature"},
		"another's PDH":    {func(c []byte) []byte { return append(slices.Clone(others[:size]), c[size:]...) }, known, "the PDH does not carry the signature of the PEK"},
		"another's CEK":    {func(c []byte) []byte { return append(c[:3*size], others[3*size:]...) }, known, "the PEK does not carry the signature of the CEK"},
		"another's OCA":    {func(c []byte) []byte { copy(c[2*size:], others[2*size:3*size]); return c }, known, "the PEK does not carry the signature of the OCA"},
		"changed firmware": {func(c []byte) []byte { c[4]++; return c }, known, "the PDH does not carry"},
		"changed AMD's":    {func(c []byte) []byte { c[3*size+signatures+8]++; return c }, known, "no key of AMD"},
	} {
		chain, err := sev.ParseChain(try.change(p.Certificates()))
		if err == nil {
			_, err = chain.Verify(try.known)
		}
		if try.want == "" && err != nil || try.want != "" && (err == nil || !strings.Contains(err.Error(), try.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNoChainIsRefused(t *testing.T) {
	p := sevtest.New(t)
	change := func(at int, b byte) []byte { c := p.Certificates(); c[at] = b; return c }
	for name, raw := range map[string][]byte{
		"nothing":               nil,
		"cut":                   p.Certificates()[:3*2084+2083],
		"something follows":     append(p.Certificates(), 1),
		"half an authority":     append(p.Certificates(), p.Authority()[:832]...),
		"version 2":             change(0, 2),
		"another order":         append(p.Certificates()[2084:], p.Certificates()[:2084]...),
		"a PDH that signs":      change(12, 2),
		"an unknown curve":      change(16, 3),
		"a point off its curve": change(20, p.Certificates()[20]^1),
		"a number too large":    change(20+71, 1),
	} {
		if _, err := sev.ParseChain(raw); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	for name, at := range map[string]int{"version": 0, "usage": 36, "size of the exponent": 57, "size of the modulus": 61, "exponent": 64, "modulus": 64 + 256, "signature": 64 + 512, "root": 832 + 64 + 512} {
		a := p.Authority()
		a[at] ^= 0x40
		if _, err := sev.ParseAuthority("", a); err == nil {
			t.Errorf("an authority with another %s was read", name)
		}
	}
}

func FuzzParseChain(f *testing.F) {
	p := sevtest.New(f)
	f.Add(p.Certificates())
	f.Add(append(p.Certificates(), p.Authority()...))
	f.Add(p.Certificates()[:2084])
	f.Add([]byte{})
	known, err := sev.Authorities()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		chain, err := sev.ParseChain(raw)
		if err != nil {
			return
		}
		if _, err := chain.Verify(known); err == nil {
			t.Error("AMD signed a key that was made up")
		}
		if s, err := sev.NewSession(chain, sev.NoDebug); err == nil && (len(s.Owner) != 2084 || len(s.Launch) != 128) {
			t.Errorf("a session of %d and %d bytes", len(s.Owner), len(s.Launch))
		}
	})
}
