package sev

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

// counted is the bytes first, first+1 and so on.
func counted(first, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(first + i)
	}
	return b
}

// The figures were worked out from the specification with Python's hmac and the openssl command.
func TestSessionMeasurementAndSecretAreThoseOfTheSpecification(t *testing.T) {
	s := &Session{Policy: 0x00170005, Encryption: counted(0x30, 16), Integrity: counted(0x40, 16)}
	const session = "101112131415161718191a1b1c1d1e1f8cab611b8a0b7f7132c900286ac793aaa7312fd5e77e874927017e246fed113c" +
		"202122232425262728292a2b2c2d2e2f737ee65029774c4330348c7a383c7d65ff46756afdcc9fe7584cb324da839dd4" +
		"552aeac21f2e08f0e17cfd3420c45514273e4f96b114d5ab934f835ba6bbcacc"
	if got := hex.EncodeToString(s.wrap(counted(0, 48), counted(0x10, 16), counted(0x20, 16))); got != session {
		t.Errorf("session %s", got)
	}
	answer, err := hex.DecodeString("68bb6a532bb08c8884a878a96fa3605afa0beb563e164e68769d639e59c22d89505152535455565758595a5b5c5d5e5f")
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Check(Build{1, 55, 21}, sha256.Sum256([]byte("firmware")), answer)
	if err != nil {
		t.Fatal(err)
	}
	header, packet := m.seal(table([]byte("correct horse")), counted(0x60, 16))
	if got := hex.EncodeToString(header); got != "00000000606162636465666768696a6b6c6d6e6f6e5447972e5f71df3b23000f551eece6bbeae712649d517a67d9b2bd15eb461d" {
		t.Errorf("header %s", got)
	}
	if got := hex.EncodeToString(packet); got != "d1ee50d069924667076e4ce82ce91faf9385b3d9a0616d6038346c38b483dbd21d84a5aff1031969ffc7f9ea29b01dcede72e3394e735643c3793df1a617f207" {
		t.Errorf("packet %s", got)
	}
}

func TestTablesEndWithAZeroByteInWholeBlocks(t *testing.T) {
	for n := 1; n < 40; n++ {
		got := table(bytes.Repeat([]byte{'x'}, n))
		if len(got)%16 != 0 || len(got) < 41+n || len(got) >= 41+n+16 || got[40+n] != 0 || int(got[16]) != len(got) || int(got[36]) != 21+n {
			t.Errorf("a passphrase of %d bytes: %x", n, got)
		}
	}
}
