package main

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
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

func TestWhatIsTooLargeForItsNameIsTakenByItsCID(t *testing.T) {
	node, u, _ := funded(t)
	raw, err := os.ReadFile(node.network)
	var parameters map[string]any
	if err == nil {
		err = json.Unmarshal(raw, &parameters)
	}
	parameters["max_file"], parameters["max_ipfs_file"] = 5, 12
	if raw, err2 := json.Marshal(parameters); err == nil && err2 == nil {
		err = os.WriteFile(node.network, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, content := range map[string]string{"note": "six by", "disk.img": "six by", "large": "thirteen byte", "key.pub": "ssh-ed25519 AAAA me\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name, says string
		flags      []string
	}{
		{"note", "add --ipfs", nil}, {"large", "at most 0 MiB", nil}, {"large", "at most 0 MiB", []string{"--ipfs"}},
	} {
		if code, _, errOut := u.run(append([]string{"file", "upload", filepath.Join(folder, test.name)}, test.flags...)...); code != exitFailed || !strings.Contains(errOut, test.says) {
			t.Errorf("%s %v: exit code %d: %s", test.name, test.flags, code, errOut)
		}
	}
	var files []fileView
	u.result(&files, "file", "upload", filepath.Join(folder, "note"), "--ipfs")
	var v machineView
	u.result(&v, "instance", "create", "--image", filepath.Join(folder, "disk.img"), "--ssh-key", filepath.Join(folder, "key.pub"), "--wait=false")
	var shown instanceView
	u.result(&shown, "instance", "show", string(v.ItemHash))
	var image fileView
	u.result(&image, "file", "info", string(shown.Image))
	if image.FileHash != files[0].FileHash || image.FileHash.Kind() != message.ItemIPFS {
		t.Errorf("the image is stored as %s", image.FileHash)
	}
}
