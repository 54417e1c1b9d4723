package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/clienttest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// program writes a program of one file and returns its folder.
func program(t *testing.T, name, content string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "hello")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestProgramFromAFolder(t *testing.T) {
	node := clienttest.Start(t)
	c, me := node.Client(), node.Account(1000000)
	runtime := must[*client.Uploaded](t)(c.UploadFile(t.Context(), me, strings.NewReader("runtime"), client.UploadOptions{Sync: true}))
	for file, test := range map[string]struct {
		content, entrypoint string
		kind                message.Interface
	}{
		"main.py":    {"app = 1\n", "main:app", message.InterfaceASGI},
		"wsgi.py":    {"application = 1\n", "aleph-start", message.InterfaceBinary},
		"server":     {"\x7fELF", "server", message.InterfaceBinary},
		"server.js":  {"x", "aleph-start", message.InterfaceBinary},
		"hello.wasm": {"\x00asm\x01\x00\x00\x00", "hello.wasm", message.InterfaceWasm},
	} {
		o := client.DeployOptions{Channel: "TEST", Change: func(p *message.Program) { p.Variables["A"] = "b" }}
		if test.kind != message.InterfaceWasm {
			o.Runtime = runtime.MessageHash
		}
		d, err := c.DeployProgram(t.Context(), me, program(t, file, test.content), o)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		info := must[*client.MessageInfo](t)(c.GetMessage(t.Context(), d.ItemHash))
		content, err := message.ParseContent(message.TypeProgram, []byte(*info.Message.ItemContent))
		if err != nil {
			t.Fatal(err)
		}
		p := content.(*message.Program)
		want := runtime.MessageHash
		if test.kind == message.InterfaceWasm {
			want = d.Code
		}
		if d.Status != message.StatusProcessed || d.Entrypoint != test.entrypoint || p.Code.Entrypoint != test.entrypoint || p.Code.EffectiveInterface() != test.kind || p.Code.Ref != d.Code {
			t.Errorf("%s: deployed %+v: %+v", file, d, p.Code)
		}
		if p.Runtime.Ref != want || p.Resources.MemoryMiB != 256 || p.Variables["A"] != "b" || string(p.Metadata) != `{"name":"hello"}` || *info.Message.Channel != "TEST" {
			t.Errorf("%s: published %+v", file, p)
		}
	}
}

func TestWhatCannotBeDeployedIsSaid(t *testing.T) {
	node := clienttest.Start(t)
	c, poor := node.Client(), node.Account(0)
	if _, err := c.DeployProgram(t.Context(), poor, program(t, "server.js", "x"), client.DeployOptions{}); err == nil || !strings.Contains(err.Error(), "a runtime that has node") {
		t.Errorf("%v", err)
	}
	wasm := program(t, "hello.wasm", "\x00asm\x01\x00\x00\x00")
	var short *client.InsufficientFundsError
	if _, err := c.DeployProgram(t.Context(), poor, wasm, client.DeployOptions{}); !errors.As(err, &short) {
		t.Errorf("without funds: %v", err)
	}
}

func TestRuntimesHaveNames(t *testing.T) {
	node := clienttest.Start(t)
	c, authority := node.Client(), node.Account(0)
	if _, err := c.Runtime(t.Context(), authority.Address(), ""); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("of an authority that names none: %v", err)
	}
	hash := message.HashBytes([]byte("runtime"))
	must[*client.Sent](t)(c.SetAggregate(t.Context(), authority, "runtimes", map[string]any{"default": hash, "runtimes": map[string]any{"python": hash}}, sync))
	for _, name := range []string{"", "python"} {
		if got, err := c.Runtime(t.Context(), authority.Address(), name); got != hash || err != nil {
			t.Errorf("%q: %s, %v", name, got, err)
		}
	}
	if _, err := c.Runtime(t.Context(), authority.Address(), "cobol"); !errors.Is(err, client.ErrNoRuntime) || !strings.Contains(err.Error(), "it has: python") {
		t.Errorf("%v", err)
	}
}

// A folder becomes a program, and answers. This needs a whole network, such as that of aleph-devnet, whose authority names its
// runtimes.
func ExampleClient_DeployProgram() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	key, err := os.ReadFile(".devnet/keys/account0.key")
	if err != nil {
		log.Fatal(err)
	}
	me, err := ethereum.FromHex(strings.TrimSpace(string(key)))
	if err != nil {
		log.Fatal(err)
	}
	c := client.New(client.Config{BaseURL: "http://127.0.0.1:4024"})
	runtime, err := c.Runtime(ctx, "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720", "")
	if err != nil {
		log.Fatal(err)
	}
	program, err := c.DeployProgram(ctx, me, "examples/hello-fastapi", client.DeployOptions{Runtime: runtime})
	if err != nil {
		log.Fatal(err)
	}
	place, err := c.Placed(ctx, program.ItemHash)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.ProgramURL(place.Node.URL, program.ItemHash))
}
