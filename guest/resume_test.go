package guest

import "testing"

func TestTooLittleEntropyIsRefused(t *testing.T) {
	if err := reseed(make([]byte, minEntropy-1)); err == nil {
		t.Error("a copy would draw what the others draw")
	}
}
