package corenode

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// dripping serves files of zeros, so many bytes at a time with a pause after each.
type dripping struct {
	size, part int
	pause      time.Duration
}

func (d dripping) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, ContentLength: int64(d.size), Body: &drip{r.Context(), d}, Request: r}, nil
}

type drip struct {
	ctx context.Context
	dripping
}

func (d *drip) Read(p []byte) (int, error) {
	if d.size == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(d.pause):
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
	n := min(len(p), d.part, d.size)
	clear(p[:n])
	d.size -= n
	return n, nil
}

func (d *drip) Close() error { return nil }

func TestAFileMustComeAtARate(t *testing.T) {
	for name, test := range map[string]struct {
		dripping
		comes bool
	}{
		"a byte a minute":         {dripping{1000, 1, time.Minute}, false},
		"a slow line":             {dripping{10 << 20, 32 << 10, 50 * time.Second}, true},
		"a small file in a while": {dripping{10, 1, 10 * time.Second}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, err := New(Config{API: "http://core", Dir: t.TempDir(), HTTP: test.dripping})
				if err != nil {
					t.Fatal(err)
				}
				_, err = c.fetch(t.Context(), message.HashBytes(make([]byte, test.size)), 1<<30)
				if test.comes && err != nil || !test.comes && !errors.Is(err, ErrUnavailable) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}
