package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/tap"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/schema"
)

// fitting compares values with schemas that SDKs have types of. They are closed, so that a member that is new shows.
func fitting(t *testing.T) (fits func(name string, raw []byte)) {
	t.Helper()
	document, err := schema.Document()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("schema.json", tree); err != nil {
		t.Fatal(err)
	}
	return func(name string, raw []byte) {
		t.Helper()
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%s: %v in %s", name, err, raw)
		}
		if err := compiler.MustCompile("schema.json#/$defs/" + name).Validate(value); err != nil {
			t.Errorf("%s: %s does not fit: %v", name, raw, err)
		}
	}
}

func TestAnswersFitTheirSchemas(t *testing.T) {
	fits := fitting(t)
	hash := message.HashBytes([]byte("instance"))
	backups, _, _, _ := newBackups(t, hash)
	all := instance.Info{
		Hash: hash, Running: true, Awaiting: true, Failure: errors.New("no disk"), Ports: []tap.Forward{{GuestPort: 22, HostPort: 24000, TCP: true}},
		Holder: "https://crn.example", Replicated: time.Unix(1, 0),
	}
	all.Times.Started = time.Unix(1, 0)
	for _, info := range []instance.Info{all, {Hash: hash}} {
		s := serverOn(t, nil, func(c *Config) { c.Instances, c.Backups = &talking{info: info}, backups })
		var list map[message.Hash]json.RawMessage
		if w := s.do("GET", "/v2/about/executions/list", ""); json.Unmarshal(w.Body.Bytes(), &list) != nil || len(list) != 1 {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		fits("Execution", list[hash])

		b, err := backups.Latest(hash)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		s.answerBackup(w, b, nil)
		fits("Backup", w.Body.Bytes())
	}
	line, err := json.Marshal(pastLine(hash, wire.LogLine{Stream: "stderr", Text: "oh"}))
	if err != nil {
		t.Fatal(err)
	}
	fits("LogLine", line)
}
