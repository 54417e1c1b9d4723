package registry

import (
	"encoding/hex"
	"net/url"
	"strings"

	"github.com/multiformats/go-multiaddr"
	"golang.org/x/crypto/sha3"
)

// Normalize gives an Ethereum address its one spelling, with the checksum of EIP-55 in the case of its letters. Other
// texts, addresses of other chains among them, are returned as they are. Balances are found under the one spelling,
// whichever a message uses.
func Normalize(address string) string {
	if len(address) != 42 || address[0] != '0' || address[1]|0x20 != 'x' {
		return address
	}
	lower := strings.ToLower(address[2:])
	if _, err := hex.DecodeString(lower); err != nil {
		return address
	}
	keccak := sha3.NewLegacyKeccak256()
	keccak.Write([]byte(lower))
	sum := keccak.Sum(nil)
	out := []byte("0x" + lower)
	for i := range lower {
		// A letter is a capital where the hash of the lower-case address has a digit of 8 or more.
		nibble := sum[i/2] >> 4
		if i%2 == 1 {
			nibble = sum[i/2] & 0xf
		}
		if out[2+i] >= 'a' && nibble >= 8 {
			out[2+i] -= 'a' - 'A'
		}
	}
	return string(out)
}

// claimMultiaddress blanks the multiaddress of n if it names no host, or one that another core node has claimed before
// (spec §4.5).
func (s *State) claimMultiaddress(n *core) {
	n.host = multiaddressHost(n.Multiaddress)
	for _, other := range s.core {
		if other != n && other.host == n.host {
			n.host = ""
			break
		}
	}
	if n.host == "" {
		n.Multiaddress = ""
	}
}

func multiaddressHost(text string) string {
	addr, err := multiaddr.NewMultiaddr(text)
	if err != nil {
		return ""
	}
	for _, part := range addr {
		switch part.Protocol().Code {
		case multiaddr.P_IP4, multiaddr.P_IP6, multiaddr.P_DNS, multiaddr.P_DNS4, multiaddr.P_DNS6:
			return part.Value()
		}
	}
	return ""
}

// claimAddress does the same for the URL of a compute node, but that one node may keep an address without host.
func (s *State) claimAddress(r *resource) {
	r.host = urlHost(r.Address)
	for _, other := range s.resource {
		if other != r && other.host == r.host {
			r.Address, r.host = "", ""
			break
		}
	}
}

func urlHost(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}
