package execution_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// wasm adds a WebAssembly program; change may adapt it.
func (n *fakeNetwork) wasm(name string, change func(*message.Program)) message.Hash {
	hash := n.program(name, 100)
	n.mu.Lock()
	defer n.mu.Unlock()
	kind := message.InterfaceWasm
	p := n.programs[hash]
	p.Code.Interface, p.Code.Args, p.Variables = &kind, []string{"one"}, map[string]string{"NAME": "value"}
	p.Runtime.Ref = "" // not to be fetched
	if change != nil {
		change(p)
	}
	return hash
}

func TestWasmProgramsRunOnTheirOwnDriver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		modules := &fakeDriver{}
		var config wire.Config
		modules.behave = func(c wire.Config) wire.State { config = c; return wire.StateReady }
		r := newRig(t, func(c *execution.Config) { c.Wasm, c.OverheadMiB, c.WasmOverheadMiB = modules, 7, 500 })
		defer r.stop(t)
		if err := r.call(t, r.network.wasm("module", nil)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // the module idles for longer
		if err := r.call(t, r.network.program("machine", 100)); err != nil {
			t.Fatal(err)
		}
		for name, d := range map[string]*fakeDriver{"modules": modules, "machines": r.driver} {
			if started, _ := d.count(); started != 1 {
				t.Errorf("%s: %d started", name, started)
			}
		}
		if drives := modules.last().spec.Drives; len(drives) == 0 || drives[0].Path != r.network.archive {
			t.Errorf("drives %+v", drives)
		}
		if !slices.Equal(config.Args, []string{"program", "one"}) || !slices.Equal(config.Env, []string{"NAME=value"}) || config.Seconds != 10 {
			t.Errorf("configured with %+v", config)
		}
		if used, _ := r.Memory(); used != 100+500+100+7 {
			t.Errorf("%d MiB are given", used)
		}
		// Another process would be more than the node has: the one that idles makes room.
		if err := r.call(t, r.network.wasm("another module", nil)); err != nil {
			t.Fatal(err)
		}
		if used, limit := r.Memory(); used != 100+500+100+7 || used > limit {
			t.Errorf("%d MiB are given of %d", used, limit)
		}
	})
}

func TestWhatWasmProgramsCannotHaveIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		without := newRig(t, nil)
		if err := without.call(t, without.network.wasm("a", nil)); !errors.Is(err, execution.ErrUnsupported) {
			t.Errorf("on a node that has no driver: %v", err)
		}
		without.stop(t)
		r := newRig(t, func(c *execution.Config) { c.Wasm = &fakeDriver{} })
		defer r.stop(t)
		for name, change := range map[string]func(*message.Program){
			"volumes":  func(p *message.Program) { p.Volumes = []message.Volume{{Kind: message.VolumeEphemeral, SizeMiB: 1}} },
			"squashfs": func(p *message.Program) { p.Code.Encoding = message.EncodingSquashfs },
			"tar":      func(p *message.Program) { p.Code.Encoding = message.EncodingTar },
			"tar data": func(p *message.Program) { p.Data = &message.Data{Encoding: message.EncodingTar} },
		} {
			if err := r.call(t, r.network.wasm(name, change)); !errors.Is(err, execution.ErrUnsupported) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
