package intake

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/aleph-im/aleph-go/message"
)

// verdicts remembers the signatures that were checked of late, so that the copies that gossip brings cost nothing. It
// keeps two generations: when the young one is full it becomes the old one, and what is asked for moves on. A copy is known
// by a digest: its own strings would keep the bytes of the whole message in memory.
type verdicts struct {
	limit int

	mu         sync.Mutex
	young, old map[digest]*message.Error // guarded by mu; nil: the signature is right
}

type digest [sha256.Size]byte

// digest tells copies apart; nobody can make two that have the same.
func (k copyKey) digest() digest {
	var buf [512]byte
	b := buf[:0]
	for _, s := range [...]string{string(k.hash), k.sender, k.sig, string(k.typ), string(k.chain)} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return sha256.Sum256(b)
}

func newVerdicts(limit int) *verdicts {
	return &verdicts{limit: limit, young: make(map[digest]*message.Error)}
}

func (v *verdicts) get(d digest) (verdict *message.Error, known bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if verdict, known = v.young[d]; known {
		return verdict, true
	}
	if verdict, known = v.old[d]; known {
		v.add(d, verdict)
	}
	return verdict, known
}

func (v *verdicts) put(d digest, verdict *message.Error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.add(d, verdict)
}

func (v *verdicts) add(d digest, verdict *message.Error) {
	if len(v.young) >= v.limit {
		v.old, v.young = v.young, make(map[digest]*message.Error, v.limit/4)
	}
	v.young[d] = verdict
}
