package instance

import (
	"path/filepath"

	"github.com/aleph-im/aleph-go/message"
)

// LeaveRestoring makes the records in a pool's folder those of a node that was killed while it restored an instance, before or after
// the new disk took its place and a guest ran from it.
func LeaveRestoring(dir string, hash, image message.Hash, swapped, kept bool) error {
	records, err := openRecords(filepath.Join(dir, recordsFile))
	if err != nil {
		return err
	}
	defer records.close()
	list, err := records.load()
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.Hash == hash {
			r.Restore = &restoration{Image: image, Before: r.Parent, Swapped: swapped, Kept: kept}
			if swapped {
				r.Parent = image
			}
			return records.save(r)
		}
	}
	return ErrUnknown
}
