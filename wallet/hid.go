package wallet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Over USB a command and an answer travel as packets of 64 bytes, each with a channel, a tag and a number (Ledger's published
// transport protocol); the first also says how long the whole is.
const (
	hidPacket  = 64
	hidChannel = 0x0101
	hidTag     = 0x05
	hidLongest = 4096 // bytes of an answer
)

// hidPackets cuts a command.
func hidPackets(command []byte) [][]byte {
	data := append(binary.BigEndian.AppendUint16(nil, uint16(len(command))), command...)
	var packets [][]byte
	for n := uint16(0); len(data) > 0; n++ {
		p := binary.BigEndian.AppendUint16(nil, hidChannel)
		p = append(p, hidTag)
		p = binary.BigEndian.AppendUint16(p, n)
		part := data[:min(len(data), hidPacket-len(p))]
		data = data[len(part):]
		p = append(p, part...)
		packets = append(packets, append(p, make([]byte, hidPacket-len(p))...))
	}
	return packets
}

// hidAnswer reads the packets of one answer.
func hidAnswer(r io.Reader) ([]byte, error) {
	var answer []byte
	length := 0
	for n := uint16(0); n == 0 || len(answer) < length; n++ {
		var p [hidPacket]byte
		if _, err := io.ReadFull(r, p[:]); err != nil {
			return nil, fmt.Errorf("read from the device: %w", err)
		}
		if binary.BigEndian.Uint16(p[:]) != hidChannel || p[2] != hidTag || binary.BigEndian.Uint16(p[3:]) != n {
			return nil, errors.New("read from the device: the packet is none of the answer")
		}
		data := p[5:]
		if n == 0 {
			if length = int(binary.BigEndian.Uint16(data)); length > hidLongest {
				return nil, fmt.Errorf("read from the device: an answer of %d bytes", length)
			}
			data = data[2:]
		}
		answer = append(answer, data[:min(len(data), length-len(answer))]...)
	}
	return answer, nil
}
