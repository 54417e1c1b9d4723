// Package bech32 writes the addresses of Cosmos and Avalanche (BIP-173). Nothing is ever read: a verifier builds the address
// of the key that signed and compares the texts.
package bech32

import "strings"

const alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

// checksumLength counts characters.
const checksumLength = 6

// Encode returns the address with a human-readable part, which is of ASCII, and data.
func Encode(hrp string, data []byte) string {
	var text strings.Builder
	text.WriteString(hrp)
	text.WriteByte('1')
	sum := uint32(1)
	for i := range len(hrp) {
		sum = step(sum) ^ uint32(hrp[i]>>5)
	}
	sum = step(sum)
	for i := range len(hrp) {
		sum = step(sum) ^ uint32(hrp[i]&31)
	}
	put := func(five byte) {
		sum = step(sum) ^ uint32(five)
		text.WriteByte(alphabet[five])
	}
	var bits, pending uint
	for _, b := range data {
		bits, pending = bits<<8|uint(b), pending+8
		for ; pending >= 5; pending -= 5 {
			put(byte(bits>>(pending-5)) & 31)
		}
	}
	if pending > 0 {
		put(byte(bits<<(5-pending)) & 31)
	}
	for range checksumLength {
		sum = step(sum)
	}
	sum ^= 1
	for i := range checksumLength {
		text.WriteByte(alphabet[sum>>(5*(checksumLength-1-i))&31])
	}
	return text.String()
}

// step multiplies the checksum, a polynomial over GF(32), by x and reduces it.
func step(sum uint32) uint32 {
	top := sum >> 25
	sum = sum & 0x1ffffff << 5
	for i, generator := range [...]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
		if top>>i&1 == 1 {
			sum ^= generator
		}
	}
	return sum
}
