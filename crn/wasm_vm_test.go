package crn_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/crn/network/networktest"
	"github.com/aleph-im/aleph-go/crn/wasm/wasmtest"
	"github.com/aleph-im/aleph-go/message"
)

// wasm publishes a WebAssembly program; change may adapt its message.
func (n *node) wasm(module []byte, change func(map[string]any)) message.Hash {
	code := n.core.Store(module)
	content := networktest.Program(code, code, message.EncodingPlain, "probe.wasm")
	content["code"].(map[string]any)["interface"] = message.InterfaceWasm
	if change != nil {
		change(content)
	}
	return n.core.Publish(message.TypeProgram, content)
}

func TestWasmProgram(t *testing.T) {
	n := start(t, func(c *crn.Config) { c.WasmRunner = wasmtest.Runner(t) })
	hash := n.wasm(wasmtest.Module(t, "./crn/wasm/testdata/probe"), nil)
	for range 5 {
		begin := time.Now()
		r := n.get(t, hash, "/x")
		t.Logf("after %v: %+v", time.Since(begin), r)
		if r.status != 200 || !strings.Contains(r.body, "hello /x") {
			t.Fatalf("got %+v", r)
		}
	}
}
