package corenode

import (
	"net/http"
	"testing"
	"time"
)

func TestPausesAreReadInAllForms(t *testing.T) {
	for _, test := range []struct {
		in, after string
		want      time.Duration
	}{
		{"250ms", "", 250 * time.Millisecond},
		{"2s", "60", 2 * time.Second},
		{"1.5", "60", 1500 * time.Millisecond},
		{"0", "60", 0},
		{"", "3", 3 * time.Second},
		{"soon", "3", 3 * time.Second},
		{"-1s", "3", 3 * time.Second},
		{"", "Wed, 21 Oct 2015 07:28:00 GMT", usualPause},
		{"", "", usualPause},
		{"10h", "", maxPause},
		{"", "1e300", usualPause},
	} {
		h := http.Header{}
		h.Set("X-Retry-In", test.in)
		h.Set("Retry-After", test.after)
		if got := pauseOf(h); got != test.want {
			t.Errorf("x-retry-in %q, Retry-After %q: %v, want %v", test.in, test.after, got, test.want)
		}
	}
}
