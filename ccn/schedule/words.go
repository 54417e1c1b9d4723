package schedule

import (
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/registry"
)

// What owners of instances and of compute nodes say to have instances moved (decision 0038).

// WishesKey is the aggregate key under which the owner of instances publishes on which compute nodes they are to be: an object from
// the hash of an instance to that of a compute node, or to "" for any, or to null for what its message says.
const WishesKey = "instance-nodes"

// DrainingKey is the aggregate key under which the owner of compute nodes publishes which of them are to be emptied: an object from
// their hashes to true; to false, or null, for one that is not, or not any more.
const DrainingKey = "crn-draining"

// draining returns the compute nodes that their owners want empty, and the newest content time.
func draining(r *store.Reader, nodes registry.Aggregate) (found map[string]bool, newest float64, err error) {
	found = make(map[string]bool)
	said := make(map[string]map[string]any) // by owner
	for _, n := range nodes.ResourceNodes {
		words, known := said[n.Owner]
		if !known {
			updated, err := word(r, n.Owner, DrainingKey, &words)
			if err != nil {
				return nil, 0, err
			}
			said[n.Owner], newest = words, max(newest, updated)
		}
		if words[n.Hash] == true {
			found[n.Hash] = true
		}
	}
	return found, newest, nil
}

// wishes are what owners want of their instances; each owner's are read once.
type wishes struct {
	r    *store.Reader
	said map[string]map[message.Hash]any // by owner
}

// about returns the node that a workload is to be on, "" for any, and the content time of what its owner says of its instances. That
// counts more than the message of an instance, unless this is paid by a stream, which goes to one node.
func (w *wishes) about(row store.WorkloadRow) (node message.Hash, updated float64, err error) {
	if row.Type != message.TypeInstance || row.PaymentType == message.PaymentSuperfluid {
		return row.NodeHash, 0, nil
	}
	words, known := w.said[row.Owner]
	if !known {
		if updated, err = word(w.r, row.Owner, WishesKey, &words); err != nil {
			return "", 0, err
		}
		w.said[row.Owner] = words
	}
	if wish, said := words[row.Hash].(string); said {
		return message.Hash(wish), updated, nil
	}
	return row.NodeHash, updated, nil
}
