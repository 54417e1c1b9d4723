// Package sev is the owner's side of a confidential machine on a secure processor of AMD, SEV or SEV-ES: what the owner does so that
// the machine gets a secret, such as the passphrase of its disk, that its compute node never sees. Commands and appendices are those
// of AMD's "Secure Encrypted Virtualization API", document 55766, revision 3.24.
//
// [ParseChain] reads the certificates of the processor and [Chain.Verify] leads them back to AMD. [NewSession] makes keys that only
// this processor can unwrap. Once the machine is loaded, [Session.Check] compares what the processor measured with what should run,
// and for what passed, and nothing else, [Measured.Seal] encrypts a secret. Nothing here talks to anybody; package client carries the
// bytes.
package sev

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// usage says what a key is for (appendices B and C).
type usage uint32

const (
	rootKey        usage = 0x0000 // ARK, AMD's root
	signingKey     usage = 0x0013 // ASK, AMD's for one generation of processors
	noKey          usage = 0x1000
	ownerKey       usage = 0x1001 // OCA, of who owns the platform
	platformKey    usage = 0x1002 // PEK
	exchangeKey    usage = 0x1003 // PDH, for Diffie and Hellman's exchange
	endorsementKey usage = 0x1004 // CEK, of the one processor
)

func (u usage) String() string {
	switch u {
	case rootKey:
		return "ARK"
	case signingKey:
		return "ASK"
	case ownerKey:
		return "OCA"
	case platformKey:
		return "PEK"
	case exchangeKey:
		return "PDH"
	case endorsementKey:
		return "CEK"
	}
	return fmt.Sprintf("key of usage %#x", uint32(u))
}

// algorithm is how a key is used (appendix C). The second byte tells the hash.
type algorithm uint32

const (
	rsaSHA256   algorithm = 0x0001
	ecdsaSHA256 algorithm = 0x0002
	ecdhSHA256  algorithm = 0x0003
	withSHA384  algorithm = 0x0100
)

func (a algorithm) hash() crypto.Hash {
	if a&withSHA384 != 0 {
		return crypto.SHA384
	}
	return crypto.SHA256
}

// Where things are in a certificate, in bytes (appendix C). Numbers are little-endian throughout.
const (
	certificateSize = 2084
	usageAt         = 8
	algorithmAt     = 12
	curveAt         = 16
	pointAt         = 20
	coordinateSize  = 72
	signedSize      = 1044 // what comes before the signatures
	signatureSize   = 520
)

// certificate is one of a platform.
type certificate struct {
	usage      usage
	algorithm  algorithm
	key        *ecdsa.PublicKey
	signed     []byte
	signatures [2]struct {
		usage     usage
		algorithm algorithm
		value     []byte // 512 bytes
	}
}

func parseCertificate(raw []byte, want usage) (*certificate, error) {
	if len(raw) < certificateSize {
		return nil, fmt.Errorf("%s: %d bytes of %d are there", want, len(raw), certificateSize)
	}
	number := func(at int) uint32 { return binary.LittleEndian.Uint32(raw[at:]) }
	c := &certificate{usage: usage(number(usageAt)), algorithm: algorithm(number(algorithmAt)), signed: raw[:signedSize]}
	if number(0) != 1 {
		return nil, fmt.Errorf("%s: version %d of certificates is not known", want, number(0))
	}
	if c.usage != want {
		return nil, fmt.Errorf("a %s is where a %s should be", c.usage, want)
	}
	family := ecdsaSHA256
	if want == exchangeKey {
		family = ecdhSHA256
	}
	if c.algorithm&^withSHA384 != family {
		return nil, fmt.Errorf("%s: its algorithm is %#x", want, uint32(c.algorithm))
	}
	var err error
	if c.key, err = parsePoint(number(curveAt), raw[pointAt:pointAt+2*coordinateSize]); err != nil {
		return nil, fmt.Errorf("%s: %w", want, err)
	}
	for i := range c.signatures {
		at := signedSize + i*signatureSize
		s := &c.signatures[i]
		s.usage, s.algorithm, s.value = usage(number(at)), algorithm(number(at+4)), raw[at+8:at+signatureSize]
	}
	return c, nil
}

// parsePoint reads a public key, which must be on its curve.
func parsePoint(curve uint32, raw []byte) (*ecdsa.PublicKey, error) {
	on, size := elliptic.P384(), 48
	switch curve {
	case 1:
		on, size = elliptic.P256(), 32
	case 2:
	default:
		return nil, fmt.Errorf("curve %d is not known", curve)
	}
	x, err1 := bigEndian(raw[:coordinateSize], size)
	y, err2 := bigEndian(raw[coordinateSize:], size)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return ecdsa.ParseUncompressedPublicKey(on, slices.Concat([]byte{4}, x, y))
}

// bigEndian turns a little-endian number into one of size bytes.
func bigEndian(raw []byte, size int) ([]byte, error) {
	if len(bytes.TrimRight(raw[size:], "\x00")) > 0 {
		return nil, fmt.Errorf("a number has more than %d bytes", size)
	}
	out := slices.Clone(raw[:size])
	slices.Reverse(out)
	return out, nil
}

// signedBy checks the signature of another certificate, or its own, with ECDSA.
func (c *certificate) signedBy(by *certificate) error {
	for _, s := range c.signatures {
		if s.usage != by.usage || s.algorithm != by.algorithm {
			continue
		}
		size := (by.key.Params().BitSize + 7) / 8
		r, err1 := bigEndian(s.value[:coordinateSize], size)
		v, err2 := bigEndian(s.value[coordinateSize:2*coordinateSize], size)
		if err1 == nil && err2 == nil && ecdsa.Verify(by.key, digest(s.algorithm.hash(), c.signed), new(big.Int).SetBytes(r), new(big.Int).SetBytes(v)) {
			return nil
		}
	}
	return fmt.Errorf("the %s does not carry the signature of the %s", c.usage, by.usage)
}

// signedByAMD checks the signature of a processor's own key.
func (c *certificate) signedByAMD(by *authorityKey) error {
	for _, s := range c.signatures {
		if s.usage != by.usage || s.algorithm != by.algorithm {
			continue
		}
		if value, err := bigEndian(s.value, by.key.Size()); err == nil && by.verify(c.signed, value) == nil {
			return nil
		}
	}
	return fmt.Errorf("the %s does not carry the signature of the %s", c.usage, by.usage)
}

func digest(h crypto.Hash, b []byte) []byte {
	w := h.New()
	w.Write(b)
	return w.Sum(nil)
}

// Chain are the certificates of a platform: of its key for the exchange, and those that vouch for it.
type Chain struct {
	exchange, platform, owner, endorsement *certificate
	brought                                *Authority // that the platform sent along; nil when it did not
}

// ParseChain reads what GET /about/certificates of a compute node answers: PDH, PEK, OCA and CEK, with ASK and ARK after them or not.
// It believes nothing yet.
func ParseChain(raw []byte) (*Chain, error) {
	c := &Chain{}
	for _, next := range []struct {
		want usage
		into **certificate
	}{{exchangeKey, &c.exchange}, {platformKey, &c.platform}, {ownerKey, &c.owner}, {endorsementKey, &c.endorsement}} {
		var err error
		if *next.into, err = parseCertificate(raw, next.want); err != nil {
			return nil, fmt.Errorf("certificates of the platform: %w", err)
		}
		raw = raw[certificateSize:]
	}
	if len(raw) > 0 {
		var err error
		if c.brought, err = ParseAuthority("the node's own", raw); err != nil {
			return nil, fmt.Errorf("certificates of the platform: %w", err)
		}
	}
	return c, nil
}

// Verify checks every signature of the chain, up to one of the authorities, and returns that. What a platform brings along of AMD's
// keys counts for nothing: anybody can make such.
func (c *Chain) Verify(known []*Authority) (*Authority, error) {
	for _, link := range []struct{ who, by *certificate }{
		{c.exchange, c.platform}, {c.platform, c.owner}, {c.owner, c.owner}, {c.platform, c.endorsement},
	} {
		if err := link.who.signedBy(link.by); err != nil {
			return nil, fmt.Errorf("verify the platform: %w", err)
		}
	}
	for _, a := range known {
		if c.endorsement.signedByAMD(a.signing) == nil {
			return a, nil
		}
	}
	err := errors.New("no key of AMD that is known here signed the processor's own key (CEK)")
	switch unsigned := c.endorsement.signatures[0].usage == noKey && c.endorsement.signatures[1].usage == noKey; {
	case unsigned:
		err = errors.New("the processor's own key (CEK) has no signature: the node has to export it with AMD's")
	case c.brought != nil && c.endorsement.signedByAMD(c.brought.signing) == nil:
		err = fmt.Errorf("%w; the node brought a key that did, of which nothing says that it is AMD's", err)
	}
	return nil, fmt.Errorf("verify the platform: its other signatures are good, but %w", err)
}

// authorityKey is a certificate of AMD's own (appendix B).
type authorityKey struct {
	usage     usage
	algorithm algorithm
	key       *rsa.PublicKey
	signed    []byte
	signature []byte // big-endian
}

func (k *authorityKey) verify(signed, signature []byte) error {
	h := k.algorithm.hash()
	return rsa.VerifyPSS(k.key, h, digest(h, signed), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
}
