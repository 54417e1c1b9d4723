package p2p

import (
	"encoding/binary"
	"math/bits"
	"strconv"

	pubsub_pb "github.com/libp2p/go-libp2p-pubsub/pb"
)

// messageID names a message by its data alone, whoever publishes it and when: the decimal text of the 64-bit hash that
// the reference daemon's language gives a byte vector by default. Ids cross the wire in IHAVE and IWANT, so all nodes
// must compute the same (spec p2p.md §1.5).
func messageID(m *pubsub_pb.Message) string {
	return strconv.FormatUint(hashBytes(m.GetData()), 10)
}

// hashBytes is SipHash-1-3 with a zero key over the length of data, as a little-endian 64-bit word, and data.
func hashBytes(data []byte) uint64 {
	// The key words of the general algorithm are zero here.
	s := sip{0x736f6d6570736575, 0x646f72616e646f6d, 0x6c7967656e657261, 0x7465646279746573}
	s.absorb(uint64(len(data)))
	rest := data
	for ; len(rest) >= 8; rest = rest[8:] {
		s.absorb(binary.LittleEndian.Uint64(rest))
	}
	// The last word holds the remaining bytes and, on top, the length of the whole input modulo 256.
	last := uint64(8+len(data)) << 56
	for i, b := range rest {
		last |= uint64(b) << (8 * i)
	}
	s.absorb(last)
	s[2] ^= 0xff
	for range 3 {
		s.round()
	}
	return s[0] ^ s[1] ^ s[2] ^ s[3]
}

type sip [4]uint64

func (s *sip) absorb(word uint64) {
	s[3] ^= word
	s.round()
	s[0] ^= word
}

func (s *sip) round() {
	s[0] += s[1]
	s[1] = bits.RotateLeft64(s[1], 13) ^ s[0]
	s[0] = bits.RotateLeft64(s[0], 32)
	s[2] += s[3]
	s[3] = bits.RotateLeft64(s[3], 16) ^ s[2]
	s[0] += s[3]
	s[3] = bits.RotateLeft64(s[3], 21) ^ s[0]
	s[2] += s[1]
	s[1] = bits.RotateLeft64(s[1], 17) ^ s[2]
	s[2] = bits.RotateLeft64(s[2], 32)
}
