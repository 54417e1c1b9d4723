package state

import (
	"slices"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

func TestVersionsOfAFile(t *testing.T) {
	w := newWorld(t, params.Devnet())
	refusal := w.refuses(message.ErrFileUnavailable, item("s1", file(alice, 1, "v1", "")))
	if !slices.Equal(refusal.WaitsFor, []message.WaitKey{message.WaitFile(hash("v1"))}) {
		t.Errorf("waits for %v", refusal.WaitsFor)
	}
	w.have(10, "v1", "v2", "v3")
	tag := string(hash("s1"))
	w.refuses(message.ErrStoreRefNotFound, item("s2", file(alice, 2, "v2", tag)))
	w.must(item("s1", file(alice, 1, "v1", "")), item("s3", file(alice, 3, "v3", tag)), item("s2", file(alice, 2, "v2", tag)))
	if got := w.tagged(tag); got != hash("v3") {
		t.Errorf("tag names %s", got)
	}
	w.refuses(message.ErrStoreUpdateUpdate, item("s4", file(alice, 4, "v2", string(hash("s3")))))
	w.refuses(message.ErrPermissionDenied, item("s5", file(bob, 5, "v2", tag)))
	bad := file(alice, 6, "v1", "")
	bad.FileType = message.ItemIPFS
	w.refuses(message.ErrInvalidFormat, item("s6", bad))
	w.must(item("f", forget(alice, 7, "s3")))
	if got := w.tagged(tag); got != hash("v2") {
		t.Errorf("tag names %s after the newest version was forgotten", got)
	}
}

func TestNamedVersionsOutliveTheNewest(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.have(10, "v1", "v2")
	w.must(item("s1", file(alice, 1, "v1", "site")), item("s2", file(alice, 2, "v2", "site")), item("f", forget(alice, 3, "s2")))
	if got := w.tagged(alice + "/site"); got != hash("v1") {
		t.Errorf("tag names %q", got)
	}
}

func TestForgottenFileIsKeptForTheGracePeriodOnly(t *testing.T) {
	w := newWorld(t, params.Devnet())
	w.have(10, "v")
	w.must(item("s1", file(alice, 1, "v", "")), item("s2", file(bob, 2, "v", "")), item("f1", forget(alice, 3, "s1")))
	if text := w.dump(); !strings.Contains(text, string(hash("s2"))+"\t"+store.PinMessage) {
		t.Errorf("the other message lost its pin:\n%s", text)
	}
	w.must(item("f2", forget(bob, 4, "s2")))
	if text := w.dump(); strings.Contains(text, "\t"+store.PinMessage) || !w.kept("v") {
		t.Errorf("want a grace period and no other pin:\n%s", text)
	}
	err := w.db.Read(t.Context(), func(r *store.Reader) error {
		f, err := r.Forgotten(hash("s2"))
		if err != nil || f == nil || f.PaymentType != "hold" || f.Size == nil || *f.Size != 10 || f.Owner != bob || f.ForgottenAt.Seconds() != 4 {
			t.Errorf("got %+v, %v", f, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestContentThatTravelsAsAFileIsPinnedUntilForgotten(t *testing.T) {
	w := newWorld(t, params.Devnet())
	it := item("p", post(alice, 1, `{}`))
	it.Raw, it.Message.ItemContent, it.Message.ItemType = []byte(it.Message.ItemContent), "", message.ItemStorage
	w.must(it)
	if text := w.dump(); !strings.Contains(text, store.PinContent) {
		t.Errorf("no pin:\n%s", text)
	}
	w.must(item("f", forget(alice, 2, "p")))
	if text := w.dump(); strings.Contains(text, store.PinContent) || !w.kept("p") {
		t.Errorf("want a grace period and no other pin:\n%s", text)
	}
}
