package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/crn/replica"
	"github.com/aleph-im/aleph-go/message"
)

// replicators is a fake of instances with replicas on a real store.
type replicators struct {
	Instances
	store *replica.Store
	last  any   // what was ordered
	err   error // of orders
}

func (f *replicators) Replicas() *replica.Store { return f.store }

func (f *replicators) Replicate(_ message.Hash, r instance.Replication, _ time.Time) error {
	f.last = r
	return f.err
}

func (f *replicators) Hold(_ context.Context, hash message.Hash, token string, lease time.Duration) error {
	f.last = fmt.Sprint(token, lease)
	return errors.Join(f.err, f.store.Hold(hash, replica.Terms{Token: token, Lease: lease, Limit: 1 << 20}))
}

func (f *replicators) Drop(hash message.Hash) error {
	f.last = "drop"
	return errors.Join(f.err, f.store.Drop(hash))
}

func (f *replicators) Revive(_ context.Context, _ message.Hash, secret []byte) error {
	f.last = string(secret)
	return f.err
}

// replicatorsOn makes a server of such instances in a network with other nodes.
func replicatorsOn(t *testing.T, f *replicators) *Server {
	t.Helper()
	var err error
	if f.store, err = replica.Open(t.TempDir(), 1<<30); err != nil {
		t.Fatal(err)
	}
	s := moversOn(t, &movers{})
	s.cfg.Instances = f
	return s
}

func TestOrdersAboutReplicasAreTheSchedulers(t *testing.T) {
	hash := string(message.HashBytes([]byte("instance")))
	f := &replicators{}
	s := replicatorsOn(t, f)
	secret := base64.StdEncoding.EncodeToString([]byte("secret"))
	replicate := func(holder string) string {
		return fmt.Sprintf(`{"holder":%q,"token":"t","secret":%q,"every":60,"lease":30}`, holder, secret)
	}
	for _, order := range []struct {
		path, body string
		status     int
		want       any // what was ordered
	}{
		{"machine/" + hash + "/replica", replicate("https://other.test"), 200, instance.Replication{Holder: "https://other.test", Token: "t", Secret: []byte("secret"), Every: time.Minute, Lease: 30 * time.Second}},
		{"machine/" + hash + "/replica", "{}", 200, instance.Replication{}},
		{"machine/" + hash + "/replica", replicate("http://169.254.169.254"), 404, nil},
		{"machine/" + hash + "/replica", replicate("https://other.test:22"), 404, nil},
		{"machine/" + hash + "/replica", strings.Replace(replicate("https://other.test"), "30", "0", 1), 400, nil},
		{"machine/" + hash + "/replica", "x", 400, nil},
		{"machine/x/replica", "{}", 400, nil},
		{"replica/" + hash + "/hold", `{"token":"t","lease":30}`, 200, "t30s"},
		{"replica/" + hash + "/hold", `{"lease":30}`, 400, nil},
		{"replica/" + hash + "/hold", `{"token":"t","lease":-1}`, 400, nil},
		{"replica/" + hash + "/revive", `{"secret":"` + secret + `"}`, 200, "secret"},
		{"replica/" + hash + "/drop", `{}`, 200, "drop"},
	} {
		for _, header := range [][]string{nil, {"X-Auth-Signature", "wrong"}, {"Authorization", "Bearer t"}} {
			f.last = nil
			if w := s.do("POST", "/control/"+order.path, order.body, header...); w.Code != 401 || f.last != nil {
				t.Errorf("%s with %v: %d %s", order.path, header, w.Code, w.Body)
			}
		}
		w := s.do("POST", "/control/"+order.path, order.body, "X-Auth-Signature", tokenOfTests)
		if w.Code != order.status || fmt.Sprintf("%+v", f.last) != fmt.Sprintf("%+v", order.want) {
			t.Errorf("%s %s: %d %s, ordered %+v", order.path, order.body, w.Code, w.Body, f.last)
		}
	}
	for err, want := range map[error]int{
		instance.ErrUnknown: 404, replica.ErrUnknown: 404, replica.ErrTaken: 410, replica.ErrEarly: 425, replica.ErrNoRoom: 507, instance.ErrMoving: 409,
		errors.New("disk"): 500,
	} {
		f.err = fmt.Errorf("instance: %w", err)
		if w := s.do("POST", "/control/replica/"+hash+"/revive", "{}", "X-Auth-Signature", tokenOfTests); w.Code != want || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%v: %d %s", err, w.Code, w.Body)
		}
	}
}

func TestAReplicaIsSentByWhoHasItsToken(t *testing.T) {
	hash := string(message.HashBytes([]byte("instance")))
	s := replicatorsOn(t, &replicators{})
	if w := s.do("POST", "/control/replica/"+hash+"/hold", `{"token":"secret","lease":30}`, "X-Auth-Signature", tokenOfTests); w.Code != 200 {
		t.Fatal(w.Body)
	}
	key, err := replica.NewKey([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	id, sealed := key.Seal([]byte("precious"))
	generation, err := json.Marshal(replica.Generation{Number: 1, Line: "line", Chunks: []replica.ID{id}, Manifest: []byte("m")})
	if err != nil {
		t.Fatal(err)
	}
	path := "/control/replica/" + hash
	for _, step := range []struct {
		what, method, path, body string
		status                   int
		want                     string // part of the body
	}{
		{"a generation before its chunks", "POST", path + "/generation", string(generation), 422, "error"},
		{"a chunk", "PUT", path + "/chunk/" + id.String(), string(sealed), 200, "{}"},
		{"a chunk with other bytes", "PUT", path + "/chunk/" + id.String(), "x", 422, "error"},
		{"a chunk with no name", "PUT", path + "/chunk/..%2f..%2fterms", string(sealed), 422, "error"},
		{"no generation", "POST", path + "/generation", "x", 422, "error"},
		{"a generation", "POST", path + "/generation", string(generation), 200, "{}"},
		{"the same again", "POST", path + "/generation", string(generation), 422, "error"},
		{"how far it is", "GET", path + "?line=line", "", 200, `{"number":1,"chunks":["` + id.String() + `"]}`},
		{"how far it is, for other disks", "GET", path + "?line=other", "", 409, "error"},
		{"may it go on", "POST", path + "/renew", "", 200, "{}"},
		{"an erased instance", "POST", path + "/reset", "", 200, "{}"},
		{"how far it is then", "GET", path + "?line=other", "", 200, `{"number":0,"chunks":[]}`},
		{"another instance", "POST", "/control/replica/" + string(message.HashBytes(nil)) + "/renew", "", 404, "error"},
	} {
		for _, header := range [][]string{nil, {"Authorization", "Bearer wrong"}, {"Authorization", "Bearer "}, {"X-Auth-Signature", tokenOfTests}} {
			if w := s.do(step.method, step.path, step.body, header...); w.Code != 401 && w.Code != 404 && w.Code != 422 {
				t.Errorf("%s with %v: %d %s", step.what, header, w.Code, w.Body)
			}
		}
		w := s.do(step.method, step.path, step.body, "Authorization", "Bearer secret")
		if w.Code != step.status || !strings.Contains(w.Body.String(), step.want) {
			t.Errorf("%s: %d %s", step.what, w.Code, w.Body)
		}
	}
}

// unread is a body that nobody may read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body is read")
	return 0, io.EOF
}

func TestNothingIsReadOfWhoHasNoToken(t *testing.T) {
	hash := string(message.HashBytes([]byte("instance")))
	s := replicatorsOn(t, &replicators{})
	for _, path := range []string{"PUT /chunk/" + strings.Repeat("a", 64), "POST /generation"} {
		method, rest, _ := strings.Cut(path, " ")
		r := httptest.NewRequest(method, "/control/replica/"+hash+rest, unread{t})
		r.Header.Set("Authorization", "Bearer wrong")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 404 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestAnInstanceThatMayRunElsewhereIsUnavailable(t *testing.T) {
	if status, text := refusal(fmt.Errorf("instance: %w", instance.ErrFenced)); status != 503 || text == "" {
		t.Errorf("%d %q", status, text)
	}
}
