package listen

import (
	"io"
	"net/http"
	"net/http/httptest"
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
	opened := func() (*Body, *deadlines) {
		d := &deadlines{}
		r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(strings.NewReader("body")))
		Pace{Silence: time.Minute, Rate: 8 << 10}.Keep(d, r)
		return r.Body.(*Body), d
	}
	b, d := opened()
	b.Interrupt()
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
	if b.Interrupt(); !d.late.IsZero() {
		t.Errorf("what follows the body is waited for until %v", d.late)
	}
}

// Disks of machines have more bytes than fit a whole number as nanoseconds.
func TestALargeBodyHasAsMuchTimeAsItsBytesNeed(t *testing.T) {
	d := &deadlines{}
	r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(strings.NewReader("body")))
	Pace{Silence: time.Minute, Rate: 8 << 10}.Keep(d, r)
	b := r.Body.(*Body)
	b.n = 12 << 30
	if _, err := b.Read(make([]byte, 1)); err != nil || !d.late.After(b.began) {
		t.Errorf("after 12 GiB the rest is waited for until %v, which is before %v: %v", d.late, b.began, err)
	}
}
