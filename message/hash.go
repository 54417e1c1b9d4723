package message

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Hash names a content: the lower-case hex sha256 of its bytes (64 characters), an IPFS CIDv0 ("Qm…", 44 to 46) or a
// CIDv1 dag-pb in base32 ("bafy…", 59). The zero value is no hash.
type Hash string

// HashBytes returns the storage hash of b.
func HashBytes(b []byte) Hash {
	sum := sha256.Sum256(b)
	return Hash(hex.EncodeToString(sum[:]))
}

// ParseHash applies the strict rule of spec/messages.md §2.2: length, prefix and alphabet.
func ParseHash(s string) (Hash, error) {
	if Hash(s).Kind() == "" {
		return "", fmt.Errorf("%q is not an item hash: want 64 lower-case hex characters, a CIDv0 (Qm…) or a CIDv1 (bafy…)", clip(s, 80))
	}
	return Hash(s), nil
}

// Kind returns [ItemStorage] or [ItemIPFS], or "" when h is not a hash under the strict rule.
func (h Hash) Kind() ItemType {
	switch {
	case len(h) == 64:
		for i := range len(h) {
			if c := h[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return ""
			}
		}
		return ItemStorage
	case len(h) >= 44 && len(h) <= 46 && h[:2] == "Qm":
		for i := 2; i < len(h); i++ {
			if !isBase58(h[i]) {
				return ""
			}
		}
		return ItemIPFS
	case len(h) == 59 && h[:4] == "bafy":
		for i := 4; i < len(h); i++ {
			if c := h[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
				return ""
			}
		}
		return ItemIPFS
	}
	return ""
}

// isBase58 reports whether c is in Bitcoin's base58 alphabet: letters and digits without 0, O, I and l.
func isBase58(c byte) bool {
	switch {
	case c >= '1' && c <= '9':
		return true
	case c >= 'A' && c <= 'Z':
		return c != 'I' && c != 'O'
	case c >= 'a' && c <= 'z':
		return c != 'l'
	}
	return false
}

// clip shortens s for an error text.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
