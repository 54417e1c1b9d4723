package sev

import (
	"crypto/rsa"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"path"
	"strings"
)

// Authority are AMD's keys for one generation of processors: its root (ARK), and with its signature the key (ASK) that signed those
// of the processors.
type Authority struct {
	Name          string // naples, rome, milan, genoa, turin, or what [ParseAuthority] was told
	signing, root *authorityKey
}

// Where things are in a certificate of AMD's own, in bytes (appendix B). The exponent, the modulus and the signature follow, each as
// long as the modulus.
const (
	authorityUsageAt    = 36
	authorityExponentAt = 56
	authorityModulusAt  = 60
	authorityNumbersAt  = 64
)

// ParseAuthority reads a file as AMD publishes it, ask_ark_….cert: an ASK and an ARK. The ASK must be signed by the ARK, and the ARK
// by itself; whether it is AMD's is for the caller to know.
func ParseAuthority(name string, raw []byte) (*Authority, error) {
	a := &Authority{Name: name}
	var err error
	if a.signing, raw, err = parseAuthorityKey(raw, signingKey); err != nil {
		return nil, err
	}
	if a.root, raw, err = parseAuthorityKey(raw, rootKey); err != nil {
		return nil, err
	}
	if len(raw) > 0 {
		return nil, fmt.Errorf("%d bytes follow the ARK", len(raw))
	}
	if a.root.verify(a.signing.signed, a.signing.signature) != nil {
		return nil, errors.New("the ASK does not carry the signature of the ARK")
	}
	if a.root.verify(a.root.signed, a.root.signature) != nil {
		return nil, errors.New("the ARK does not carry its own signature")
	}
	return a, nil
}

// parseAuthorityKey reads one certificate and returns what follows it.
func parseAuthorityKey(raw []byte, want usage) (k *authorityKey, rest []byte, err error) {
	if len(raw) < authorityNumbersAt {
		return nil, nil, fmt.Errorf("%s: it is not there", want)
	}
	number := func(at int) uint32 { return binary.LittleEndian.Uint32(raw[at:]) }
	bits := number(authorityModulusAt)
	k = &authorityKey{usage: usage(number(authorityUsageAt)), algorithm: rsaSHA256}
	switch {
	case number(0) != 1:
		return nil, nil, fmt.Errorf("%s: version %d of certificates is not known", want, number(0))
	case k.usage != want:
		return nil, nil, fmt.Errorf("a %s is where a %s should be", k.usage, want)
	case bits != 2048 && bits != 4096 || number(authorityExponentAt) != bits:
		return nil, nil, fmt.Errorf("%s: keys of %d bits are not known", want, bits)
	case bits == 4096:
		k.algorithm |= withSHA384
	}
	size := int(bits / 8)
	if len(raw) < authorityNumbersAt+3*size {
		return nil, nil, fmt.Errorf("%s: %d bytes of %d are there", want, len(raw), authorityNumbersAt+3*size)
	}
	part := func(i int) []byte { return raw[authorityNumbersAt+i*size : authorityNumbersAt+(i+1)*size] }
	exponent, err := bigEndian(part(0), 4)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", want, err)
	}
	modulus, err := bigEndian(part(1), size)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", want, err)
	}
	if k.signature, err = bigEndian(part(2), size); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", want, err)
	}
	k.key = &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(binary.BigEndian.Uint32(exponent))}
	k.signed = raw[:authorityNumbersAt+2*size]
	return k, raw[authorityNumbersAt+3*size:], nil
}

// published are AMD's files, as its site for developers and its key server have them.
//
//go:embed amd/ask_ark_*.cert
var published embed.FS

// Authorities returns AMD's keys for the generations of processors that are known here: Naples, Rome, Milan, Genoa and Turin.
func Authorities() ([]*Authority, error) {
	files, err := published.ReadDir("amd")
	if err != nil {
		return nil, err
	}
	var known []*Authority
	for _, f := range files {
		raw, err := published.ReadFile(path.Join("amd", f.Name()))
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(f.Name(), "ask_ark_"), ".cert")
		a, err := ParseAuthority(name, raw)
		if err != nil {
			return nil, fmt.Errorf("AMD's keys for %s: %w", name, err)
		}
		known = append(known, a)
	}
	return known, nil
}
