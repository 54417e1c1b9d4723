package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

// Folders in ipfs/, as package ccn/files/ipfs lays them out.
const (
	pinsName   = "pins"
	blocksName = "blocks"
)

// copyIPFS copies the pins first and then the blocks: all blocks of a pin are there as long as the pin is.
func copyIPFS(ctx context.Context, cfg Config, m *Manifest) error {
	from, to := filepath.Join(cfg.DataDir, ipfsName), filepath.Join(cfg.Dir, ipfsName)
	entries, err := os.ReadDir(filepath.Join(from, pinsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(to, pinsName), 0o755); err != nil {
		return err
	}
	m.Pins = make(map[string]Sum, len(entries))
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(from, pinsName, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // unpinned meanwhile
		} else if err != nil {
			return err
		}
		m.Pins[e.Name()] = Sum{SHA256: sum(raw), Bytes: int64(len(raw))}
		if err := writeWhole(filepath.Join(to, pinsName, e.Name()), raw, 0o644); err != nil {
			return err
		}
	}
	source, err := files.OpenDisk(filepath.Join(from, blocksName))
	if err != nil {
		return err
	}
	copied, err := files.OpenDisk(filepath.Join(to, blocksName))
	if err != nil {
		return errors.Join(err, source.Close())
	}
	err = source.Walk(ctx, func(info files.Info) error {
		err := copyFile(ctx, source, copied, info.Hash)
		if errors.Is(err, files.ErrNotFound) {
			return nil // collected meanwhile
		}
		if err == nil {
			m.Blocks = append(m.Blocks, info.Hash)
		}
		return err
	})
	return errors.Join(err, copied.Close(), source.Close())
}

func restoreIPFS(ctx context.Context, dir, dataDir string, m *Manifest, step func()) error {
	if len(m.Pins)+len(m.Blocks) == 0 {
		return nil
	}
	if err := restoreStore(ctx, filepath.Join(dir, blocksName), filepath.Join(dataDir, blocksName), m.Blocks, step); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dataDir, pinsName), 0o755); err != nil {
		return err
	}
	for name, want := range m.Pins {
		if message.Hash(name).Kind() != message.ItemIPFS {
			return fmt.Errorf("pin %q of the backup is not named by a CID", name)
		}
		if err := copyChecked(ctx, filepath.Join(dir, pinsName, name), filepath.Join(dataDir, pinsName, name), want, 0o644); err != nil {
			return err
		}
	}
	return syncDir(filepath.Join(dataDir, pinsName))
}
