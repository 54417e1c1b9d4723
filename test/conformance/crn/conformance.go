// Package crn holds this project's compute node to spec/crn.md from the outside: a node of crn.New with a core node that says what
// the check needs, real machines where it is about a machine, and a real chain where it is about a stream of payment.
//
// There is a row for each behaviour of the specification's list (§10). A row that cannot be seen from outside names the test that
// holds it; one without either is open and says why. Run makes all checks and prints the table.
package crn

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// row is one behaviour of §10. It has checks, or the test that holds it instead, or the reason why it has neither.
type row struct {
	number    int
	about     string
	checks    []check
	elsewhere place
	open      string
}

// place is a test, and the folder of its package.
type place struct{ folder, test string }

// check is one statement about a node.
type check struct {
	name string
	run  func(*rig)
}

// rows is the whole list. A file holds the rows of one subject; those of instances are in instances.go.
func rows() []row {
	list := slices.Concat(allocationRows, ownerRows, outputRows, aboutRows, identityRows, paymentRows, lifeRows, instanceRows, hostRows, guestRows, confidentialRows, cardRows, backupRows, fetchRows)
	slices.SortFunc(list, func(a, b row) int { return a.number - b.number })
	return list
}

// sections are checks of what §10 has no row for.
func sections() []row {
	return slices.Concat(statusSections, nameSections, confidentialSections, hostSections)
}

// Tally counts rows by what became of them.
type Tally struct{ Passed, Failed, Elsewhere, Open int }

// Run makes every check, one after the other, and prints the table.
func Run(t *testing.T) Tally {
	r := newRig(t)
	var list, others Tally
	var table strings.Builder
	for _, row := range rows() {
		fmt.Fprintf(&table, "%s\n", list.add(r, fmt.Sprintf("row %02d %s", row.number, row.about), row))
	}
	for _, row := range sections() {
		fmt.Fprintf(&table, "%s\n", others.add(r, row.about, row))
	}
	fmt.Printf("%sconformance of the compute node: of the %d rows %d passed, %d failed, %d are held elsewhere, %d are open; of %d other sections %d passed\n",
		table.String(), list.Passed+list.Failed+list.Elsewhere+list.Open, list.Passed, list.Failed, list.Elsewhere, list.Open, others.Passed+others.Failed, others.Passed)
	return list
}

// add makes the checks of a row, counts it, and returns its line of the table.
func (tally *Tally) add(r *rig, name string, row row) string {
	passed := 0
	for _, c := range row.checks {
		r.Run(name+"/"+c.name, func(t *testing.T) {
			c.run(r.in(t))
			if !t.Failed() {
				passed++
			}
		})
	}
	verdict := fmt.Sprintf("%d of %d checks passed", passed, len(row.checks))
	switch {
	case row.elsewhere != (place{}):
		tally.Elsewhere++
		verdict = fmt.Sprintf("held by %s in %s", row.elsewhere.test, row.elsewhere.folder)
	case len(row.checks) == 0:
		tally.Open++
		verdict = "open: " + row.open
	case passed == len(row.checks):
		tally.Passed++
	default: // or left out on the command line
		tally.Failed++
	}
	return fmt.Sprintf("%-72s %s", name, verdict)
}
