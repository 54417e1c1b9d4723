// Package sevtest stands in for a secure processor in tests: it has certificates, takes the session of an owner, measures what is
// loaded and unwraps secrets, and refuses what the firmware of the processor refuses. It is written from the specification again,
// and shares no code with package sev, so that an error there meets none here.
package sevtest

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"testing"
)

// What the firmware of this processor calls itself.
const (
	Major = 1
	Minor = 55
	Build = 21
)

// Platform is a secure processor.
type Platform struct {
	certificates, authority []byte
	exchange                *ecdsa.PrivateKey
}

// New makes a processor with keys of its own, and an authority in AMD's place.
func New(t testing.TB) *Platform {
	t.Helper()
	p := &Platform{}
	var root, signing *rsa.PrivateKey
	for _, k := range []**rsa.PrivateKey{&root, &signing} {
		var err error
		if *k, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			t.Fatal(err)
		}
	}
	var pek, oca, cek *ecdsa.PrivateKey
	for _, k := range []**ecdsa.PrivateKey{&p.exchange, &pek, &oca, &cek} {
		var err error
		if *k, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	pdhCertificate := body(0x1003, 3, &p.exchange.PublicKey)
	pekCertificate := body(0x1002, 2, &pek.PublicKey)
	ocaCertificate := body(0x1001, 2, &oca.PublicKey)
	cekCertificate := body(0x1004, 2, &cek.PublicKey)
	signECDSA(t, pdhCertificate, 0, 0x1002, pek)
	signECDSA(t, pekCertificate, 0, 0x1004, cek)
	signECDSA(t, pekCertificate, 1, 0x1001, oca)
	signECDSA(t, ocaCertificate, 0, 0x1001, oca)
	at := cekCertificate[1044:]
	binary.LittleEndian.PutUint32(at, 0x13)
	binary.LittleEndian.PutUint32(at[4:], 1)
	copy(at[8:], signRSA(t, cekCertificate[:1044], signing))
	for _, c := range [][]byte{pdhCertificate, pekCertificate, ocaCertificate, cekCertificate} {
		p.certificates = append(p.certificates, c...)
	}
	for _, k := range []struct {
		usage uint32
		key   *rsa.PrivateKey
	}{{0x13, signing}, {0, root}} {
		c := make([]byte, 64+2*256)
		binary.LittleEndian.PutUint32(c, 1)
		binary.LittleEndian.PutUint32(c[36:], k.usage)
		binary.LittleEndian.PutUint32(c[56:], 2048)
		binary.LittleEndian.PutUint32(c[60:], 2048)
		copy(c[64:], little(big.NewInt(int64(k.key.E))))
		copy(c[64+256:], little(k.key.N))
		p.authority = append(append(p.authority, c...), signRSA(t, c, root)...)
	}
	return p
}

// written is a platform as Marshal writes it.
type written struct{ Certificates, Authority, Exchange []byte }

// Marshal writes the platform down for another process.
func (p *Platform) Marshal(t testing.TB) []byte {
	t.Helper()
	key, err := x509.MarshalECPrivateKey(p.exchange)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(written{p.certificates, p.authority, key})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Unmarshal reads what Marshal wrote.
func Unmarshal(raw []byte) (*Platform, error) {
	var w written
	if err := json.Unmarshal(raw, &w); err != nil {
		return nil, err
	}
	key, err := x509.ParseECPrivateKey(w.Exchange)
	if err != nil {
		return nil, err
	}
	return &Platform{w.Certificates, w.Authority, key}, nil
}

// Certificates are what the platform exports: PDH, PEK, OCA and CEK.
func (p *Platform) Certificates() []byte { return append([]byte(nil), p.certificates...) }

// Authority is ASK and ARK, as AMD would publish them.
func (p *Platform) Authority() []byte { return append([]byte(nil), p.authority...) }

func little(n *big.Int) []byte { return reversed(n.Bytes()) }

func body(usage, algorithm uint32, key *ecdsa.PublicKey) []byte {
	c := make([]byte, 2084)
	for at, v := range map[int]uint32{0: 1, 8: usage, 12: algorithm, 16: 2, 1044: 0x1000, 1564: 0x1000} {
		binary.LittleEndian.PutUint32(c[at:], v)
	}
	point, err := key.Bytes()
	if err != nil {
		panic(err) // it was generated
	}
	copy(c[20:], little(new(big.Int).SetBytes(point[1:49])))
	copy(c[92:], little(new(big.Int).SetBytes(point[49:])))
	return c
}

func signECDSA(t testing.TB, c []byte, slot int, usage uint32, key *ecdsa.PrivateKey) {
	t.Helper()
	sum := sha256.Sum256(c[:1044])
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	at := c[1044+520*slot:]
	binary.LittleEndian.PutUint32(at, usage)
	binary.LittleEndian.PutUint32(at[4:], 2)
	copy(at[8:], little(r))
	copy(at[80:], little(s))
}

func signRSA(t testing.TB, b []byte, key *rsa.PrivateKey) []byte {
	t.Helper()
	sum := sha256.Sum256(b)
	signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: sha256.Size})
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 256)
	copy(out, little(new(big.Int).SetBytes(signature)))
	return out
}

// Guest is a machine that is loaded and waits for its secret.
type Guest struct {
	tek, tik    []byte
	measurement []byte // MAC, nonce
	secret      []byte
}

func sum(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// Launch begins a machine under a policy with the owner's certificate and session, and loads it: loaded is all that is measured.
func (p *Platform) Launch(policy uint32, owner, session, loaded []byte) (*Guest, error) {
	if len(owner) != 2084 || len(session) != 128 || binary.LittleEndian.Uint32(owner) != 1 || binary.LittleEndian.Uint32(owner[8:]) != 0x1003 {
		return nil, errors.New("invalid certificate")
	}
	point := append([]byte{4}, append(reversed(owner[20:68]), reversed(owner[92:140])...)...)
	other, err := ecdh.P384().NewPublicKey(point)
	if err != nil {
		return nil, fmt.Errorf("invalid certificate: %w", err)
	}
	own, err := p.exchange.ECDH()
	if err != nil {
		return nil, err
	}
	z, err := own.ECDH(other)
	if err != nil {
		return nil, err
	}
	nonce, wrapped, iv, wrapMAC, policyMAC := session[:16], session[16:48], session[48:64], session[64:96], session[96:]
	const counter, bits = "\x01\x00\x00\x00", "\x80\x00\x00\x00"
	master := sum(z, counter, "sev-master-secret\x00", string(nonce), bits)[:16]
	kek := sum(master, counter, "sev-kek\x00", bits)[:16]
	kik := sum(master, counter, "sev-kik\x00", bits)[:16]
	if !hmac.Equal(wrapMAC, sum(kik, string(wrapped))) {
		return nil, errors.New("bad measurement of the wrapped keys")
	}
	keys := counterMode(kek, iv, wrapped)
	g := &Guest{tek: keys[:16], tik: keys[16:]}
	flags := make([]byte, 4)
	binary.LittleEndian.PutUint32(flags, policy)
	if !hmac.Equal(policyMAC, sum(g.tik, string(flags))) {
		return nil, errors.New("bad measurement of the policy")
	}
	launch := sha256.Sum256(loaded)
	fresh := make([]byte, 16)
	_, _ = rand.Read(fresh)
	g.measurement = append(sum(g.tik, string([]byte{4, Major, Minor, Build}), string(flags), string(launch[:]), string(fresh)), fresh...)
	return g, nil
}

func reversed(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[len(b)-1-i] = b[i]
	}
	return out
}

func counterMode(key, iv, b []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // keys have 16 bytes
	}
	out := make([]byte, len(b))
	cipher.NewCTR(block, iv).XORKeyStream(out, b)
	return out
}

// Measure is the answer of LAUNCH_MEASURE.
func (g *Guest) Measure() []byte { return append([]byte(nil), g.measurement...) }

// Inject is LAUNCH_SECRET.
func (g *Guest) Inject(header, packet []byte) error {
	if len(header) != 52 || len(packet) == 0 || len(packet) > 16<<10 || len(packet)%16 != 0 {
		return errors.New("invalid length")
	}
	size := make([]byte, 4)
	binary.LittleEndian.PutUint32(size, uint32(len(packet)))
	want := sum(g.tik, "\x01", string(header[:20]), string(size), string(size), string(packet), string(g.measurement[:32]))
	if !hmac.Equal(want, header[20:]) {
		return errors.New("bad measurement of the packet")
	}
	g.secret = counterMode(g.tek, header[4:20], packet)
	return nil
}

// Passphrase is what GRUB and Linux find in the table of secrets under the name of the disk's passphrase; "" when there is none.
func (g *Guest) Passphrase() string {
	const table, passphrase = "\x42\xf5\x74\x1e\xdd\x71\x66\x4d\x96\x3e\xef\x42\x87\xff\x17\x3b", "\xe5\x69\x68\x73\xf0\x84\x73\x49\x92\xec\x06\x87\x9c\xe3\xda\x0b"
	s := g.secret
	if len(s) < 20 || string(s[:16]) != table || int(binary.LittleEndian.Uint32(s[16:])) > len(s) {
		return ""
	}
	for s = s[20:binary.LittleEndian.Uint32(s[16:])]; len(s) >= 20; {
		size := int(binary.LittleEndian.Uint32(s[16:]))
		if size < 20 || size > len(s) {
			return ""
		}
		if string(s[:16]) == passphrase {
			for i, b := range s[20:size] {
				if b == 0 {
					return string(s[20 : 20+i])
				}
			}
			return ""
		}
		s = s[size:]
	}
	return ""
}
