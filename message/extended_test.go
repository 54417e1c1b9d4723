package message

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

const programForm = `{"address":"0x1","time":1,"allow_amend":false,"environment":{},"resources":{},"type":"vm-function","on":{"http":true},
	"code":{"encoding":%q,"entrypoint":"a","ref":"` + zeros + `"%s},"runtime":{"ref":"` + zeros + `","comment":""}%s}`

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

func TestProgramsMayHaveFormsThatAreOurs(t *testing.T) {
	data := `,"data":{"encoding":"tar","mount":"/data","ref":"` + zeros + `"}`
	for _, test := range []struct {
		encoding, kind, rest string
		ours                 bool
	}{
		{"zip", "", "", false}, {"zip", `,"interface":"binary"`, "", false}, {"plain", `,"interface":"wasm"`, "", true},
		{"tar", "", "", true}, {"tar.gz", `,"interface":"binary"`, "", true}, {"zip", "", data, true},
	} {
		content := fmt.Sprintf(programForm, test.encoding, test.kind, test.rest)
		parsed, err := ParseContent(TypeProgram, []byte(content))
		if err != nil {
			t.Errorf("%+v: %v", test, err)
			continue
		}
		p := parsed.(*Program)
		if p.Extended() != test.ours {
			t.Errorf("%+v: extended is %v", test, p.Extended())
		}
		w := &writer{}
		p.encode(w)
		for _, want := range []string{test.encoding, strings.Trim(test.kind, `,"interfac:`)} {
			if !bytes.Contains(w.buf, []byte(want)) {
				t.Errorf("%+v: %q is not in %s", test, want, w.buf)
			}
		}
	}
}

// What is wrong in a message is told as reference nodes tell it, which know nothing of our forms.
func TestRefusalsNameTheFormsOfTheProtocolAlone(t *testing.T) {
	for _, test := range []struct{ encoding, rest, says string }{
		{"rar", "", "'plain', 'zip' or 'squashfs'"},
		{"zip", `,"interface":"wat"`, "'asgi' or 'binary'"},
	} {
		_, err := ParseContent(TypeProgram, []byte(fmt.Sprintf(programForm, test.encoding, test.rest, "")))
		if err == nil {
			t.Fatalf("%+v was accepted", test)
		}
		refusal := err.(*Error)
		if text := string(refusal.Details()); !strings.Contains(text, test.says) || strings.Contains(text, "wasm") || strings.Contains(text, "tar") {
			t.Errorf("refused with %s", text)
		}
	}
	export := `,"export":{"encoding":"tar","mount":"/out"}`
	if _, err := ParseContent(TypeProgram, []byte(fmt.Sprintf(programForm, "zip", "", export))); err == nil {
		t.Error("an export of tar was accepted")
	}
}
