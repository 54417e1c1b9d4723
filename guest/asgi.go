package guest

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
)

// asgiServer serves applications of ASGI on runtimes that have no server for them.
//
//go:embed asgi.py
var asgiServer []byte

func writeASGIServer(path string) error {
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, asgiServer, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the server of ASGI: %w", err)
	}
	return nil
}
