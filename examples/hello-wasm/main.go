// Command hello-wasm is a program for the Aleph network in WebAssembly. It answers one request and ends: the request is in the
// environment and on standard input, the answer goes to standard output, as CGI has it.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	switch path := os.Getenv("PATH_INFO"); path {
	case "", "/":
		fmt.Print("Content-Type: application/json\n\n")
		fmt.Printf("{\"message\": \"Hello from WebAssembly on Aleph\", \"method\": %q}\n", os.Getenv("REQUEST_METHOD"))
	case "/echo":
		fmt.Printf("Content-Type: %s\n\n", os.Getenv("CONTENT_TYPE"))
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, "echo:", err) // goes to the program's logs
			os.Exit(1)
		}
	default:
		fmt.Print("Status: 404 Not Found\nContent-Type: text/plain\n\nthere is nothing here\n")
	}
}
