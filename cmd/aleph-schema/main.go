// Command aleph-schema prints the JSON Schema of messages and of answers, and the types of the SDKs that are made from it.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/aleph-im/aleph-go/schema"
)

func main() {
	typescript := flag.Bool("typescript", false, "print the types of the TypeScript SDK")
	python := flag.Bool("python", false, "print the records of the Python SDK")
	flag.Parse()

	write := schema.Document
	switch {
	case *typescript:
		write = schema.TypeScript
	case *python:
		write = schema.Python
	}
	text, err := write()
	if err == nil {
		_, err = os.Stdout.Write(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "aleph-schema:", err)
		os.Exit(1)
	}
}
