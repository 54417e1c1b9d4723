// Package imagetest gives tests what real machines boot from. It is made in build/guest of the checkout, as 'make guest' does,
// and used again by every later run.
package imagetest

import (
	"archive/zip"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/aleph-im/aleph-go/crn/image"
)

// Images are the files that machines are made of.
type Images struct {
	Dir          string // the folder that fetch-kernel.sh and build-runtime.sh filled
	Kernel       image.Kernel
	GuestProgram string
	Initramfs    string
	Runtime      string // squashfs with Python, FastAPI and uvicorn
}

// Root returns the root of the checkout.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

var once = sync.OnceValues(build)

// Get returns the images, making what is missing first. Without them there is nothing to test, so their absence is a failure.
func Get(t testing.TB) *Images {
	t.Helper()
	images, err := once()
	if err != nil {
		t.Fatalf("guest images: %v", err)
	}
	return images
}

// NodeRuntime makes the squashfs with Node where it is missing. It stays beside the other images, where a network offers it.
func NodeRuntime() error {
	dir, unlock, err := lock()
	if err != nil {
		return err
	}
	defer unlock()
	return run(Root(), nil, "crn/image/build-runtime.sh", "node", dir)
}

// lock returns the folder of images. Packages are tested in parallel processes: one builds, the others wait.
func lock() (dir string, unlock func() error, err error) {
	dir = filepath.Join(Root(), "build", "guest")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		file.Close()
		return "", nil, err
	}
	return dir, file.Close, nil
}

func build() (*Images, error) {
	dir, unlock, err := lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, script := range [][]string{{"fetch-kernel.sh", dir}, {"build-runtime.sh", "python", dir}} {
		if err := run(Root(), nil, filepath.Join("crn", "image", script[0]), script[1:]...); err != nil {
			return nil, err
		}
	}
	i := &Images{Dir: dir, GuestProgram: filepath.Join(dir, "guest-init"), Runtime: filepath.Join(dir, "runtime-python.squashfs")}
	if err := BuildGo("./cmd/guest-init", i.GuestProgram); err != nil {
		return nil, err
	}
	if i.Kernel, err = image.LoadKernel(dir); err != nil {
		return nil, err
	}
	program, err := image.GuestProgram(i.GuestProgram)
	if err != nil {
		return nil, err
	}
	if i.Initramfs, err = image.Initramfs(dir, program, i.Kernel); err != nil {
		return nil, err
	}
	return i, nil
}

// builds has what this process has built, by package and place: go build would look through the module again each time.
var builds sync.Map

// BuildGo builds a package of this module as a static binary for the guest.
func BuildGo(pkg, out string) error {
	build, _ := builds.LoadOrStore([2]string{pkg, out}, sync.OnceValue(func() error {
		return run(Root(), []string{"CGO_ENABLED=0", "GOOS=linux"}, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	}))
	return build.(func() error)()
}

func run(dir string, env []string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// Counter is an ASGI program that tells how often it was called. It has no framework, whose import takes an emulated processor ten
// seconds.
const Counter = `
calls = 0

async def app(scope, receive, send):
    global calls
    if scope["type"] == "http":
        calls += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"calls":%d}' % calls})
`

// Zip returns an archive with the given files, as they are: an emulated processor takes long to unpack what is compressed.
func Zip(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, content := range files {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
