// Command wasm-runner runs one WebAssembly program in a process of its own. crn/wasm starts it; it is of no use by hand.
package main

import (
	"fmt"
	"os"

	"github.com/aleph-im/aleph-go/crn/wasm/runner"
)

func main() {
	if err := runner.Main(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
