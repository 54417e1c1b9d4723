package client_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// A message that is built here, signed on a machine without a network, and published from anywhere.
func ExampleBuild() {
	cold, err := ethereum.FromHex(strings.Repeat("5a", 32))
	if err != nil {
		log.Fatal(err)
	}
	content := &message.Post{PostType: "note", Content: []byte(`"hello"`)}
	content.Time = 1700000000 // the time of now, if it is left out
	unsigned, err := client.Build(cold.Address(), cold.Chain(), message.TypePost, content, "TEST")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", unsigned.Payload())

	signature, err := cold.Sign(context.Background(), unsigned.Payload())
	if err != nil {
		log.Fatal(err)
	}
	signed, err := unsigned.Attach(signature)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(signed.Message.ItemHash == unsigned.Message.ItemHash)
	// Output:
	// ETH
	// 0xa8049bB68181799124F98E467DD749e120abFA64
	// POST
	// 9654a0a73524a9506b7bd106bdb5d99696289e4ccbac554b34733a82dd885c19
	// true
}
