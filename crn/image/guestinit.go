package image

import (
	"fmt"
	"os"
	"path/filepath"
)

// GuestProgram returns the program that becomes PID 1 in guests: the file at path; when that is empty the one built into this
// binary, or else the file guest-init beside it.
func GuestProgram(path string) ([]byte, error) {
	if path == "" {
		if len(embedded) > 0 {
			return embedded, nil
		}
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find the guest program: %w", err)
		}
		path = filepath.Join(filepath.Dir(self), "guest-init")
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("guest program: %w; 'make build' makes it", err)
	}
	if len(program) < 4 || string(program[:4]) != "\x7fELF" {
		return nil, fmt.Errorf("guest program: %s is not a Linux program", path)
	}
	return program, nil
}
