package p2p

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/mr-tron/base58"
)

func TestKeyIsCreatedOnceAndPrivate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "node-secret.pkcs8.der")
	first, err := loadOrCreateKey(file, false)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	again, err := loadOrCreateKey(file, false)
	if err != nil || !first.Equals(again) {
		t.Fatalf("second load gives another key (%v)", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
		t.Errorf("files left beside the key: %v", left)
	}
}

// The peer id of a key is computed here from its definition: base58 of the sha2-256 multihash of the protobuf that
// holds the key's type and its SubjectPublicKeyInfo.
func TestPeerIDOfKeyWrittenByOpenSSL(t *testing.T) {
	der, err := os.ReadFile("testdata/openssl-genrsa.pkcs8.der")
	if err != nil {
		t.Fatal(err)
	}
	std, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(std.(*rsa.PrivateKey).Public())
	if err != nil {
		t.Fatal(err)
	}
	marshalled := append([]byte{0x08, 0, 0x12, byte(len(spki)) | 0x80, byte(len(spki) >> 7)}, spki...)
	sum := sha256.Sum256(marshalled)
	want := base58.Encode(append([]byte{0x12, 32}, sum[:]...))

	key, err := loadOrCreateKey("testdata/openssl-genrsa.pkcs8.der", false)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if got := id.String(); got != want || !strings.HasPrefix(got, "Qm") || len(got) != 46 {
		t.Errorf("peer id %s, want %s", got, want)
	}
}

func TestEd25519KeyCanBeChosen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	key, err := loadOrCreateKey(file, true)
	if err != nil || key.Type() != crypto.Ed25519 {
		t.Fatalf("%v, %v", key, err)
	}
	// What exists is kept, whatever a new one would be.
	again, err := loadOrCreateKey(file, false)
	if err != nil || !again.Equals(key) {
		t.Errorf("read back another key (%v)", err)
	}
}

func TestUnusableKeyFilesAreRefusedAndKept(t *testing.T) {
	der, err := os.ReadFile("testdata/openssl-genrsa.pkcs8.der")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"empty":     nil,
		"garbage":   []byte("not a key"),
		"PEM":       pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"truncated": der[:len(der)/2],
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := loadOrCreateKey(file, false); err == nil || !strings.Contains(err.Error(), "openssl") {
				t.Errorf("error %v does not say what to do", err)
			}
			if now, _ := os.ReadFile(file); string(now) != string(content) {
				t.Error("the file was changed")
			}
		})
	}
}
