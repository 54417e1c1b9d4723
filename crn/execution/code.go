package execution

import (
	"context"
	"fmt"
	"strings"

	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// Bounds of what users upload.
const (
	maxArchive  = 10_000_000 // bytes of a zip or plain file (spec/crn.md §3.2); it is unpacked into the guest's memory
	maxImage    = 8 << 30    // bytes of a squashfs image
	maxUnpacked = 1 << 30    // bytes; the guest's memory is the tighter bound
	maxFiles    = 50_000
)

// codeHook provides the user's code and data. Archives are not opened on the host: the guest, which has nothing to lose, unpacks
// them from a read-only drive.
type codeHook struct{ *Pool }

func (h codeHook) start(ctx context.Context, x *Execution) error {
	c := x.program.Code
	file, err := h.archive(ctx, x, "code", c.Ref, c.UseLatest, c.Encoding, wire.CodeDir, plainName(c))
	if err != nil {
		return err
	}
	x.code = file
	if d := x.program.Data; d != nil {
		latest := d.UseLatest != nil && *d.UseLatest
		dir := d.Mount
		if dir == "" {
			dir = "/data"
		}
		if _, err := h.archive(ctx, x, "data", d.Ref, latest, d.Encoding, dir, "data"); err != nil {
			return err
		}
	}
	return nil
}

func (h codeHook) stop(context.Context, *Execution) {}

// runtimeDrive is the first drive; those of archives and volumes follow.
const runtimeDrive = "vda"

// device names the drive that is added next.
func (x *Execution) device() string { return "vd" + string(rune('b'+len(x.drives))) }

// maxDrives is how many letters there are after vda.
const maxDrives = 25

// attach adds a drive and returns its name in the guest.
func (x *Execution) attach(d vm.Drive) (string, error) {
	if len(x.drives) == maxDrives {
		return "", fmt.Errorf("program %s: more than %d drives are %w", x.hash, maxDrives, ErrUnsupported)
	}
	name := x.device()
	x.drives = append(x.drives, d)
	return name, nil
}

// pythonModule is the file that plain source code becomes.
func pythonModule(entrypoint string) (module, app string) {
	if module, app, ok := strings.Cut(entrypoint, ":"); ok {
		return module, app
	}
	return "main", entrypoint
}

func plainName(c message.Code) string {
	if c.EffectiveInterface() == message.InterfaceASGI {
		module, _ := pythonModule(c.Entrypoint)
		return module + ".py"
	}
	return c.Entrypoint
}
