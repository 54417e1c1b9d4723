package api

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// FuzzPlainSubmissionsReadLikeAnyOther compares the short way through a body with the one that knows every rule.
func FuzzPlainSubmissionsReadLikeAnyOther(f *testing.F) {
	for _, body := range []string{
		`{"sync":true,"message":{"a":1}}`, `{"sync": false, "message": {"a": "}"}}`, "\r\n{ \t\"sync\" : true , \"message\" : { } } \n",
		`{"message":{"a":[1,{"b":null}]}}`, `{"message":{},"sync":true}`, `{"sync":true,"message":{}},"message":{"b":2}}`,
		`{"sync"true,"message":{}}`, `{"sync":truefalse,"message":{}}`, `{"sync":,"message":{}}`, `{"sync":null,"message":{}}`, `{"sync":1,"message":{}}`,
		`{"sync":true "message":{}}`, `{"sync":true,"message":{}`, `{"sync":true,"message":[]}`, `{"sync":true,"message":{}}}`, `{"sync":true,"message":{}}x`,
		`{"sync":true,"sync":false,"message":{}}`, `{"message":{},"message":{"b":2}}`, `{"sync":true,"message":{}, "other":{}}`, `{}`, ``, `{"message"}`,
		"\u00a0{\"message\":{}}", "{\"message\":{}}\u0085", "{\"message\":{\"a\":\"\xff\"}}",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		envelope, sync, ok := plainSubmission(body)
		if !ok || !json.Valid(envelope) || !utf8.Valid(envelope) { // no message, so that the other way is taken
			return
		}
		s, err := readSubmission(body)
		if err != nil {
			t.Fatalf("%q was read as %q, and is refused: %v", body, envelope, err)
		}
		if !bytes.Equal(bytes.TrimSpace(envelope), s.Message) || sync != (string(s.Sync) == "true") {
			t.Errorf("%q was read as %q, %v, and is %q, %q", body, envelope, sync, s.Message, s.Sync)
		}
	})
}

func TestPlainSubmissionsAreTakenTheShortWay(t *testing.T) {
	for body, want := range map[string]bool{
		`{"sync":true,"message":{"a":1}}`: true, `{"sync": false, "message": {"a": 1}}`: true, `{"message":{}}`: true,
		`{"sync":null,"message":{}}`: false, `{"message":[]}`: false, `{"sync"true,"message":{}}`: false, `{"m\u0065ssage":{}}`: false,
	} {
		if _, _, ok := plainSubmission([]byte(body)); ok != want {
			t.Errorf("%s: %v", body, ok)
		}
	}
}
