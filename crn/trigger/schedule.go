package trigger

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ScheduleVariable is the variable of a program's message that names its schedule: one or more entries in the form of cron,
// separated by semicolons. The message has no other place for it that every tool can fill (docs/decisions/0022).
const ScheduleVariable = "ALEPH_CRON"

// maxEntries bounds the entries of a schedule.
const maxEntries = 16

// schedule says in which minutes, in UTC, something is due.
type schedule []entry

// entry is one line of a schedule: five fields, as sets of bits. A day is due by its date or by its weekday when both are
// restricted, as cron has it.
type entry struct {
	minute, hour, day, month, weekday uint64
	anyDay, anyWeekday                bool
}

// fields of an entry in their order.
var fields = [5]struct {
	name     string
	min, max int
}{{"minute", 0, 59}, {"hour", 0, 23}, {"day of month", 1, 31}, {"month", 1, 12}, {"day of week", 0, 7}}

// parseSchedule reads entries such as "*/5 * * * *; 30 4 1,15 * 1-5".
func parseSchedule(text string) (schedule, error) {
	var s schedule
	for line := range strings.SplitSeq(text, ";") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if len(s) == maxEntries {
			return nil, fmt.Errorf("schedule: more than %d entries", maxEntries)
		}
		words := strings.Fields(line)
		if len(words) != len(fields) {
			return nil, fmt.Errorf("schedule %q: %d fields, want minute, hour, day of month, month and day of week", line, len(words))
		}
		var sets [5]uint64
		for i, word := range words {
			set, err := parseField(word, fields[i].min, fields[i].max)
			if err != nil {
				return nil, fmt.Errorf("schedule %q: %s: %w", line, fields[i].name, err)
			}
			sets[i] = set
		}
		if sets[4]&(1<<7) != 0 { // Sunday is 0 and 7
			sets[4] |= 1
		}
		s = append(s, entry{sets[0], sets[1], sets[2], sets[3], sets[4], strings.HasPrefix(words[2], "*"), strings.HasPrefix(words[4], "*")})
	}
	return s, nil
}

// parseField reads a list of "*", "n" or "n-m", each but the second with an optional "/step".
func parseField(word string, lowest, highest int) (set uint64, err error) {
	for part := range strings.SplitSeq(word, ",") {
		span, stepText, stepped := strings.Cut(part, "/")
		from, to, step := lowest, highest, 1
		if stepped {
			if step, err = strconv.Atoi(stepText); err != nil || step < 1 {
				return 0, fmt.Errorf("step %q is not a positive number", stepText)
			}
			step = min(step, highest+1)
		}
		if span != "*" {
			first, last, isRange := strings.Cut(span, "-")
			if from, err = parseBound(first, lowest, highest); err != nil {
				return 0, err
			}
			switch {
			case isRange:
				if to, err = parseBound(last, lowest, highest); err != nil {
					return 0, err
				}
			case stepped:
				return 0, fmt.Errorf("%q has a step and no range", part)
			default:
				to = from
			}
			if to < from {
				return 0, fmt.Errorf("range %q ends before it begins", span)
			}
		}
		for n := from; n <= to; n += step {
			set |= 1 << n
		}
	}
	return set, nil
}

func parseBound(text string, lowest, highest int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < lowest || n > highest {
		return 0, fmt.Errorf("%q is not a number from %d to %d", text, lowest, highest)
	}
	return n, nil
}

// due reports whether the schedule names the minute of t.
func (s schedule) due(t time.Time) bool {
	t = t.UTC()
	for _, e := range s {
		if e.due(t) {
			return true
		}
	}
	return false
}

func (e entry) due(t time.Time) bool {
	has := func(set uint64, n int) bool { return set&(1<<n) != 0 }
	if !has(e.minute, t.Minute()) || !has(e.hour, t.Hour()) || !has(e.month, int(t.Month())) {
		return false
	}
	day, weekday := has(e.day, t.Day()), has(e.weekday, int(t.Weekday()))
	if e.anyDay || e.anyWeekday {
		return day && weekday
	}
	return day || weekday
}

// cronBody is what a program is told of a minute that is due.
func cronBody(minute time.Time, text string) []byte {
	raw, _ := json.Marshal(map[string]string{"time": minute.UTC().Format(time.RFC3339), "schedule": text}) // texts always encode
	return raw
}

// keepTime raises the events of each minute as it begins. What was due while the node was down, or the host suspended, is not
// made up for; a clock that is set back gives no minute twice.
func (t *Trigger) keepTime(ctx context.Context) {
	var last time.Time
	for {
		now := time.Now()
		timer := time.NewTimer(now.Truncate(time.Minute).Add(time.Minute).Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		minute := time.Now().Truncate(time.Minute)
		if !minute.After(last) {
			continue
		}
		last = minute
		t.tick(minute)
		t.wake() // programs that could not be looked up before
		if err := t.save(); err != nil {
			t.cfg.Log.Error("registrations of programs not saved", "error", err)
		}
	}
}
