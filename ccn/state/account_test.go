package state

import (
	"fmt"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// balance publishes what alice holds from a content time on.
func balance(name string, t float64, amount int) *Item {
	c := post(params.DevnetAuthority, t, fmt.Sprintf(`{"chain":"ETH","main_height":%d,"balances":{%q:%d}}`, int64(t), alice, amount))
	c.PostType = params.Devnet().Balances.PostTypes[0]
	return item(name, c)
}

// settle looks at the account of alice as it is at a content time, until nothing changes any more.
func (w *world) settle(t float64) {
	w.t.Helper()
	w.state.now = func() time.Time { return message.TimeFromSeconds(t).Std() }
	for range 3 {
		w.write(func(tx *store.Tx) error {
			_, err := w.state.SettleAccount(tx, alice, message.PaymentHold)
			return err
		})
	}
}

func (w *world) status(name string) (status message.Status) {
	w.t.Helper()
	err := w.db.Read(w.t.Context(), func(r *store.Reader) (err error) {
		status, _, err = r.Status(hash(name))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return status
}

// A resource whose owner sold the tokens is removed after the grace period, and comes back when the tokens do before that.
func TestResourceLeavesWithItsFundsAndReturnsWithThem(t *testing.T) {
	grace := float64(params.Devnet().RemovalGracePeriod)
	began := message.TimeFrom(now).Seconds()
	w := newWorld(t, params.Devnet())
	w.have(10, "root")
	w.must(
		item("root", file("0xvendor", began+1, "root", "")),
		balance("rich", began+2, 1_000_000),
		item("vm", instance(alice, began+3, "root", message.PaymentHold)),
	)
	w.settle(began + 10)
	if got := w.status("vm"); got != message.StatusProcessed {
		t.Fatalf("paid for, it is %s", got)
	}
	w.must(balance("poor", began+20, 0))
	w.settle(began + 21)
	if got := w.status("vm"); got != message.StatusRemoving {
		t.Fatalf("without funds, it is %s", got)
	}
	w.must(balance("rich again", began+30, 1_000_000))
	w.settle(began + 31)
	if got := w.status("vm"); got != message.StatusProcessed {
		t.Fatalf("with funds again, it is %s", got)
	}
	w.must(balance("poor again", began+40, 0))
	w.settle(began + 41 + grace/2)
	if got := w.status("vm"); got != message.StatusRemoving {
		t.Fatalf("within the grace period, it is %s", got)
	}
	w.settle(began + 42 + grace)
	if got := w.status("vm"); got != message.StatusRemoved {
		t.Fatalf("after the grace period, it is %s", got)
	}
}

// A statement of funds that comes late brings back what was removed for want of them.
func TestRemovalIsUndoneByFundsThatWereThere(t *testing.T) {
	grace := float64(params.Devnet().RemovalGracePeriod)
	began := message.TimeFrom(now).Seconds()
	w := newWorld(t, params.Devnet())
	w.have(10, "root")
	vm := item("vm", instance(alice, began+3, "root", message.PaymentHold))
	w.must(item("root", file("0xvendor", began+1, "root", "")), balance("rich", began+2, 1_000_000), vm, balance("poor", began+20, 0))
	w.settle(began + 21 + grace)
	if got := w.status("vm"); got != message.StatusRemoved {
		t.Fatalf("after the grace period, it is %s", got)
	}
	w.must(balance("rich again", began+30, 1_000_000))
	w.settle(began + 22 + grace)
	if got := w.status("vm"); got != message.StatusPending {
		t.Fatalf("with funds in time, it is %s", got)
	}
	w.must(vm)
	w.settle(began + 22 + grace)
	if got := w.status("vm"); got != message.StatusProcessed {
		t.Fatalf("taken in again, it is %s", got)
	}
}
