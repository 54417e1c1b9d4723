package execution

import (
	"context"
	"fmt"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/image"
	"github.com/aleph-im/aleph-go/crn/vm"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

// archive fetches one of the user's archives and adds the drive that carries it into the guest.
func (h codeHook) archive(ctx context.Context, x *Execution, what string, ref message.Hash, latest bool, encoding message.Encoding, dir, name string) (corenode.File, error) {
	limit := int64(maxArchive)
	if encoding == message.EncodingSquashfs {
		limit = maxImage
	}
	file, err := h.file(ctx, x, ref, latest, limit)
	if err != nil {
		return file, fmt.Errorf("%w: %s: %w", ErrResource, what, err)
	}
	if err := image.CheckArchive(file.Path, encoding); err != nil {
		return file, fmt.Errorf("%w: %s %s: %w", ErrResource, what, ref, err)
	}
	device, err := x.attach(vm.Drive{Path: file.Path, ReadOnly: true})
	if err != nil {
		return file, err
	}
	x.archives = append(x.archives, wire.Archive{
		Device: device, Encoding: string(encoding), Size: file.Size, Dir: dir, Name: name, MaxUnpacked: maxUnpacked, MaxFiles: maxFiles,
	})
	return file, nil
}
