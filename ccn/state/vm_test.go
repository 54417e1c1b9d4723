package state

import (
	"slices"
	"testing"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

func TestInstanceNeedsItsFilesAndTokens(t *testing.T) {
	w := newWorld(t, params.Devnet())
	it := item("i", instance(alice, 2, "root", ""))
	refusal := w.refuses(message.ErrVMVolumeNotFound, it)
	if len(refusal.Errors) != 1 || refusal.Errors[0] != string(hash("root")) ||
		!slices.Equal(refusal.WaitsFor, []message.WaitKey{message.WaitTag(string(hash("root")))}) {
		t.Errorf("got %+v", refusal)
	}
	w.have(1<<20, "disk")
	w.must(item("root", file(alice, 1, "disk", "")))
	refusal = w.refuses(message.ErrBalanceInsufficient, it)
	if string(refusal.Details()) != `{"errors":[{"required_balance":"1000.333333333000000000","account_balance":"0"}]}` {
		t.Errorf("got %s", refusal.Details())
	}
	w.holds(alice, "1001")
	w.must(it)
	w.refuses(message.ErrBalanceInsufficient, item("i2", instance(alice, 3, "root", "")))
	w.must(item("stream", instance(alice, 3, "root", message.PaymentSuperfluid)))
	w.refuses(message.ErrCreditInsufficient, item("i3", instance(alice, 3, "root", message.PaymentCredit)))
	w.refuses(message.ErrForgetNotAllowed, item("f", forget(alice, 4, "root")))
	w.must(item("g", forget(alice, 5, "i", "stream")), item("f", forget(alice, 6, "root")))
}

func TestDiskMustHoldItsParent(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.have(30<<30, "disk")
	w.holds(alice, "1000000")
	w.must(item("root", file(alice, 1, "disk", "")))
	refusal := w.refuses(message.ErrVMVolumeTooSmall, item("i", instance(alice, 2, "root", "")))
	if d, ok := refusal.Errors[0].(tooSmall); !ok || d.ParentSize != 30<<30 || d.VolumeSize != 20480<<20 || *d.Volume != "rootfs" {
		t.Errorf("got %+v", refusal.Errors)
	}
}

func TestReplacingAProgram(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.have(1000, "zip")
	w.holds(alice, "100000")
	w.holds(bob, "100000")
	fixed := program(alice, 2, "code", "")
	fixed.AllowAmend = false
	w.must(item("code", file(alice, 1, "zip", "")), item("p", program(alice, 2, "code", "")), item("fixed", fixed))
	w.refuses(message.ErrVMRefNotFound, item("u", program(alice, 3, "code", "unknown")))
	w.refuses(message.ErrVMAmendNotAllowed, item("u", program(alice, 3, "code", "fixed")))
	w.refuses(message.ErrPermissionDenied, item("u", program(bob, 3, "code", "p")))
	w.must(item("u", program(alice, 3, "code", "p")))
	w.refuses(message.ErrVMUpdateUpdate, item("v", program(alice, 4, "code", "u")))
	w.must(item("f", forget(alice, 5, "p", "fixed", "u")))
	w.must(item("w", program(alice, 6, "code", "p")))
	w.refuses(message.ErrVMAmendNotAllowed, item("x", program(alice, 6, "code", "fixed")))
	w.refuses(message.ErrVMUpdateUpdate, item("x", program(alice, 6, "code", "u")))
	w.refuses(message.ErrVMRefNotFound, item("x", program(alice, 6, "code", "code")))
}

func TestPaymentCutOffs(t *testing.T) {
	p := params.Mainnet()
	cut := p.CutOffs
	root := func(w *world) {
		w.have(30<<20, "disk")
		w.must(item("root", file(alice, 1, "disk", "")))
	}
	for _, test := range []struct {
		name    string
		content message.Content
		at      int64
		want    message.ErrorCode // ErrInternal: accepted
	}{
		{"file before anything costs", file(alice, 2, "disk", ""), cut.StorageAndProgramCost - 1, message.ErrInternal},
		{"large file after that", file(alice, 2, "disk", ""), cut.StorageAndProgramCost, message.ErrBalanceInsufficient},
		{"file when all must be credit", file(alice, 2, "disk", ""), cut.CreditOnly, message.ErrPaymentMethod},
		{"program before anything costs", program(alice, 2, "root", ""), cut.StorageAndProgramCost - 1, message.ErrInternal},
		{"program after that", program(alice, 2, "root", ""), cut.HoldAndStream, message.ErrBalanceInsufficient},
		{"instance before holding ends", instance(alice, 2, "root", ""), cut.HoldAndStream - 1, message.ErrBalanceInsufficient},
		{"instance after holding ended", instance(alice, 2, "root", ""), cut.HoldAndStream, message.ErrPaymentMethod},
		{"stream after holding ended", instance(alice, 2, "root", message.PaymentSuperfluid), cut.HoldAndStream, message.ErrPaymentMethod},
		{"credit after holding ended", instance(alice, 2, "root", message.PaymentCredit), cut.HoldAndStream, message.ErrCreditInsufficient},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, p)
			root(w)
			test.content.Base().Time = float64(test.at)
			it := item("m", test.content, sentAt(1)) // nobody signs that
			if test.want == message.ErrInternal {
				w.must(it)
			} else {
				w.refuses(test.want, it)
			}
		})
	}
}

func TestVerifiableProgramNeedsCreditsAndNoFiles(t *testing.T) {
	w := newWorld(t, params.Devnet())
	c := &message.VProgram{Runtime: message.VerifiedRuntime{Ref: hash("r")}}
	c.BaseContent = base(alice, 1)
	c.Resources = message.Resources{VCPUs: 1, MemoryMiB: 2048, Seconds: 1}
	w.refuses(message.ErrPaymentMethod, item("v", c))
	c.Payment = &message.Payment{Type: message.PaymentCredit}
	w.refuses(message.ErrCreditInsufficient, item("v", c))
}

// Other nodes refuse such programs, so only a network whose nodes all know them accepts them.
func TestProgramsInOurOwnFormsNeedTheNetworksConsent(t *testing.T) {
	wasm, tar := message.InterfaceWasm, program(alice, 3, "code", "")
	tar.Code.Encoding = message.EncodingTarGzip
	module := program(alice, 2, "code", "")
	module.Code.Interface = &wasm
	for _, consents := range []bool{true, false} {
		p := params.Devnet()
		p.ExtendedPrograms = consents
		w := newWorld(t, p)
		w.have(1000, "zip")
		w.holds(alice, "100000")
		w.must(item("code", file(alice, 1, "zip", "")))
		if consents {
			w.must(item("module", module), item("tar", tar))
		} else {
			w.refuses(message.ErrInvalidFormat, item("module", module))
			w.refuses(message.ErrInvalidFormat, item("tar", tar))
		}
	}
	if params.Mainnet().ExtendedPrograms {
		t.Error("the public network has nodes that know none of them")
	}
}
