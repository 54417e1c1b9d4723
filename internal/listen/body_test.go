package api

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// deadlines is a connection that knows until when it waits for bytes.
type deadlines struct {
	http.ResponseWriter
	late time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.late = t
	return nil
}

func TestInterruptHitsItsBodyAlone(t *testing.T) {
	limits := Limits{}.withDefaults()
	opened := func() (*body, *deadlines) {
		d := &deadlines{}
		return &body{ReadCloser: io.NopCloser(strings.NewReader("body")), control: http.NewResponseController(d), limits: &limits, began: time.Now()}, d
	}
	b, d := opened()
	b.interrupt()
	if _, err := b.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(b); err != nil || !d.late.Equal(time.Unix(1, 0)) {
		t.Errorf("what is read after an interrupt is waited for until %v, %v", d.late, err)
	}
	b, d = opened()
	if _, err := io.ReadAll(b); err != nil {
		t.Fatal(err)
	}
	if b.interrupt(); !d.late.IsZero() {
		t.Errorf("what follows the body is waited for until %v", d.late)
	}
}
