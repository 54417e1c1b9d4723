package trigger

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSubscriptionsMatchByAttribute(t *testing.T) {
	const msg = `{"sender":"0xA","chain":"ETH","type":"POST","channel":null,"time":1700000000.5,"content":{"address":"0xA","time":1,
		"type":"order","content":{"tags":["a","b"],"big":12345678901234567890,"deep":{"on":true}}}}`
	for subscription, want := range map[string]bool{
		`{}`: true, `{"sender":"0xA"}`: true, `{"sender":"0xa"}`: false, `{"sender":"0xA","type":"STORE"}`: false,
		`{"content":{"type":"order"}}`: true, `{"content":{"type":"order","address":"0xB"}}`: false, `{"content":"order"}`: false,
		`{"sender":{"a":1}}`: false, `{"content":{}}`: true, `{"content":{"content":{"deep":{"on":true}}}}`: true,
		`{"content":{"content":{"deep":{"on":false}}}}`: false, `{"content":{"content":{"tags":["a","b"]}}}`: true,
		`{"content":{"content":{"tags":["a"]}}}`: false, `{"channel":null}`: true, `{"absent":null}`: true, `{"absent":"x"}`: false,
		`{"content":{"time":1.0}}`: true, `{"content":{"time":"1"}}`: false,
		`{"content":{"content":{"big":12345678901234567890}}}`: true, `{"time":1700000000.5}`: true,
	} {
		s, err := parseSubscription([]byte(subscription))
		if err != nil {
			t.Fatal(err)
		}
		var decoded map[string]any
		if err := decodeNumbers([]byte(msg), &decoded); err != nil {
			t.Fatal(err)
		}
		if got := s.holds(decoded); got != want {
			t.Errorf("%s: %v", subscription, got)
		}
	}
}

// A message matches itself, and so does whatever part of its members is asked for.
func FuzzAMessageMatchesItself(f *testing.F) {
	f.Add([]byte(`{"type":"POST","content":{"a":[1,2.50,{"b":null}],"c":{}}}`))
	f.Add([]byte(`{"n":1e400,"x":{"y":-0}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var decoded map[string]any
		s, err := parseSubscription(raw)
		if err != nil || decodeNumbers(raw, &decoded) != nil {
			return
		}
		if !s.holds(decoded) {
			t.Errorf("%s does not match itself", raw)
		}
		for name := range s {
			delete(s, name)
			if !s.holds(decoded) {
				t.Errorf("%s does not match without %q", raw, name)
			}
			break
		}
	})
}

func TestSchedules(t *testing.T) {
	at := func(text string) time.Time {
		when, err := time.Parse("2006-01-02 15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for _, test := range []struct {
		schedule, at string
		want         bool
	}{
		{"* * * * *", "2026-02-03 04:05", true},
		{"5 4 3 2 *", "2026-02-03 04:05", true},
		{"5 4 3 2 *", "2026-02-03 04:06", false},
		{"0-10/5 4 * * *", "2026-02-03 04:05", true},
		{"0-10/4 4 * * *", "2026-02-03 04:05", false},
		{"1,5 * * * 2", "2026-02-03 04:05", true},  // a Tuesday
		{"5 4 1 * 2", "2026-02-03 04:05", true},    // by its weekday
		{"5 4 3 * 1", "2026-02-03 04:05", true},    // by its date
		{"5 4 1 * 1", "2026-02-03 04:05", false},   // by neither
		{"5 4 */2 * 1", "2026-02-03 04:05", false}, // a star with a step restricts, and both must hold
		{"0 0 * * 7", "2026-02-01 00:00", true},    // Sunday by its other number
		{"0 0 29 2 *", "2028-02-29 00:00", true},
		{"1 1 1 1 1; 5 4 * * *", "2026-02-03 04:05", true},
		{"", "2026-02-03 04:05", false},
	} {
		s, err := parseSchedule(test.schedule)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.due(at(test.at)); got != test.want {
			t.Errorf("%q at %s: %v", test.schedule, test.at, got)
		}
	}
	for _, wrong := range []string{"* * * *", "* * * * * *", "60 * * * *", "-1 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *", "5/2 * * * *", "9-3 * * * *", "a * * * *", ", * * * *"} {
		if s, err := parseSchedule(wrong); err == nil {
			t.Errorf("%q is taken as %v", wrong, s)
		}
	}
}

func TestSchedulesNameTheMinutesOfTheirFields(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		when := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "when"), 0).UTC().Truncate(time.Minute)
		minute, hour := rapid.IntRange(0, 59).Draw(t, "minute"), rapid.IntRange(0, 23).Draw(t, "hour")
		s, err := parseSchedule(fmt.Sprintf("%d %d * * *", minute, hour))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := s.due(when), when.Minute() == minute && when.Hour() == hour; got != want {
			t.Errorf("%d:%d at %v: %v", hour, minute, when, got)
		}
	})
}

func FuzzParseSchedule(f *testing.F) {
	f.Add("*/5 * * * *; 30 4 1,15 * 1-5")
	f.Add("0-59/99999999999 * * * *")
	f.Add("1-59/9223372036854775807 * * * *")
	f.Add(";;; ,,, ---")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := parseSchedule(text); err == nil {
			s.due(time.Unix(1_700_000_000, 0))
		}
	})
}
