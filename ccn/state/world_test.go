package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

const (
	alice = "0xAlice"
	bob   = "0xBob"
)

var now = time.Unix(1_700_000_000, 0)

// world is a store with a state on it.
type world struct {
	t     testing.TB
	db    *store.Store
	state *State
}

func newWorld(t testing.TB, p *params.Network) *world {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "node.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{t, db, New(Config{Params: p, Now: func() time.Time { return now }})}
}

// hash returns a hash that is told by its name.
func hash(name string) message.Hash { return message.HashBytes([]byte(name)) }

func encoded(content message.Content) string {
	raw, err := json.Marshal(content)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// item makes a message named name; its sender is the owner unless edited.
func item(name string, content message.Content, edit ...func(*message.Message)) *Item {
	base := content.Base()
	m := &message.Message{
		Sender: base.Address, Chain: message.ChainETH, Type: content.Type(), Signature: "signed", ItemType: message.ItemInline,
		ItemHash: hash(name), Time: message.TimeFromSeconds(base.Time), ItemContent: encoded(content),
	}
	for _, e := range edit {
		e(m)
	}
	return &Item{Message: m, Content: content, Size: int64(len(m.ItemContent)), ReceptionTime: m.Time}
}

func sender(address string) func(*message.Message) {
	return func(m *message.Message) { m.Sender = address }
}

func sentAt(seconds int64) func(*message.Message) {
	return func(m *message.Message) { m.Time = message.TimeFromSeconds(float64(seconds)) }
}

func base(owner string, t float64) message.BaseContent {
	return message.BaseContent{Address: owner, Time: t}
}

func post(owner string, t float64, content string) *message.Post {
	return &message.Post{BaseContent: base(owner, t), PostType: "note", Content: json.RawMessage(content)}
}

func amend(owner string, t float64, original string) *message.Post {
	return &message.Post{BaseContent: base(owner, t), PostType: message.PostTypeAmend, Ref: string(hash(original)), Content: json.RawMessage(`1`)}
}

func aggregate(owner string, t float64, key, content string) *message.Aggregate {
	return &message.Aggregate{BaseContent: base(owner, t), Key: key, Content: json.RawMessage(content)}
}

func file(owner string, t float64, content, ref string) *message.Store {
	return &message.Store{BaseContent: base(owner, t), FileType: message.ItemStorage, FileHash: hash(content), Ref: ref}
}

func forget(owner string, t float64, names ...string) *message.Forget {
	f := &message.Forget{BaseContent: base(owner, t)}
	for _, name := range names {
		f.Hashes = append(f.Hashes, hash(name))
	}
	return f
}

func (w *world) write(f func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.db.Write(w.t.Context(), f); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) apply(it *Item) (*Effect, *message.Error) {
	w.t.Helper()
	var effect *Effect
	var refusal *message.Error
	w.write(func(tx *store.Tx) (err error) {
		if effect, err = w.state.Apply(tx, it); errors.As(err, &refusal) {
			return nil
		}
		return err
	})
	return effect, refusal
}

// must applies what has to be accepted.
func (w *world) must(items ...*Item) {
	w.t.Helper()
	for _, it := range items {
		if _, refusal := w.apply(it); refusal != nil {
			w.t.Fatalf("%s %s refused: %v", it.Message.Type, it.Message.ItemContent, refusal)
		}
	}
}

// refuses applies what has to be refused with code.
func (w *world) refuses(code message.ErrorCode, it *Item) *message.Error {
	w.t.Helper()
	before := w.dump()
	_, refusal := w.apply(it)
	if refusal == nil {
		w.t.Fatalf("%s %s accepted, want code %d", it.Message.Type, it.Message.ItemContent, code)
	}
	if refusal.Code != code {
		w.t.Fatalf("got code %d (%v), want %d", refusal.Code, refusal, code)
	}
	if after := w.dump(); after != before {
		w.t.Fatalf("a refusal wrote:\n%s\nbefore:\n%s", after, before)
	}
	return refusal
}

// have makes files known, of size bytes.
func (w *world) have(size int64, contents ...string) {
	w.t.Helper()
	w.write(func(tx *store.Tx) error {
		for _, c := range contents {
			if _, err := tx.PutFile(&store.FileRow{Hash: hash(c), Size: size, Type: store.FileTypeFile}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *world) holds(address, amount string) {
	w.t.Helper()
	w.write(func(tx *store.Tx) error {
		return tx.PutBalance(&store.BalanceRow{Address: address, Chain: message.ChainETH, Balance: amount, Height: 1})
	})
}

func (w *world) dump() (text string) {
	w.t.Helper()
	err := w.db.Read(w.t.Context(), func(r *store.Reader) (err error) {
		text, err = r.Dump()
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

func (w *world) forgottenBy(name string) (by []message.Hash) {
	w.t.Helper()
	err := w.db.Read(w.t.Context(), func(r *store.Reader) error {
		f, err := r.Forgotten(hash(name))
		if f != nil {
			by = f.ForgottenBy
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return by
}

// kept reports whether anything keeps a file.
func (w *world) kept(content string) (pinned bool) {
	w.t.Helper()
	err := w.db.Read(w.t.Context(), func(r *store.Reader) (err error) {
		pinned, err = r.Pinned(hash(content))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return pinned
}

func (w *world) document(owner, key string) string {
	w.t.Helper()
	text := ""
	err := w.db.Read(w.t.Context(), func(r *store.Reader) error {
		a, err := r.Aggregate(owner, key)
		if a != nil {
			text = fmt.Sprintf("%s %v %v", a.Content, a.Created, a.LastUpdated)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

func (w *world) shown(name string) (latest string) {
	w.t.Helper()
	err := w.db.Read(w.t.Context(), func(r *store.Reader) error {
		p, err := r.Post(hash(name))
		switch {
		case err != nil:
			return err
		case p == nil:
			latest = "none"
		case p.LatestAmend != nil:
			latest = string(*p.LatestAmend)
		default:
			latest = string(p.Hash)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return latest
}

func (w *world) tagged(tag string) (file message.Hash) {
	w.t.Helper()
	err := w.db.Read(w.t.Context(), func(r *store.Reader) error {
		row, err := r.Tag(tag)
		if row != nil {
			file = row.File
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return file
}

func instance(owner string, t float64, parent string, payment message.PaymentType) *message.Instance {
	return instanceOf(owner, t, hash(parent), payment)
}

func instanceOf(owner string, t float64, parent message.Hash, payment message.PaymentType) *message.Instance {
	c := &message.Instance{Rootfs: message.Rootfs{Parent: message.ParentVolume{Ref: parent, UseLatest: true}, Persistence: "host", SizeMiB: 20480}}
	c.BaseContent = base(owner, t)
	c.Resources = message.Resources{VCPUs: 1, MemoryMiB: 2048, Seconds: 1}
	if payment != "" {
		c.Payment = &message.Payment{Type: payment}
	}
	return c
}

func program(owner string, t float64, code string, replaces string) *message.Program {
	if replaces == "" {
		return programOf(owner, t, hash(code), "")
	}
	return programOf(owner, t, hash(code), hash(replaces))
}

func programOf(owner string, t float64, code, replaces message.Hash) *message.Program {
	c := &message.Program{
		ProgramType: "vm-function", Code: message.Code{Ref: code, Encoding: message.EncodingZip}, Runtime: message.Runtime{Ref: code},
	}
	c.BaseContent = base(owner, t)
	c.Resources = message.Resources{VCPUs: 1, MemoryMiB: 128, Seconds: 1}
	c.AllowAmend = true
	if replaces != "" {
		c.Replaces = (*string)(&replaces)
	}
	return c
}
