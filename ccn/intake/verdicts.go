package intake

import (
	"sync"

	"github.com/aleph-im/aleph-go/message"
)

// verdicts remembers the signatures that were checked of late, so that the copies that gossip brings cost nothing. It
// keeps two generations: when the young one is full it becomes the old one, and what is asked for moves on.
type verdicts struct {
	limit int

	mu         sync.Mutex
	young, old map[copyKey]*message.Error // guarded by mu; nil: the signature is right
}

func newVerdicts(limit int) *verdicts {
	return &verdicts{limit: limit, young: make(map[copyKey]*message.Error)}
}

func (v *verdicts) get(k copyKey) (verdict *message.Error, known bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if verdict, known = v.young[k]; known {
		return verdict, true
	}
	if verdict, known = v.old[k]; known {
		v.add(k, verdict)
	}
	return verdict, known
}

func (v *verdicts) put(k copyKey, verdict *message.Error) {
	// A signature can be long text; remembering it would let strangers fill the memory.
	if len(k.sig)+len(k.sender) > 1024 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.add(k, verdict)
}

func (v *verdicts) add(k copyKey, verdict *message.Error) {
	if len(v.young) >= v.limit {
		v.old, v.young = v.young, make(map[copyKey]*message.Error, v.limit/4)
	}
	v.young[k] = verdict
}
