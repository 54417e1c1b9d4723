package redirect_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/internal/redirect"
)

func TestRedirectionsStayOnTheirHost(t *testing.T) {
	var asked []string
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Host+r.URL.Path)
		switch r.URL.Path {
		case "/near":
			http.Redirect(w, r, server.URL+"/here", http.StatusFound)
		case "/far":
			http.Redirect(w, r, strings.Replace(server.URL, "127.0.0.1", "localhost", 1)+"/inner", http.StatusFound)
		case "/round":
			http.Redirect(w, r, server.URL+"/round", http.StatusFound)
		}
	}))
	defer server.Close()
	client := &http.Client{CheckRedirect: redirect.SameHost}
	for path, want := range map[string]int{"/near": http.StatusOK, "/far": http.StatusFound, "/round": http.StatusFound} {
		asked = nil
		answer, err := client.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want || len(asked) > 4 {
			t.Errorf("%s: %s, after %q", path, answer.Status, asked)
		}
		for _, a := range asked {
			if strings.HasSuffix(a, "/inner") {
				t.Errorf("%s led to another host", path)
			}
		}
	}
}
