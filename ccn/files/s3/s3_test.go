package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/files/filestest"
	"github.com/aleph-im/aleph-go/ccn/files/ipfs"
	"github.com/aleph-im/aleph-go/message"
)

const (
	access = "test-access-key"
	secret = "test-secret-key"
)

// server is a real S3 server on a folder, on the loopback interface.
type server struct {
	endpoint string
	buckets  string // folder of its buckets
	made     atomic.Int32
}

func serve(t *testing.T) *server {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	program := filepath.Join(filepath.Dir(here), "..", "..", "..", "build", "tools", "versitygw")
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("the S3 server for tests is missing, run scripts/setup.sh: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	s := &server{endpoint: "http://" + address, buckets: t.TempDir()}
	var output bytes.Buffer
	cmd := exec.Command(program, "--access", access, "--secret", secret, "--port", address, "--quiet",
		"posix", "--sidecar", t.TempDir(), s.buckets)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	deadline := time.After(20 * time.Second)
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the S3 server ended: %v\n%s", err, output.String())
		case <-deadline:
			t.Fatal("the S3 server does not listen")
		case <-tick.C:
		}
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			tick.Stop()
			return s
		}
	}
}

func (s *server) config(t *testing.T) Config {
	bucket := fmt.Sprintf("bucket-%d", s.made.Add(1))
	cfg := Config{Endpoint: s.endpoint, Bucket: bucket, Prefix: "node/files/", AccessKey: access, SecretKey: secret}
	if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "create it first") {
		t.Fatalf("open a bucket that is not there: %v", err)
	}
	if err := os.Mkdir(filepath.Join(s.buckets, bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func (s *server) open(t *testing.T) *Store {
	t.Helper()
	store, err := Open(t.Context(), s.config(t))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestStore(t *testing.T) {
	s := serve(t)
	filestest.Run(t, func(t *testing.T) files.Store { return s.open(t) }, filestest.SHA256)
}

func TestIPFSKeepsItsBlocksInABucket(t *testing.T) {
	s := serve(t)
	n, err := ipfs.New(ipfs.Config{Dir: t.TempDir(), Blocks: s.open(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	text := strings.Repeat("0123456789", 100_000)
	h, _, err := n.Put(t.Context(), strings.NewReader(text), 0)
	if err != nil {
		t.Fatal(err)
	}
	f, _, err := n.Open(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != text {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestNothingShowsBeforeItIsVerified(t *testing.T) {
	s := serve(t).open(t)
	text := strings.Repeat("x", 3*partSize)
	h := message.HashBytes([]byte(text))
	seen := 0
	// The reader looks into the bucket while the upload is under way.
	spy := readerFunc(func(p []byte) (int, error) {
		if _, err := s.Stat(t.Context(), h); !errors.Is(err, files.ErrNotFound) {
			t.Errorf("visible during the upload: %v", err)
		}
		seen++
		return 0, io.EOF
	})
	if _, err := s.PutExpecting(t.Context(), h, io.MultiReader(strings.NewReader(text), spy), 0); err != nil || seen == 0 {
		t.Fatal(seen, err)
	}
}

func TestWhatWasLeftUnfinishedIsRemoved(t *testing.T) {
	s := serve(t).open(t)
	ctx := t.Context()
	id, err := s.core.NewMultipartUpload(ctx, s.bucket, s.prefix+"tmp/left", minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.write(ctx, s.prefix+"tmp/object", []byte("left")); err != nil {
		t.Fatal(err)
	}
	kept, _, err := s.Put(ctx, strings.NewReader("kept"), 0)
	if err != nil {
		t.Fatal(err)
	}
	left := func() int {
		n := 0
		for o := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + "tmp/", Recursive: true}) {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			n++
		}
		for o := range s.core.ListIncompleteUploads(ctx, s.bucket, s.prefix, true) {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			n++
		}
		return n
	}
	if err := s.clean(ctx, time.Now().Add(-time.Hour)); err != nil || left() != 2 {
		t.Fatalf("young: %d left, %v", left(), err)
	}
	if err := s.clean(ctx, time.Now().Add(time.Hour)); err != nil || left() != 0 {
		t.Fatalf("old: %d left of upload %s, %v", left(), id, err)
	}
	if _, err := s.Stat(ctx, kept); err != nil {
		t.Fatal(err)
	}
}

func TestAddressesAreParsed(t *testing.T) {
	for address, want := range map[string]Config{
		"s3://b": {Bucket: "b", Endpoint: "https://s3.amazonaws.com"},
		"s3://b/p/q?endpoint=http://127.0.0.1:900": {Bucket: "b", Prefix: "p/q/", Endpoint: "http://127.0.0.1:900"},
		"s3://b/?region=r":                         {Bucket: "b", Region: "r", Endpoint: "https://s3.amazonaws.com"},
	} {
		if got, err := Parse(address); err != nil || got != want {
			t.Errorf("%s: %+v, %v", address, got, err)
		}
	}
	for _, address := range []string{"", "disk", "s3://", "http://b/p", "s3://key:secret@b"} {
		if _, err := Parse(address); err == nil {
			t.Errorf("%q was parsed", address)
		}
	}
	if _, err := Open(context.Background(), Config{Endpoint: "no url", Bucket: "b"}); err == nil {
		t.Error("an endpoint that is none")
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
