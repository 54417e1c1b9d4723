package p2p

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/libp2p/go-libp2p/core/crypto"
)

// loadOrCreateKey reads the identity in the file, in the reference's format: PKCS#8, DER, not encrypted. If there is no
// such file it is made, with an RSA key of 2048 bits or an Ed25519 key.
func loadOrCreateKey(file string, newEd25519 bool) (crypto.PrivKey, error) {
	der, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		der, err = createKey(file, newEd25519)
	}
	if err != nil {
		return nil, err
	}
	key, err := parseKey(der)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w (expected: an unencrypted PKCS#8 key in DER form, as written by "+
			"openssl genrsa 2048 | openssl pkcs8 -topk8 -outform DER -nocrypt)", file, err)
	}
	return key, nil
}

func parseKey(der []byte) (crypto.PrivKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	switch k := parsed.(type) {
	case *rsa.PrivateKey:
		key, _, err := crypto.KeyPairFromStdKey(k)
		return key, err
	case ed25519.PrivateKey:
		key, _, err := crypto.KeyPairFromStdKey(&k)
		return key, err
	}
	return nil, fmt.Errorf("a %T cannot identify a node", parsed)
}

// createKey writes a new key in one step, so that a crash leaves either a whole file or none.
func createKey(file string, newEd25519 bool) ([]byte, error) {
	var key any
	var err error
	if newEd25519 {
		_, key, err = ed25519.GenerateKey(rand.Reader)
	} else {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		return nil, fmt.Errorf("generate a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the new key: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".node-key-*") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("create key file: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(der)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return nil, fmt.Errorf("write key file: %w", err)
	}
	// Unlike rename, link refuses to replace the key that another process may have made meanwhile.
	if err := os.Link(tmp.Name(), file); err != nil {
		return nil, fmt.Errorf("create key file: %w", err)
	}
	return der, nil
}
