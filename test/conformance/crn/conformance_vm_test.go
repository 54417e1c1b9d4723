package crn

import (
	"slices"
	"testing"
)

func TestConformance(t *testing.T) {
	Run(t)
}

func TestEveryRowOfTheListIsThere(t *testing.T) {
	var numbers []int
	for _, row := range rows() {
		if (len(row.checks) == 0) != (row.open != "") {
			t.Errorf("row %d has neither checks nor the reason why not, or both", row.number)
		}
		numbers = append(numbers, row.number)
	}
	var want []int
	for n := range 57 {
		want = append(want, n+1)
	}
	if !slices.Equal(numbers, want) {
		t.Errorf("rows %v", numbers)
	}
}
