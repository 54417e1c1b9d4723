package image

import (
	"fmt"
	"os"
	"path/filepath"
)

// GuestProgram returns the program that becomes PID 1 in guests: the file at path, or guest-init beside this program when that is
// empty.
func GuestProgram(path string) ([]byte, error) {
	if path == "" {
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
