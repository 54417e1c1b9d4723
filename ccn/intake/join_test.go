package intake

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Whoever sends a copy of what is on its way gets the outcome, also when the one whose copy that is gives up.
func TestAnotherSenderThatGivesUpEndsNobodysWait(t *testing.T) {
	verifying, goOn := make(chan struct{}), make(chan struct{})
	r := start(t, onSQLite(t.TempDir()), func(c *Config) {
		c.Verify = func(m *message.Message) error {
			if m.Signature == "good and slow" {
				verifying <- struct{}{}
				<-goOn
			}
			return verify(m)
		}
	})
	// Nothing else is verified meanwhile.
	for n := range cap(r.cores) {
		_, raw := envelope(message.TypePost, fields{"address": "0xA", "time": n, "type": "note"}, "good and slow")
		go func() { _, _ = r.Submit(t.Context(), raw, OriginP2P) }()
		<-verifying
	}
	_, raw := post(1, nil)
	m, content, err := message.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	leaving, leave := context.WithCancel(t.Context())
	answers := make(chan error, 2)
	for n, ctx := range []context.Context{leaving, t.Context()} {
		before := r.Stats().Duplicates
		go func() {
			out, err := r.SubmitParsed(ctx, m, content, raw, OriginAPI, true)
			if err == nil && out.Status != message.StatusProcessed {
				t.Errorf("the message is %s: %v", out.Status, out.Err)
			}
			answers <- err
		}()
		for r.coming.Load() != int64(cap(r.cores))+1 || n == 1 && r.Stats().Duplicates == before {
			runtime.Gosched() // until it is on its way
		}
	}
	leave()
	if err := <-answers; !errors.Is(err, context.Canceled) {
		t.Errorf("who left was told %v", err)
	}
	close(goOn)
	if err := <-answers; err != nil {
		t.Errorf("who stayed was told %v", err)
	}
}

// A panic is the error of one message: who sent it and who sends it again are told, and nobody waits for it.
func TestAPanicLeavesNobodyWaiting(t *testing.T) {
	burst := make(chan struct{})
	r := start(t, onSQLite(t.TempDir()), func(c *Config) {
		c.Verify = func(m *message.Message) error {
			select {
			case <-burst:
				return verify(m)
			default:
			}
			<-burst
			panic("burst")
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, raw := post(1, nil)
	answers := make(chan error, 2)
	for range 2 {
		go func() {
			defer func() {
				if p := recover(); p != nil { // as a server of HTTP would
					t.Errorf("panic: %v", p)
					answers <- nil
				}
			}()
			_, err := r.Submit(ctx, raw, OriginAPI)
			answers <- err
		}()
	}
	for r.Stats().Duplicates == 0 {
		runtime.Gosched() // until one waits for the other
	}
	close(burst)
	for range 2 {
		if err := <-answers; err == nil || ctx.Err() != nil {
			t.Errorf("told %v", err)
		}
	}
	if out, err := r.Submit(ctx, raw, OriginAPI); err != nil || out.Status != message.StatusProcessed {
		t.Errorf("sent again it is %s, %v", out.Status, err)
	}
	if n := r.coming.Load(); n != 0 {
		t.Errorf("%d messages are waited for that do not come", n)
	}
}
