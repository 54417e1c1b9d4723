package clienttest_test

import (
	"fmt"
	"testing"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/clienttest"
)

// A test of a program that keeps settings on the network.
func ExampleStart() {
	test := func(t *testing.T) {
		node := clienttest.Start(t) // until the test ends
		me := node.Account(10)      // holds 10 ALEPH
		_, err := node.Client().SetAggregate(t.Context(), me, "settings", map[string]int{"volume": 11}, client.SendOptions{Sync: true})
		if err != nil {
			t.Fatal(err)
		}
		var settings struct{ Volume int }
		if err := node.Client().Aggregate(t.Context(), me.Address(), "settings", &settings); err != nil || settings.Volume != 11 {
			t.Errorf("got %+v, %v", settings, err)
		}
	}
	fmt.Println(testing.RunTests(func(_, _ string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "settings", F: test}}))
	// Output: true
}
