package guestapi

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

func TestEachProgramSignsWithAKeyOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	a := newAPI(t, "http://127.0.0.1:1", dir)
	mine := fields(t, ask(t, a, first, "GET", "/properties", "").Body.Bytes())
	others := fields(t, ask(t, a, second, "GET", "/properties", "").Body.Bytes())
	again := fields(t, ask(t, newAPI(t, "http://127.0.0.1:1", dir), first, "GET", "/properties", "").Body.Bytes())
	elsewhere := fields(t, ask(t, newAPI(t, "http://127.0.0.1:1", t.TempDir()), first, "GET", "/properties", "").Body.Bytes())
	if mine["address"] == others["address"] || mine["address"] == elsewhere["address"] || mine["address"] != again["address"] || mine["chain"] != "ETH" || mine["curve"] != "secp256k1" {
		t.Errorf("mine %v, another program's %v, after a restart %v, on another node %v", mine, others, again, elsewhere)
	}
	if info, err := os.Stat(filepath.Join(dir, "secret")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("secret: %v, %v", info, err)
	}

	content := func(address string) (text string, hash message.Hash) {
		raw, _ := json.Marshal(map[string]any{"address": address, "type": "note", "time": 1.5, "content": map[string]any{"n": 1}})
		return string(raw), message.HashBytes(raw)
	}
	body := func(change map[string]any, address string) string {
		text, hash := content(address)
		m := map[string]any{"type": "POST", "item_type": "inline", "item_content": text, "item_hash": hash, "time": 1.5, "channel": "TEST"}
		for name, value := range change {
			m[name] = value
		}
		raw, _ := json.Marshal(m)
		return string(raw)
	}
	for _, address := range []string{"", string(first), "label-of-" + string(first[:4]), mine["address"].(string), "0x000000000000000000000000000000000000dEaD"} {
		w := ask(t, a, first, "POST", "/sign", body(nil, address))
		if w.Code != 200 {
			t.Fatalf("as %q: %d %s", address, w.Code, w.Body)
		}
		m, c, err := message.Parse(w.Body.Bytes())
		if err != nil {
			t.Fatalf("as %q: %v in %s", address, err, w.Body)
		}
		signer, err := ethereum.RecoverPersonal(m.SigningPayload(), m.Signature)
		if err != nil || m.Sender != mine["address"] || !strings.EqualFold(fmt.Sprint(signer), m.Sender) {
			t.Errorf("as %q: sender %s, signer %v, %v", address, m.Sender, signer, err)
		}
		want := m.Sender
		if strings.HasSuffix(address, "dEaD") {
			want = address // whether it may speak for that is the network's to decide
		}
		if c.Base().Address != want || *m.Channel != "TEST" {
			t.Errorf("as %q: the content is %s's", address, c.Base().Address)
		}
	}
	for name, wrong := range map[string]string{
		"not JSON": "message", "null": "null", "of another": body(map[string]any{"sender": others["address"]}, ""),
		"on another chain": body(map[string]any{"chain": "SOL"}, ""), "without type": body(map[string]any{"type": nil}, ""),
		"of other content": body(map[string]any{"item_hash": first}, "0x1"), "content that is none": body(map[string]any{"item_content": "[]"}, ""),
		"without hash": body(map[string]any{"item_content": nil, "item_hash": nil}, ""),
	} {
		if w := ask(t, a, first, "POST", "/sign", wrong); w.Code != 400 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
