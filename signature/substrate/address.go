package substrate

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/mr-tron/base58"
	"golang.org/x/crypto/blake2b"
)

// Generic is the SS58 prefix of addresses that are of no network in particular, the default of wallets.
const Generic uint16 = 42

// maxNetwork is the largest prefix that SS58 can write.
const maxNetwork = 1<<14 - 1

// maxAddress is the length of the longest base58 text of an address: prefix 2, key 32, checksum 2 bytes.
const maxAddress = 50

// encodeAddress writes a public key in SS58.
func encodeAddress(key []byte, network uint16) string {
	var b []byte
	if network < 64 {
		b = []byte{byte(network)}
	} else { // bits 2 to 7 of the number, then bits 8 to 13 below bits 0 and 1
		b = []byte{0x40 | byte(network>>2&0x3f), byte(network>>8) | byte(network&3)<<6}
	}
	b = append(b, key...)
	sum := checksum(b)
	return base58.Encode(append(b, sum[:2]...))
}

// decodeAddress returns the public key in an address: SS58 with the prefix of any network, or 0x and hex.
func decodeAddress(text string) ([]byte, error) {
	if digits, found := strings.CutPrefix(text, "0x"); found {
		key, err := hex.DecodeString(digits)
		if err != nil || len(key) != 32 {
			return nil, fmt.Errorf("sender %.80q is not a public key in hex", text)
		}
		return key, nil
	}
	if len(text) > maxAddress {
		return nil, fmt.Errorf("sender %.80q is too long for an SS58 address", text)
	}
	b, err := base58.Decode(text)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("sender %.80q is not an SS58 address", text)
	}
	prefix := 1
	if b[0] >= 64 {
		prefix = 2
	}
	if b[0] >= 128 || len(b) != prefix+32+2 {
		return nil, fmt.Errorf("sender %.80q is not an SS58 address of a public key", text)
	}
	body := b[:prefix+32]
	if sum := checksum(body); !bytes.Equal(sum[:2], b[len(body):]) {
		return nil, fmt.Errorf("sender %.80q has a wrong checksum", text)
	}
	return body[prefix:], nil
}

func checksum(body []byte) [64]byte { return blake2b.Sum512(append([]byte("SS58PRE"), body...)) }
