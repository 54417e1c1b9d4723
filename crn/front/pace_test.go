package front

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnAuthorityIsAskedForOnlySoManyNamesOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Certificates{cfg: CertificateConfig{DomainName: "node.test", Leads: func(_ context.Context, name string) bool { return strings.HasSuffix(name, ".leads.test") }}}
		c.cfg.Log = slog.New(slog.DiscardHandler)
		asked := func(name string) bool { return c.mayHave(t.Context(), name) == nil }
		for i := range 100 {
			if asked(fmt.Sprintf("%d.elsewhere.test", i)) {
				t.Fatal("a name that leads nowhere is asked for")
			}
		}
		for i := range 20 {
			for range 10 { // clients that want it at the same time
				if !asked(fmt.Sprintf("%d.leads.test", i)) {
					t.Fatalf("name %d is not asked for", i)
				}
			}
		}
		for i := range 1000 {
			if asked(fmt.Sprintf("more-%d.leads.test", i)) {
				t.Fatalf("%d names more are asked for", i+1)
			}
		}
		if !asked("node.test") {
			t.Error("the node's own name is kept out")
		}
		time.Sleep(2 * time.Minute)
		if !asked("later.leads.test") || asked("too-soon.leads.test") {
			t.Error("it is not one more name every two minutes")
		}
		if n := len(c.asked.asked); n > 1 {
			t.Errorf("%d names are remembered", n)
		}
	})
}
