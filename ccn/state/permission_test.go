package state

import (
	"encoding/json"
	"testing"

	"github.com/aleph-im/aleph-go/message"
)

func TestGrantsAreReadAsTheyAreWritten(t *testing.T) {
	post := scope{typ: message.TypePost, chain: message.ChainETH, postType: "note"}
	for _, test := range []struct {
		grant string
		want  bool
	}{
		{`{"address":"0xBob"}`, true},
		{`{"address":"0xBOB"}`, true},
		{`{"address":"0xBob","types":[],"post_types":[],"channels":[],"aggregate_keys":[],"chain":""}`, true},
		{`{"address":"0xBob","chain":null}`, true},
		{`{"address":"0xBob","types":["POST"],"post_types":["note"],"chain":"ETH"}`, true},
		{`{"address":"0xBob","Types":["STORE"]}`, true}, // no member of a grant
		{`{"address":"0xBob","types":["STORE"]}`, false},
		{`{"address":"0xBob","types":["STORE"],"types":["POST"]}`, true}, // the last one counts
		{`{"Address":"0xBob"}`, false},
		{`{"address":"0xBob","types":null}`, false},
		{`{"address":"0xBob","channels":null}`, false},
		{`{"address":"0xBob","types":"POST"}`, false},
		{`{"address":"0xBob","types":{}}`, false},
		{`{"address":"0xBob","chain":["ETH"]}`, false},
		{`{"address":["0xBob"]}`, false},
		{`{"address":null}`, false},
		{`null`, false},
		{`[]`, false},
	} {
		if got := readPublication(place{}, json.RawMessage("["+test.grant+"]")).allows(folded("0xbob"), post); got != test.want {
			t.Errorf("%s lets 0xbob post: %t, want %t", test.grant, got, test.want)
		}
	}
}

func TestEmptyContentIsEmptyInEverySpelling(t *testing.T) {
	for _, text := range []string{``, ` `, `null`, `{}`, `{ }`, "[\n]", `""`, `0`, `0.0`, `-0`, `0e5`, `false`} {
		if !emptyJSON(json.RawMessage(text)) {
			t.Errorf("%q is taken for something", text)
		}
	}
	for _, text := range []string{`{"a":1}`, `[0]`, `" "`, `1`, `0.1`, `true`} {
		if emptyJSON(json.RawMessage(text)) {
			t.Errorf("%q is taken for nothing", text)
		}
	}
}
