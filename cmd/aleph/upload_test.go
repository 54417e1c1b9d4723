package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// largeFolder writes a folder with a file that is worth going on with.
func largeFolder(t *testing.T) (folder, file string) {
	t.Helper()
	content := make([]byte, 12<<20)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(content) // never fails
	folder = filepath.Join(t.TempDir(), "photos")
	file = filepath.Join(folder, "large.bin")
	if err := errors.Join(os.Mkdir(folder, 0o755), os.WriteFile(file, content, 0o600)); err != nil {
		t.Fatal(err)
	}
	return folder, file
}

func TestUploadThatBrokeOffGoesOn(t *testing.T) {
	node, u, _ := funded(t)
	folder, file := largeFolder(t)
	account, err := ethereum.FromHex(u.env["ALEPH_PRIVATE_KEY"])
	if err != nil {
		t.Fatal(err)
	}
	for path, upload := range map[string]func(context.Context, client.UploadOptions) error{
		file: func(ctx context.Context, o client.UploadOptions) error {
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = node.core.Client().UploadFile(ctx, account, f, o)
			return err
		},
		folder: func(ctx context.Context, o client.UploadOptions) error {
			packed, err := client.HashFolder(ctx, os.DirFS(folder))
			if err != nil {
				return err
			}
			_, err = node.core.Client().UploadFolder(ctx, account, packed, o)
			return err
		},
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		err := upload(ctx, client.UploadOptions{Progress: func(sent, all int64) {
			if sent > all/2 {
				interrupt()
			}
		}})
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "the same upload goes on where it was") {
			t.Fatalf("%s was not interrupted: %v", path, err)
		}
		code, out, errOut := u.run("file", "upload", path)
		if code != 0 || !strings.Contains(errOut, filepath.Base(path)+" goes on at ") || !strings.Contains(out, "processed") {
			t.Errorf("%s: exit code %d: %s%s", path, code, out, errOut)
		}
	}
}

func TestUploadSaysThatItCannotGoOn(t *testing.T) {
	node := newFakeNode(t)
	u := newUser(t, node.URL)
	_, file := largeFolder(t)
	code, _, errOut := u.run("file", "upload", file)
	if code != 0 || !strings.Contains(errOut, "in one piece only") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}
