package logs

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestEqualErrorsAreBoundedAndCounted(t *testing.T) {
	var out strings.Builder
	h := Bounded(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	start := time.Unix(1_800_000_000, 0)
	say := func(h slog.Handler, at time.Duration, level slog.Level, text string) {
		t.Helper()
		if !h.Enabled(context.Background(), level) {
			return
		}
		if err := h.Handle(context.Background(), slog.NewRecord(start.Add(at), level, text, 0)); err != nil {
			t.Fatal(err)
		}
	}
	lines := func() []string {
		defer out.Reset()
		return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	}

	part := h.WithAttrs([]slog.Attr{slog.String("part", "intake")})
	for i := range 1000 { // handlers that come from one count together
		say([]slog.Handler{h, part}[i%2], time.Duration(i)*time.Millisecond, slog.LevelError, "disk full")
	}
	got := lines()
	if len(got) != most || !strings.Contains(got[most-1], "left out for 10s") || !strings.Contains(got[most-1], "part=intake") {
		t.Errorf("%d lines, the last is %q", len(got), got[len(got)-1])
	}
	if strings.Contains(got[0], "left") {
		t.Errorf("the first is %q", got[0])
	}

	say(h, window/2, slog.LevelWarn, "something else")
	for range 2 * most {
		say(h, window/2, slog.LevelInfo, "progress")
	}
	say(h, window/2, slog.LevelDebug, "detail")
	if got := lines(); len(got) != 1+2*most || !strings.Contains(got[0], "something else") {
		t.Errorf("%d lines: %q", len(got), got)
	}

	for range 2 {
		say(h, window, slog.LevelError, "disk full")
	}
	got = lines()
	if len(got) != 2 || !strings.Contains(got[0], fmt.Sprint("left_out=", 1000-most)) || strings.Contains(got[1], "left_out") {
		t.Errorf("then %q", got)
	}
}

func TestMadeUpMessagesTakeNoMemory(t *testing.T) {
	h := Bounded(slog.DiscardHandler).(*bounded)
	for i := range 10 * maxKeys {
		r := slog.NewRecord(time.Unix(int64(i), 0), slog.LevelError, fmt.Sprint(i), 0)
		if err := h.Handle(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(h.counts.of); n > maxKeys {
		t.Errorf("%d messages are counted", n)
	}
}
