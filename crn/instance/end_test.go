package instance_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/message"
)

func TestInstancesEndWithTheirNodeWhereTheyAreTo(t *testing.T) {
	for name, deaf := range map[string]bool{"by the power button": false, "by a power cut": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.driver.deaf = deaf
				r.change = func(c *instance.Config) { c.EndWithin = 12 * time.Second }
				runs, stopped := r.publish("a", nil), r.publish("b", nil)
				r.begin()
				if o := r.Allocate(t.Context(), []message.Hash{runs, stopped}); len(o.Errors) > 0 {
					t.Fatal(o.Errors)
				}
				if _, err := r.Stop(t.Context(), stopped); err != nil {
					t.Fatal(err)
				}
				m, begin := r.driver.machine(runs), time.Now()
				r.stop()
				took := time.Since(begin)
				if len(r.driver.running) != 0 || (m.kills > 0) != deaf || deaf && took != 12*time.Second || !deaf && took != 0 {
					t.Errorf("%d machines go on, killed %v, after %v", len(r.driver.running), m.kills > 0, took)
				}
				if r.guests.last != nil {
					t.Errorf("the network still knows %+v", r.guests.last)
				}

				r.begin()
				time.Sleep(time.Second)
				synctest.Wait()
				if i := r.info(runs); !i.Running || i.Stopped {
					t.Errorf("what ran does not: %+v", i)
				}
				if i := r.info(stopped); i.Running || !i.Stopped {
					t.Errorf("what its owner had stopped runs: %+v", i)
				}
				r.stop()
			})
		})
	}
}

func TestAnEndThatWasCutShortLeavesNothingStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.driver.deaf, r.driver.stuck = true, true // the node does not come to the end of it
		r.change = func(c *instance.Config) { c.EndWithin = 12 * time.Second }
		hash := r.publish("a", nil)
		r.begin()
		if err := r.Start(t.Context(), hash); err != nil {
			t.Fatal(err)
		}
		r.stop()
		if len(r.driver.running) != 1 || len(r.guests.last) != 1 {
			t.Fatalf("%d machines go on, and %d have a network", len(r.driver.running), len(r.guests.last))
		}
		r.driver.deaf, r.driver.stuck = false, false
		r.begin()
		time.Sleep(time.Second)
		synctest.Wait()
		if i := r.info(hash); !i.Running || i.Stopped || r.driver.count() != 2 {
			t.Errorf("got %+v, started %d times", i, r.driver.count())
		}
		r.stop()
	})
}
