package sev

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Policy is what the processor enforces of a machine (chapter 3): flags in its lower half, the least version of the processor's
// firmware in the upper one.
type Policy uint32

const (
	NoDebug        Policy = 1 << 0 // nobody looks into its memory
	EncryptedState Policy = 1 << 2 // SEV-ES: nor into the registers of its processors
)

const (
	keySize   = 16 // bytes of the keys that both sides use
	nonceSize = 16
	macSize   = sha256.Size
)

// Session are the keys that an owner and one launch of one machine share. Who has it can read what is sealed with it: it is kept like
// a private key, and no longer than until the secret is sent.
type Session struct {
	Policy     Policy `json:"policy"`
	Encryption []byte `json:"tek"`     // the transport encryption key, 16 bytes
	Integrity  []byte `json:"tik"`     // the transport integrity key, 16 bytes
	Owner      []byte `json:"godh"`    // the owner's certificate for the exchange, which the processor gets
	Launch     []byte `json:"session"` // both keys wrapped for the processor, and the policy under its MAC (LAUNCH_START), 128 bytes
}

// NewSession makes keys for one launch on the platform of a chain, which was verified before.
func NewSession(c *Chain, policy Policy) (*Session, error) {
	exchange, err := c.exchange.key.ECDH()
	if err != nil {
		return nil, fmt.Errorf("make a session: %w", err)
	}
	if exchange.Curve() != ecdh.P384() {
		return nil, errors.New("make a session: the platform's PDH is not on the curve P-384")
	}
	own, err := ecdh.P384().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a session: %w", err)
	}
	shared, err := own.ECDH(exchange)
	if err != nil {
		return nil, fmt.Errorf("make a session: %w", err)
	}
	s := &Session{Policy: policy, Encryption: random(keySize), Integrity: random(keySize), Owner: ownerCertificate(own.PublicKey())}
	s.Launch = s.wrap(shared, random(nonceSize), random(aes.BlockSize))
	return s, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// ownerCertificate is an unsigned PDH certificate of the owner's key (appendix C).
func ownerCertificate(key *ecdh.PublicKey) []byte {
	raw := make([]byte, certificateSize)
	put := func(at int, v uint32) { binary.LittleEndian.PutUint32(raw[at:], v) }
	put(0, 1)
	put(usageAt, uint32(exchangeKey))
	put(algorithmAt, uint32(ecdhSHA256))
	put(curveAt, 2)
	point := key.Bytes()[1:]
	for i, n := range [][]byte{point[:48], point[48:]} {
		n = slices.Clone(n)
		slices.Reverse(n)
		copy(raw[pointAt+i*coordinateSize:], n)
	}
	put(signedSize, uint32(noKey))
	put(signedSize+signatureSize, uint32(noKey))
	return raw
}

// wrap returns nonce, wrapped keys, IV, their MAC and the MAC of the policy.
func (s *Session) wrap(shared, nonce, iv []byte) []byte {
	master := derive(shared, "sev-master-secret", nonce)
	wrapped := crypt(derive(master, "sev-kek", nil), iv, slices.Concat(s.Encryption, s.Integrity))
	return slices.Concat(nonce, wrapped, iv, mac(derive(master, "sev-kik", nil), wrapped), mac(s.Integrity, s.policy()))
}

func (s *Session) policy() []byte { return binary.LittleEndian.AppendUint32(nil, uint32(s.Policy)) }

// derive makes a key from another: NIST SP 800-108 in counter mode with HMAC-SHA-256, whose first round is enough for 16 bytes.
func derive(from []byte, label string, context []byte) []byte {
	const round, bits = 1, keySize * 8
	in := binary.LittleEndian.AppendUint32(nil, round)
	in = slices.Concat(in, []byte(label), []byte{0}, context)
	return mac(from, binary.LittleEndian.AppendUint32(in, bits))[:keySize]
}

func mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// crypt is AES-128 in counter mode, which is its own reverse.
func crypt(key, iv, in []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // keys have the size they are made with
	}
	out := make([]byte, len(in))
	cipher.NewCTR(block, iv).XORKeyStream(out, in)
	return out
}

// Build is the version of the firmware of the processor itself. What a node says of it, the measurement proves.
type Build struct{ Major, Minor, Build uint8 }

// ErrMeasurement is what [Session.Check] finds when another machine was loaded than the owner wants, or by somebody else.
var ErrMeasurement = errors.New("the measurement is not that of this firmware, policy and session")

// Measured is a launch that was found to be what the owner wants.
type Measured struct {
	session     *Session
	measurement []byte
}

// Check compares the answer of LAUNCH_MEASURE, a MAC and a nonce, with what it must be: launch is the SHA-256 of all that was
// loaded, which with SEV is the firmware of the machine alone, and with SEV-ES the states of its processors after it.
func (s *Session) Check(b Build, launch [sha256.Size]byte, answer []byte) (*Measured, error) {
	if len(s.Encryption) != keySize || len(s.Integrity) != keySize {
		return nil, errors.New("the keys of the session are not whole")
	}
	if len(answer) != macSize+nonceSize {
		return nil, fmt.Errorf("a measurement has %d bytes, this one %d", macSize+nonceSize, len(answer))
	}
	measurement, nonce := answer[:macSize], answer[macSize:]
	if !hmac.Equal(measurement, mac(s.Integrity, []byte{4, b.Major, b.Minor, b.Build}, s.policy(), launch[:], nonce)) {
		return nil, ErrMeasurement
	}
	return &Measured{s, bytes.Clone(measurement)}, nil
}

// What a table of secrets is made of: that of GRUB and of Linux' efi_secret, where the passphrase of the disk has a name of its own.
// Names are GUIDs in the byte order of UEFI.
var (
	tableName      = [16]byte{0x42, 0xf5, 0x74, 0x1e, 0xdd, 0x71, 0x66, 0x4d, 0x96, 0x3e, 0xef, 0x42, 0x87, 0xff, 0x17, 0x3b} // 1e74f542-71dd-4d66-963e-ef4287ff173b
	passphraseName = [16]byte{0xe5, 0x69, 0x68, 0x73, 0xf0, 0x84, 0x73, 0x49, 0x92, 0xec, 0x06, 0x87, 0x9c, 0xe3, 0xda, 0x0b} // 736869e5-84f0-4973-92ec-06879ce3da0b
)

// MaxPassphrase is how long a passphrase may be, in bytes: packets of secrets have 16 KiB at most.
const MaxPassphrase = 16<<10 - 2*(16+4) - 1

// Seal encrypts the passphrase of a disk for the machine that was measured, and for no other (LAUNCH_SECRET). It returns the
// header of the packet, 52 bytes, and the packet.
func (m *Measured) Seal(passphrase []byte) (header, packet []byte, err error) {
	switch {
	case len(passphrase) == 0 || len(passphrase) > MaxPassphrase:
		return nil, nil, fmt.Errorf("a passphrase has 1 to %d bytes, this one %d", MaxPassphrase, len(passphrase))
	case bytes.IndexByte(passphrase, 0) >= 0:
		return nil, nil, errors.New("a passphrase ends at a zero byte, and this one has one")
	}
	header, packet = m.seal(table(passphrase), random(aes.BlockSize))
	return header, packet, nil
}

func (m *Measured) seal(table, iv []byte) (header, packet []byte) {
	var plain [4]byte // flags: not compressed
	packet = crypt(m.session.Encryption, iv, table)
	size := binary.LittleEndian.AppendUint32(nil, uint32(len(packet)))
	proof := mac(m.session.Integrity, []byte{1}, plain[:], iv, size, size, packet, m.measurement)
	return slices.Concat(plain[:], iv, proof), packet
}

// table is a table with one entry, which ends with a zero byte, in whole blocks of 16 bytes.
func table(passphrase []byte) []byte {
	const head = 16 + 4
	entry := head + len(passphrase) + 1
	whole := (head + entry + 15) &^ 15
	out := make([]byte, 0, whole)
	out = binary.LittleEndian.AppendUint32(append(out, tableName[:]...), uint32(whole))
	out = binary.LittleEndian.AppendUint32(append(out, passphraseName[:]...), uint32(entry))
	return append(out, passphrase...)[:whole]
}
