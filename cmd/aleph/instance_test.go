package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

// instanceFiles returns a disk image and a public key.
func instanceFiles(t *testing.T) (image, key string) {
	t.Helper()
	dir := t.TempDir()
	image, key = filepath.Join(dir, "debian.qcow2"), filepath.Join(dir, "id.pub")
	for path, content := range map[string]string{image: "QFI\xfb and so on", key: "# mine\nssh-ed25519 AAAA me@here\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return image, key
}

func TestCreatePublishesACompleteInstance(t *testing.T) {
	node := newFakeNode(t)
	image, key := instanceFiles(t)
	u := newUser(t, node.URL)
	code, out, errOut := u.run("-o", "json", "instance", "create", "--image", image, "--ssh-key", key, "--disk", "4096", "--volume", "data:512", "--yes")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	var v machineView
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	if v.CCN != "core-1" || v.CRN != "crn-1" || !v.Running || v.Host != "198.51.100.7" || v.Ports["22"].Host != 24007 {
		t.Errorf("printed %s", out)
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(node.messages[v.ItemHash].ItemContent), &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, "time")
	got, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	content, err := message.ParseContent(message.TypeInstance, []byte(node.messages[v.ItemHash].ItemContent))
	if err != nil {
		t.Fatal(err)
	}
	parent := content.(*message.Instance).Rootfs.Parent.Ref
	if node.messages[parent] == nil {
		t.Error("the image was not stored")
	}
	golden(t, "instance.json", append(got, '\n'), map[string]string{string(parent): "IMAGE"})
}

func TestAnInstanceThatNobodyCouldUseIsNotCreated(t *testing.T) {
	node := newFakeNode(t)
	image, key := instanceFiles(t)
	u := newUser(t, node.URL)
	t.Setenv("HOME", t.TempDir())
	for name, args := range map[string][]string{
		"no key":              {"--image", image},
		"no such image":       {"--image", image + "x", "--ssh-key", key},
		"a volume of no size": {"--image", image, "--ssh-key", key, "--volume", "data"},
	} {
		if code, _, errOut := u.run(append([]string{"instance", "create"}, args...)...); code != exitUsage {
			t.Errorf("%s: exit code %d: %s", name, code, errOut)
		}
	}
	node.balance = "1"
	hash := string(message.HashBytes([]byte("image")))
	if code, _, errOut := u.run("instance", "create", "--image", hash, "--ssh-key", key); code != exitFunds {
		t.Errorf("without funds: exit code %d: %s", code, errOut)
	}
	if len(node.messages) != 0 {
		t.Errorf("sent %d messages", len(node.messages))
	}
}

func TestOperationsGoToWhereTheInstanceRuns(t *testing.T) {
	node := newFakeNode(t)
	u := newUser(t, node.URL)
	hash := string(message.HashBytes([]byte("instance")))
	for _, args := range [][]string{{"stop"}, {"start"}, {"reboot"}, {"reinstall", "--keep-volumes", "--yes"}, {"reinstall", "--yes"}, {"erase", "--yes", "--forget=false"}} {
		code, out, errOut := u.run(append([]string{"instance", args[0], hash}, args[1:]...)...)
		if code != 0 || !strings.Contains(out, hash) {
			t.Errorf("%v: exit code %d: %s%s", args, code, out, errOut)
		}
	}
	want := []string{"stop?", "start?", "reboot?", "reinstall?erase_volumes=false", "reinstall?erase_volumes=true", "erase?"}
	if !slices.Equal(node.operated, want) {
		t.Errorf("operated %v", node.operated)
	}
	// What cannot be undone is asked first.
	for _, name := range []string{"erase", "reinstall"} {
		if code, _, _ := u.run("--no-input", "instance", name, hash); code == 0 {
			t.Errorf("%s did not ask", name)
		}
	}
	if len(node.operated) != len(want) {
		t.Errorf("operated %v", node.operated)
	}
}

func TestImagesHaveNames(t *testing.T) {
	node, u, _ := funded(t)
	image, key := instanceFiles(t)
	var stored []fileView
	u.result(&stored, "file", "upload", image)
	node.core.SetAggregate(imagesKey, map[string]any{"rootfs": map[string]any{
		"debian-12": map[string]any{"hash": stored[0].ItemHash, "display_name": "Debian 12"},
		"debian-11": map[string]any{"hash": stored[0].ItemHash, "deprecated": true},
	}})
	var v machineView
	u.result(&v, "instance", "create", "--image", "debian-12", "--ssh-key", key, "--wait=false")
	var content struct {
		Rootfs message.Rootfs `json:"rootfs"`
	}
	if err := node.core.Client().MessageContent(t.Context(), v.ItemHash, &content); err != nil || content.Rootfs.Parent.Ref != stored[0].ItemHash {
		t.Errorf("the image is %s, %v", content.Rootfs.Parent.Ref, err)
	}
	code, _, errOut := u.run("instance", "create", "--image", "debian-13", "--ssh-key", key, "--yes")
	if code != exitUsage || !strings.Contains(errOut, "no such image; it has: debian-12\n") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestACommandOnAnInstanceEndsAsItDid(t *testing.T) {
	u := newUser(t, newFakeNode(t).URL)
	bin, said := t.TempDir(), filepath.Join(t.TempDir(), "said")
	ssh := "#!/bin/sh\nprintf '%s\\n' \"$@\" > " + said + "\nexit \"$ENDS\"\n"
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte(ssh), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	image, key := instanceFiles(t)
	var v machineView
	u.result(&v, "instance", "create", "--image", image, "--ssh-key", key, "--yes")
	for code, want := range map[int]int{0: exitOK, 3: 3, 255: exitFailed} {
		t.Setenv("ENDS", fmt.Sprint(code))
		got, out, errOut := u.run("instance", "ssh", "-i", "id", "--user", "me", string(v.ItemHash), "ls", "-l")
		if got != want || out != "" || (errOut != "") != (code == 255) {
			t.Errorf("ended with %d: exit code %d: %s%s", code, got, out, errOut)
		}
	}
	args, err := os.ReadFile(said)
	if want := "-o\nHostKeyAlias=" + string(v.ItemHash) + "\n-p\n24007\n-i\nid\nme@198.51.100.7\nls\n-l\n"; err != nil || string(args) != want {
		t.Errorf("ssh was told %q, %v", args, err)
	}
}
