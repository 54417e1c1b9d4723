package execution

import (
	"context"
	"fmt"

	"github.com/aleph-im/aleph-go/crn/image"
	"github.com/aleph-im/aleph-go/message"
)

// runtimeHook provides the root filesystem: a squashfs image that many programs share.
type runtimeHook struct{ *Pool }

func (h runtimeHook) start(ctx context.Context, x *Execution) error {
	if isWasm(x.program) {
		x.runtime = x.code // the module is all that there is
		return nil
	}
	r := x.program.Runtime
	file, err := h.file(ctx, x, r.Ref, r.UseLatest, maxImage)
	if err != nil {
		return fmt.Errorf("%w: runtime: %w", ErrResource, err)
	}
	if err := image.CheckArchive(file.Path, message.EncodingSquashfs); err != nil {
		return fmt.Errorf("%w: runtime %s: %w", ErrResource, r.Ref, err)
	}
	x.runtime = file
	return nil
}

func (h runtimeHook) stop(context.Context, *Execution) {}
