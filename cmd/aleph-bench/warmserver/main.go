// Command warmserver is what crn-throughput-warm measures, in two places: as a program of the network, and as PID 1 of a machine
// with a network card, whose only process it is.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() == 1 {
		if err := boot(); err != nil {
			log.Fatal(err) // the kernel panics, and the machine ends
		}
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "Hello from a virtual machine\n")
	})
	log.Fatal(http.ListenAndServe(":8080", nil))
}

// boot loads the drivers and gives the card the address that QEMU's own network forwards to.
func boot() error {
	list, err := os.ReadFile("/modules/list")
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(list)) {
		module, err := os.Open(filepath.Join("/modules", name))
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(module.Fd()), "", 0)
		module.Close()
		if err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("configure the network: %w", err)
	}
	defer unix.Close(socket)
	card, err := unix.NewIfreq("eth0")
	if err != nil {
		return err
	}
	if err := card.SetInet4Addr([]byte{10, 0, 2, 15}); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFADDR, card); err != nil {
		return fmt.Errorf("set the address of eth0: %w", err)
	}
	card.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, card); err != nil {
		return fmt.Errorf("bring eth0 up: %w", err)
	}
	return nil
}
