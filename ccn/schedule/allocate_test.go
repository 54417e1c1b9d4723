package schedule

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
)

type nobody struct{}

func (nobody) Address() string                              { return "0x0" }
func (nobody) Sign(context.Context, []byte) (string, error) { return "0x00", nil }

func TestAnAllocationIsSentAgainUnlessAllThatFailsIsRefused(t *testing.T) {
	for _, test := range []struct {
		name, answer string
		status       int
		again        bool
	}{
		{"all run", `{"success":true,"failing":[]}`, 200, false},
		{"one failed", `{"failing":["a"],"errors":{"a":"the image is not there yet"}}`, 207, true},
		{"one is refused", `{"failing":["a"],"refused":["a"],"errors":{"a":"it is no disk"}}`, 503, false},
		{"one is refused, another failed", `{"failing":["a","b"],"refused":["a"]}`, 207, true},
		{"the order is not taken", `{"error":"who are you"}`, 401, true},
		{"nonsense", `refused`, 503, true},
	} {
		node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.status)
			_, _ = w.Write([]byte(test.answer))
		}))
		_, err := allocation{}.post(t.Context(), node.Client(), nobody{}, node.URL)
		node.Close()
		if (err != nil) != test.again {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
