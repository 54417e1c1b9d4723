// Command probe is the WebAssembly program of the tests: what it does is in the path of the request.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"time"
)

func main() {
	out := os.Stdout
	ok := func() { fmt.Fprint(out, "Content-Type: text/plain\r\n\r\n") }
	switch path := os.Getenv("PATH_INFO"); path {
	case "/echo":
		fmt.Fprint(out, "Status: 418 I'm a teapot\nX-Method: "+os.Getenv("REQUEST_METHOD")+"\nX-Query: "+os.Getenv("QUERY_STRING")+"\nSet-Cookie: a=1\nSet-Cookie: b=2\nConnection: close\n\n")
		io.Copy(out, os.Stdin)
	case "/environment":
		ok()
		env := os.Environ()
		sort.Strings(env)
		fmt.Fprintln(out, strings.Join(env, "\n"))
		fmt.Fprintln(out, os.Args)
	case "/stream":
		ok()
		in := bufio.NewReader(os.Stdin)
		for i := 0; ; i++ {
			if _, err := in.ReadByte(); err != nil {
				return
			}
			fmt.Fprintf(out, "part %d\n", i)
		}
	case "/file":
		ok()
		content, err := os.ReadFile("/" + os.Getenv("QUERY_STRING"))
		fmt.Fprintf(out, "%s %v", content, err)
	case "/write":
		ok()
		fmt.Fprint(out, os.WriteFile("/written", nil, 0o600))
	case "/panic":
		panic("as the test wants")
	case "/half":
		fmt.Fprint(out, "Content-Length: 100\n\nonly a part")
		os.Exit(3)
	case "/exit":
		os.Exit(7)
	case "/silent":
	case "/garbage":
		fmt.Fprint(out, "this is no header\n\n")
	case "/nul":
		fmt.Fprint(out, "X: a\x00b\n\n")
	case "/endless-header":
		for {
			fmt.Fprint(out, "X: ", strings.Repeat("x", 1000), "\n")
		}
	case "/flood":
		ok()
		part := strings.Repeat("x", 64<<10)
		for {
			if _, err := io.WriteString(out, part); err != nil {
				return
			}
		}
	case "/loop":
		for i := 0; ; i++ {
			if i < 0 {
				fmt.Fprintln(out, i)
			}
		}
	case "/loop-after-header":
		ok()
		fmt.Fprint(out, "begun\n")
		for i := 0; ; i++ {
			if i < 0 {
				fmt.Fprintln(out, i)
			}
		}
	case "/memory":
		var kept [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			kept = append(kept, b)
		}
	case "/logs":
		fmt.Fprintln(os.Stderr, "a line of the log")
		fmt.Fprint(os.Stderr, "another")
		ok()
	case "/log-flood":
		line := strings.Repeat("x", 100_000)
		for range 200 {
			fmt.Fprintln(os.Stderr, line)
		}
		ok()
	case "/sleep":
		time.Sleep(time.Hour)
	case "/time":
		ok()
		before := time.Now()
		time.Sleep(20 * time.Millisecond)
		fmt.Fprintln(out, time.Since(before) >= 20*time.Millisecond, before.Unix())
	default:
		ok()
		fmt.Fprintln(out, "hello "+path)
	}
}
