package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/message"
)

// reply is what the diagnostic program said.
type reply struct {
	status int
	body   []byte
}

// object reads the answer as a JSON object; nil when it is another status or another thing.
func (r reply) object() (v map[string]any) {
	if r.status != http.StatusOK || json.Unmarshal(r.body, &v) != nil {
		return nil
	}
	return v
}

func hasResult(r reply) bool { return truthy(r.object()["result"]) }

// truthy is what Python, in which the reference checks, takes for true.
func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return false
}

// ask sends a GET to a running program. The error says why there is no answer.
func ask(ctx context.Context, x *execution.Execution, path string) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, x.AnswerWithin())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://program"+path, nil)
	if err != nil {
		return reply{}, err
	}
	response, err := x.Transport().RoundTrip(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	return reply{response.StatusCode, body}, err
}

// diagnostic is one question to the diagnostic program.
type diagnostic struct {
	name     string
	required bool
	modern   bool // not asked of the oldest program
	passes   func(ask func(path string) reply) bool
}

// single passes when the answer at a path does.
func single(path string, passes func(reply) bool) func(func(string) reply) bool {
	return func(ask func(string) reply) bool { return passes(ask(path)) }
}

// diagnostics is what is asked, in this order (spec/crn.md §2.5.1).
var diagnostics = []diagnostic{
	{"index", true, false, single("/", func(r reply) bool { return r.object()["Example"] == "example_fastapi" })},
	{"environ", true, false, single("/environ", func(r reply) bool {
		v := r.object()
		for _, name := range []string{
			"ALEPH_API_HOST", "ALEPH_API_UNIX_SOCKET", "ALEPH_REMOTE_CRYPTO_HOST", "ALEPH_REMOTE_CRYPTO_UNIX_SOCKET", "ALEPH_ADDRESS_TO_USE",
		} {
			if _, ok := v[name]; !ok {
				return false
			}
		}
		return true
	})},
	{"messages", false, false, single("/messages", func(r reply) bool {
		var v struct {
			Messages struct {
				Messages []struct {
					Hash string `json:"item_hash"`
				} `json:"messages"`
			}
		}
		return r.status == http.StatusOK && json.Unmarshal(r.body, &v) == nil && len(v.Messages.Messages) > 0 && v.Messages.Messages[0].Hash != ""
	})},
	{"dns", true, false, single("/dns", func(r reply) bool { v := r.object(); return truthy(v["ipv4"]) && truthy(v["ipv6"]) })},
	{"ipv4", true, false, single("/ip/4", hasResult)},
	{"internet", true, false, single("/internet", func(r reply) bool { n, ok := r.object()["result"].(float64); return ok && n < 400 })},
	{"cache", false, false, func(ask func(string) reply) bool {
		text := func(path string) string {
			r := ask(path)
			if r.status != http.StatusOK {
				return ""
			}
			return strings.TrimSpace(string(r.body))
		}
		var keys []string
		return text("/cache/set/a/42") == "true" && text("/cache/get/a") == `"42"` &&
			json.Unmarshal([]byte(text("/cache/keys")), &keys) == nil && slices.Contains(keys, "a")
	}},
	{"persistent_storage", false, false, func(ask func(string) reply) bool {
		count := func() (float64, bool) { n, ok := ask("/state/increment").object()["counter"].(float64); return n, ok }
		first, ok := count()
		second, again := count()
		return ok && again && second >= first+1
	}},
	{"error_handling", true, false, single("/raise", func(r reply) bool {
		return r.status == http.StatusInternalServerError && strings.Contains(string(r.body), "Traceback")
	})},
	{"get_a_message", false, true, single("/get_a_message", func(r reply) bool { return truthy(r.object()["item_hash"]) })},
	{"lifespan", true, true, single("/lifespan", func(r reply) bool { return r.object()["Lifespan"] == true })},
}

// diagnose puts all questions to a program. An answer of another kind, or none, is a failed check and no more. One that does not
// start answers nothing, and is not started again for each question.
func (s *Server) diagnose(ctx context.Context, program message.Hash, legacy bool) (results map[string]bool, ok bool) {
	results, ok = map[string]bool{}, true
	x, err := s.cfg.Pool.Acquire(ctx, program)
	if err != nil {
		s.cfg.Log.Warn("the diagnostic program does not start", "hash", program, "error", err)
	} else {
		defer x.Release()
	}
	for _, d := range diagnostics {
		if legacy && d.modern {
			continue
		}
		passed := err == nil && d.passes(func(path string) reply {
			got, err := ask(ctx, x, path)
			if err != nil {
				return reply{} // which passes nothing
			}
			return got
		})
		results[d.name] = passed
		ok = ok && (passed || !d.required)
	}
	return results, ok
}

// checkProgram makes the handler of GET /status/check/fastapi and its legacy form.
func (s *Server) checkProgram(program message.Hash, legacy bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		legacy := legacy || r.URL.Query().Get("retro-compatibility") == "true"
		results, ok := s.diagnose(r.Context(), program, legacy)
		status := http.StatusOK
		if !ok {
			status = http.StatusServiceUnavailable
		}
		answer(w, status, results)
	}
}
