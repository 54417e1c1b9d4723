package bech32

import "testing"

func TestEncode(t *testing.T) { // the first is from BIP-173
	for want, in := range map[string]struct {
		hrp  string
		data []byte
	}{
		"a12uel5l": {"a", nil},
		"cosmos1ygx9unaum3td775zznq7shjmgrhlxfs0dd9a8f": {"cosmos", []byte("\x22\x0c\x5e\x4f\xbc\xdc\x56\xdf\x7a\x82\x14\xc1\xe8\x5e\x5b\x40\xef\xf3\x26\x0f")},
	} {
		if got := Encode(in.hrp, in.data); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
