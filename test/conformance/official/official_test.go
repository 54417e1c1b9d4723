package official

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestMatrixJudgesEveryStep(t *testing.T) {
	calls := []Call{{1, "ts", false, "one"}, {2, "py", false, "two"}, {3, "cli", false, "three"}, {4, "rust", true, "four"}}
	exceptions := []Exception{
		{2, "py", "host", "the host is written in its source"}, {4, "rust", "", "nobody can build it"},
	}
	const good = "noise\n1 ts ok a step\n2 py ok first\n2 py FAIL host: no route: to host\n3 cli ok list\n"
	for _, test := range []struct {
		name, log string
		problem   string // "" when all is well
	}{
		{"passed and explained", good, ""},
		{"an unexplained failure", strings.Replace(good, "1 ts ok a step", "1 ts FAIL a step: wrong bytes", 1), "call 1 ts, a step: wrong bytes"},
		{"a call that was not run", strings.Replace(good, "3 cli ok list\n", "", 1), "call 3 cli was not run"},
		{"an exception that holds no more", strings.Replace(good, "FAIL host: no route: to host", "ok host", 1), "passes now"},
		{"an exception that was not tried", strings.Replace(good, "2 py FAIL host: no route: to host\n", "", 1), "excepted, but was not run"},
		{"a call that was excepted, and run", good + "4 rust ok a step\n", "is run now"},
		{"a call of another client", good + "1 py ok a step\n", "not in the table"},
	} {
		t.Run(test.name, func(t *testing.T) {
			results, err := parse([]byte(test.log))
			if err != nil {
				t.Fatal(err)
			}
			report := Judge(calls, exceptions, results)
			if test.problem == "" {
				if len(report.Problems) > 0 {
					t.Errorf("problems: %v", report.Problems)
				}
				return
			}
			if len(report.Problems) != 1 || !strings.Contains(report.Problems[0], test.problem) {
				t.Errorf("problems %q, want one with %q", report.Problems, test.problem)
			}
		})
	}
}

func TestMatrixIsPrinted(t *testing.T) {
	report := Judge([]Call{{1, "ts", false, "one"}, {2, "py", false, "two"}, {3, "rust", false, "three"}}, []Exception{{2, "py", "host", "because"}, {3, "rust", "", "too large"}}, []Result{
		{Number: 1, Client: "ts", Step: "a", OK: true}, {Number: 2, Client: "py", Step: "b", OK: true}, {Number: 2, Client: "py", Step: "host"},
	})
	var out strings.Builder
	if err := report.Write(&out); err != nil {
		t.Fatal(err)
	}
	want := `CALL  TS        PY             CLI  RUST     RAW  WHAT
1     pass 1/1  -              -    -        -    one
2     -         explained 1/2  -    -        -    two
3     -         -              -    not run  -    three

1 calls pass, 1 pass but for what is explained, 1 are not run for a reason, 0 fail
explained: call 2 py, host: because
explained: call 3 rust, not run: too large
`
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
	}
}

func TestTableIsInOrderAndExceptionsName(t *testing.T) {
	calls, err := Calls()
	if err != nil {
		t.Fatal(err)
	}
	exceptions, err := Exceptions()
	if err != nil {
		t.Fatal(err)
	}
	client := make(map[int]string)
	last := 0
	for _, c := range calls {
		if c.Number <= last || c.Text == "" {
			t.Errorf("call %d follows call %d, text %q", c.Number, last, c.Text)
		}
		last = c.Number
		client[c.Number] = c.Client
	}
	for _, e := range exceptions {
		if client[e.Number] != e.Client || len(e.Reason) < 20 {
			t.Errorf("exception %+v names no call of the table or gives no reason", e)
		}
	}
}

// TestReadmeTellsWhatPasses compares the table in README.md with calls and exceptions: the end-to-end tests fail when a call without
// an exception does.
func TestReadmeTellsWhatPasses(t *testing.T) {
	t.Setenv("ALEPH_RUST_CLI", "")
	calls, err := Calls()
	if err != nil {
		t.Fatal(err)
	}
	exceptions, err := Exceptions()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("| Call | Client | What | Result |\n|---|---|---|---|\n")
	for _, c := range calls {
		result := "passes"
		for _, e := range exceptions {
			switch {
			case e.Number != c.Number:
			case e.Step == "":
				result = "not run: " + e.Reason
			case result == "passes":
				result = "passes but for " + e.Step + ": " + e.Reason
			default:
				result += "; and " + e.Step + ": " + e.Reason
			}
		}
		fmt.Fprintf(&want, "| %d | %s | %s | %s |\n", c.Number, c.Client, c.Text, result)
	}
	if !strings.Contains(string(readme), want.String()) {
		t.Errorf("README.md has another table than\n%s", want.String())
	}
}
