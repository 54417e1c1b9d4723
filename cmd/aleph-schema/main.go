// Command aleph-schema prints the JSON Schema of messages and of answers, from which the SDKs' types are generated.
package main

import (
	"fmt"
	"os"

	"github.com/aleph-im/aleph-go/schema"
)

func main() {
	document, err := schema.Document()
	if err == nil {
		_, err = os.Stdout.Write(document)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "aleph-schema:", err)
		os.Exit(1)
	}
}
