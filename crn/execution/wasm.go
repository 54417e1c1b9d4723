package execution

import (
	"fmt"
	"maps"
	"slices"

	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// What is different for a WebAssembly program: its machine is a process of crn/wasm, which needs no root filesystem, has no
// devices, and gives each call an instance of its own.

func isWasm(p *message.Program) bool { return p.Code.EffectiveInterface() == message.InterfaceWasm }

// driver is what the program's machine runs on.
func (p *Pool) driver(x *Execution) vm.Driver {
	if isWasm(x.program) {
		return p.cfg.Wasm
	}
	return p.cfg.Driver
}

// overheadMiB is what the program's machine takes of the host's memory beyond what its message asks for.
func (p *Pool) overheadMiB(x *Execution) int {
	if isWasm(x.program) {
		return p.cfg.WasmOverheadMiB
	}
	return p.cfg.OverheadMiB
}

// checkWasm refuses what WebAssembly programs cannot have.
func (p *Pool) checkWasm(program *message.Program) error {
	switch c := program.Code; {
	case p.cfg.Wasm == nil:
		return fmt.Errorf("WebAssembly is %w", ErrUnsupported)
	case c.Encoding != message.EncodingPlain && c.Encoding != message.EncodingZip:
		return fmt.Errorf("code of a WebAssembly program in the encoding %s is %w; use plain or zip", c.Encoding, ErrUnsupported)
	case program.Data != nil && program.Data.Encoding != message.EncodingZip:
		return fmt.Errorf("data of a WebAssembly program in the encoding %s is %w; use zip", program.Data.Encoding, ErrUnsupported)
	case len(program.Volumes) > 0:
		return fmt.Errorf("volumes of a WebAssembly program are %w; put files into its archive or its data", ErrUnsupported)
	}
	return nil
}

// wasmConfig says what the process runs: the module named first among the arguments, with the variables of the message alone.
func wasmConfig(x *Execution, c wire.Config) wire.Config {
	code := x.program.Code
	c.Args = append([]string{code.Entrypoint}, code.Args...)
	c.Seconds = x.program.Resources.Seconds
	for _, name := range slices.Sorted(maps.Keys(x.program.Variables)) {
		c.Env = append(c.Env, name+"="+x.program.Variables[name])
	}
	return c
}
