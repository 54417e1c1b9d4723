package qemu

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// order is a command for QEMU, with a descriptor where it takes one.
type order struct {
	command   string
	arguments with
	file      *os.File
}

type with map[string]any

func (m *machine) order(control *bufio.Reader, orders []order) error {
	for _, o := range orders {
		if _, err := m.ask(control, o); err != nil {
			return err
		}
	}
	return nil
}

// ask gives QEMU an order and returns its answer. Events and the greeting are skipped.
func (m *machine) ask(control *bufio.Reader, o order) (json.RawMessage, error) {
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments with   `json:"arguments,omitempty"`
	}{o.command, o.arguments})
	if err != nil {
		return nil, err
	}
	var rights []byte
	if o.file != nil {
		rights = unix.UnixRights(int(o.file.Fd()))
	}
	if _, _, err := m.control.(*net.UnixConn).WriteMsgUnix(append(line, '\n'), rights, nil); err != nil {
		return nil, fmt.Errorf("give QEMU the order %s: %w", o.command, err)
	}
	for {
		raw, err := control.ReadBytes('\n')
		if err != nil {
			return nil, fmt.Errorf("wait for QEMU's answer to %s: %w", o.command, err)
		}
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		switch err := json.Unmarshal(raw, &answer); {
		case err != nil:
			return nil, fmt.Errorf("read QEMU's answer to %s: %w", o.command, err)
		case answer.Error != nil:
			return nil, fmt.Errorf("QEMU refuses %s: %s", o.command, answer.Error.Desc)
		case answer.Return != nil:
			return answer.Return, nil
		}
	}
}
