package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/aleph-im/aleph-go/internal/vectors"
)

// TestCanonicalVectors compares what add_json stores with what it stores on the reference node.
func TestCanonicalVectors(t *testing.T) {
	var construction struct {
		Serialisation []struct {
			Case   string
			Input  string  `json:"input_json"`
			Stored *string `json:"ccn_add_json"`
		}
	}
	vectors.Load(t, "construction.json", &construction)
	if len(construction.Serialisation) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range construction.Serialisation {
		t.Run(v.Case, func(t *testing.T) {
			got, err := canonicalJSON([]byte(v.Input))
			if v.Stored == nil {
				if err == nil {
					t.Errorf("stored %s, want a refusal", got)
				}
				return
			}
			if err != nil || string(got) != *v.Stored {
				t.Errorf("%s, %v, want %s", got, err, *v.Stored)
			}
		})
	}
	var hashes struct {
		Values []struct {
			Value              json.RawMessage
			Serialised, SHA256 string
		} `json:"add_json"`
	}
	vectors.Load(t, "hashes.json", &hashes)
	if len(hashes.Values) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range hashes.Values {
		got, err := canonicalJSON(v.Value)
		if sum := sha256.Sum256(got); err != nil || string(got) != v.Serialised || hex.EncodeToString(sum[:]) != v.SHA256 {
			t.Errorf("%s, %v, want %s", got, err, v.Serialised)
		}
	}
}
