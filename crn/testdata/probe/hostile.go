package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// hostile adds what a program does that wants to harm its host or its neighbours. It is root in its machine.
func hostile(mux *http.ServeMux) {
	mux.HandleFunc("/fill", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, fill(r.URL.Query().Get("path"))) })
	mux.HandleFunc("/overwrite", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, overwrite(r.URL.Query().Get("path")))
	})
	mux.HandleFunc("/flood", func(w http.ResponseWriter, r *http.Request) {
		line := bytes.Repeat([]byte("flood "), 1000)
		for range 1500 {
			_, _ = os.Stdout.Write(append(line, '\n'))
		}
	})
	mux.HandleFunc("/dial", func(w http.ResponseWriter, r *http.Request) {
		_, err := net.DialTimeout("tcp", r.URL.Query().Get("address"), time.Second)
		fmt.Fprint(w, err)
	})
	mux.HandleFunc("/resolve", func(w http.ResponseWriter, r *http.Request) {
		addresses, err := net.DefaultResolver.LookupNetIP(r.Context(), "ip4", r.URL.Query().Get("name"))
		fmt.Fprint(w, addresses, err)
	})
	mux.HandleFunc("/interfaces", func(w http.ResponseWriter, r *http.Request) {
		all, err := net.Interfaces()
		for _, i := range all {
			fmt.Fprint(w, i.Name, " ")
		}
		if err != nil {
			fmt.Fprint(w, err)
		}
	})
	mux.HandleFunc("/raw", func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, r.Body) // the answer is what the caller sent
	})
	mux.HandleFunc("/clock", func(w http.ResponseWriter, r *http.Request) {
		later := unix.NsecToTimeval(time.Now().AddDate(10, 0, 0).UnixNano())
		fmt.Fprint(w, unix.Settimeofday(&later))
	})
	mux.HandleFunc("/ignore", func(w http.ResponseWriter, r *http.Request) { signal.Ignore(syscall.SIGTERM, syscall.SIGINT) })
	mux.HandleFunc("/fork", func(w http.ResponseWriter, r *http.Request) { bomb() })
	mux.HandleFunc("/garbage", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, garbage()) })
	mux.HandleFunc("/crash", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0))
	})
}

// fill writes to a new file until the disk is full, and returns how that ended.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 1<<20); ; {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
}

// overwrite tries to change a block device, telling the kernel first that it may be written to.
func overwrite(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_SYNC, 0)
	if err != nil {
		ro, openErr := os.Open(path)
		if openErr != nil {
			return openErr
		}
		_ = unix.IoctlSetPointerInt(int(ro.Fd()), unix.BLKROSET, 0)
		ro.Close()
		if f, err = os.OpenFile(path, os.O_RDWR|unix.O_SYNC, 0); err != nil {
			return err
		}
	}
	defer f.Close()
	if _, err := f.Write(bytes.Repeat([]byte{'x'}, 4096)); err != nil {
		return err
	}
	return f.Sync()
}

// bomb starts programs that start programs, for as long as any can be started.
func bomb() {
	for {
		child := exec.Command("/proc/self/exe")
		child.Env = []string{"MODE=bomb"}
		if child.Start() == nil {
			go func() { _ = child.Wait() }()
		}
	}
}

// garbage takes the channel to the host from init, writes noise to it and waits for the end: an answer, which goes another way,
// could be there before the noise is.
func garbage() error {
	fds, err := filepath.Glob("/proc/1/fd/*")
	if err != nil {
		return err
	}
	init, err := unix.PidfdOpen(1, 0)
	if err != nil {
		return err
	}
	for _, name := range fds {
		if target, _ := os.Readlink(name); !strings.HasPrefix(target, "/dev/vport") {
			continue
		}
		var number int
		if _, err := fmt.Sscan(filepath.Base(name), &number); err != nil {
			return err
		}
		fd, err := unix.PidfdGetfd(init, number, 0)
		if err != nil {
			return err
		}
		for range 64 {
			if _, err := unix.Write(fd, bytes.Repeat([]byte("garbage\xff\x00"), 512)); err != nil {
				return err
			}
		}
		select {}
	}
	return fmt.Errorf("init holds no port among %v", fds)
}
