package wallet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Ledger is a HID device of this vendor, one of whose interfaces has this usage page.
const (
	ledgerVendor = "00002C97"
	ledgerUsage  = "\x06\xa0\xff"
)

// openUSB connects to the first Ledger that is plugged in.
func openUSB(context.Context) (Transport, error) {
	name, err := findHID(os.DirFS("/sys/class/hidraw"))
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join("/dev", name), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("the Ledger %s is closed to you: install Ledger's udev rules and plug it in again: %w", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the Ledger: %w", err)
	}
	return &usb{file}, nil
}

// findHID returns the name of the Ledger in what the kernel says of HID devices.
func findHID(sys fs.FS) (string, error) {
	devices, err := fs.ReadDir(sys, ".")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for a Ledger: %w", err)
	}
	for _, d := range devices {
		event, err := fs.ReadFile(sys, d.Name()+"/device/uevent")
		if err != nil || !strings.Contains(strings.ToUpper(string(event)), ":"+ledgerVendor+":") {
			continue
		}
		if report, err := fs.ReadFile(sys, d.Name()+"/device/report_descriptor"); err == nil && bytes.HasPrefix(report, []byte(ledgerUsage)) {
			return d.Name(), nil
		}
	}
	return "", errors.New("no Ledger is plugged in, or it is locked")
}

// usb is a HID device.
type usb struct{ file *os.File }

// Exchange ends with ctx: a person may take long to confirm.
func (u *usb) Exchange(ctx context.Context, command []byte) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { _ = u.file.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for _, p := range hidPackets(command) {
		if _, err := u.file.Write(append([]byte{0}, p...)); err != nil { // report number 0
			return nil, errors.Join(fmt.Errorf("write to the device: %w", err), ctx.Err())
		}
	}
	answer, err := hidAnswer(u.file)
	if err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	return answer, nil
}

func (u *usb) Close() error { return u.file.Close() }
