package crn

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/message"
)

var lifeRows = []row{
	{number: 36, about: "a plan that is sent again disturbs nothing that runs", checks: []check{{"and replaces what has failed", func(r *rig) {
		started := func() string { return strings.Fields(r.get("/vm/"+string(r.probe)+"/count").body + " ?")[0] }
		r.want("plan", r.plan(r.node, string(r.probe)), 200)
		if got := member(r.listed(r.node, r.probe), "vm_type"); got != "persistent_program" {
			r.Errorf("it is a %v", got)
		}
		first := started()
		r.want("the same plan", r.plan(r.node, string(r.probe)), 200, strings.Replace(emptyResult, `"successful":[]`, fmt.Sprintf(`"successful":[%q]`, r.probe), 1))
		if started() != first {
			r.Error("the machine was replaced")
		}
		_ = r.get("/vm/" + string(r.probe) + "/exit")
		r.want("the plan after its end", r.plan(r.node, string(r.probe)), 200)
		if again := started(); again == first || again == "?" {
			r.Errorf("the machine that had ended was not replaced: %s", again)
		}
	}}}},
	{number: 37, about: "a start that fails is said at once", checks: []check{{"long before its time is over", func(r *rig) {
		hash := r.program("probe", "./crn/testdata/probe", func(content map[string]any) { content["variables"] = map[string]string{"MODE": "exit"} })
		begin := time.Now()
		got := r.plan(r.node, string(hash), string(r.probe))
		if took := time.Since(begin); took > time.Minute {
			r.Errorf("it took %v of 90 s", took)
		}
		v := r.object(got)
		if got.status != 207 || v["success"] != false || fmt.Sprint(v["failing"]) != fmt.Sprintf("[%s]", hash) || member(v, "errors", string(hash)) == "" {
			r.Errorf("got %+v", got)
		}
		if got := r.plan(r.node, string(message.HashBytes([]byte("absent")))); got.status != 503 {
			r.Errorf("all failing: %+v", got)
		}
		if r.listed(r.node, r.probe) != nil {
			r.Error("what the plan left out runs on")
		}
		r.want("nothing", r.plan(r.node), 200)
	}}}},
	{number: 45, about: "a node that drains takes no calls and still speaks", checks: []check{{"until those in progress are done", func(r *rig) {
		hash := r.program("probe", "./crn/testdata/probe", func(content map[string]any) {
			content["resources"] = map[string]any{"vcpus": 1, "memory": 128, "seconds": 2}
		})
		n := r.start(nil)
		r.want("call", r.ask(n, "GET", "/vm/"+string(hash)+"/count", ""), 200)
		slow := make(chan reply, 1)
		go func() { slow <- r.ask(n, "GET", "/vm/"+string(hash)+"/slow", "") }()
		r.until("the call is in progress", func() bool { return strings.Contains(r.ask(n, "GET", "/metrics", "").body, "aleph_crn_executions 1") })
		time.Sleep(200 * time.Millisecond) // the call is on its way, which nothing outside shows
		n.end()
		const draining = `{"error":"Server is draining, try another node"}`
		r.until("it drains", func() bool { return r.ask(n, "GET", "/vm/"+string(hash)+"/count", "").status == 503 })
		r.want("a call", r.ask(n, "GET", "/vm/x", ""), 503, draining)
		r.want("a call by name", r.ask(n, "GET", "/", "", "Host", execution.HostLabel(hash)+".programs.test"), 503, draining)
		r.want("a call by another name", r.ask(n, "GET", "/", "", "Host", "nobody.test"), 503, draining)
		r.want("index", r.ask(n, "GET", "/", "", "Host", domain), 200)
		r.want("about", r.ask(n, "GET", "/about/executions/list", ""), 200)
		r.want("status", r.ask(n, "GET", "/status/config", ""), 200)
		r.want("control", r.ask(n, "POST", allocations, "{}"), 401)
		r.want("the call in progress", <-slow, 504)
		r.until("it ends", n.ended)
	}}}},
	{number: 48, about: "how a program takes requests", checks: []check{{"as its message says, or else its entrypoint", func(r *rig) {
		binary, err := os.ReadFile(filepath.Join(guestDir(), "probe"))
		if err != nil {
			r.Fatal(err)
		}
		for _, test := range []struct {
			entrypoint, file string // of the archive; a plain file when empty
			code             string
			hint             any
			path, answer     string
			status           int // of a program taken for another kind there is no such answer
		}{
			{"main:app", "main.py", imagetest.Counter, nil, "/", `{"calls":1}`, 200},
			{"app", "", imagetest.Counter, "asgi", "/", `{"calls":1}`, 200},
			{"bin:probe", "bin:probe", string(binary), "binary", "/echo/", "", 418},
		} {
			code, encoding := []byte(test.code), message.EncodingPlain
			if test.file != "" {
				code, encoding = imagetest.Zip(r, map[string]string{test.file: test.code}), message.EncodingZip
			}
			content := corenodetest.Program(r.core.Store(code), r.runtime, encoding, test.entrypoint)
			content["code"].(map[string]any)["interface"] = test.hint
			got := r.get("/vm/" + string(r.core.Publish(message.TypeProgram, content)) + test.path)
			if got.status != test.status || got.body != test.answer {
				r.Errorf("%s with the interface %v: got %d %.600s", test.entrypoint, test.hint, got.status, got.body)
			}
		}
		// Without one, and without a colon, it is a binary.
		if got := r.get("/vm/" + string(r.probe) + "/echo/"); got.status != 418 {
			r.Errorf("bin/probe: got %d %.600s", got.status, got.body)
		}
	}}, {"what nobody knows is no program", func(r *rig) {
		content := corenodetest.Program(r.runtime, r.runtime, message.EncodingZip, "main:app")
		content["code"].(map[string]any)["interface"] = "nonsense"
		got := r.get("/vm/" + string(r.core.Publish(message.TypeProgram, content)) + "/")
		if got.status != 400 || !strings.Contains(got.body, "interface") {
			r.Errorf("got %d %s", got.status, got.body)
		}
	}}}},
	{number: 55, about: "what is no hash is no program", checks: []check{{"in plain text", func(r *rig) {
		for _, ref := range []string{"invalid", "x", strings.Repeat("g", 64)} {
			r.want(ref, r.get("/vm/"+ref), 400, "Invalid message reference: "+ref)
		}
		r.want("no program", r.get("/vm/"+string(r.instance("", nil))), 400)
	}}}},
	{number: 56, about: "old messages run, and volumes without a name have one", checks: []check{{"unamed_volume_1", func(r *rig) {
		dir := filepath.Join(r.node.dir, "executions", "volumes", string(r.probe))
		if _, err := os.Stat(dir); err != nil {
			r.running() // it has not run yet
		}
		if _, err := os.Stat(filepath.Join(dir, "unamed_volume_1.ext4")); err != nil {
			r.Error(err)
		}
	}}, {"without what was added since", func(r *rig) {
		// The message of the diagnostic program has only what the first ones had.
		r.want("call", r.get("/vm/"+string(r.diagnostic)+"/"), 200)
	}}}},
}

var nameSections = []row{
	{about: "§2.2 host names are programs'", checks: []check{{"by their label or their record", func(r *rig) {
		hash := r.diagnostic
		for name, host := range map[string]string{
			"label": execution.HostLabel(hash) + ".anything.test", "in capitals": strings.ToUpper(execution.HostLabel(hash)) + ".anything.test:443",
			"record": "to-" + string(hash) + ".test:8080",
		} {
			r.want(name, r.get("/dns?x=1", "Host", host), 200)
		}
		for name, host := range map[string]string{"no record": "nobody.test", "a record that is no hash": "to-nowhere.test", "a label of another length": "aaaa.test"} {
			if got := r.get("/", "Host", host); got.status != 404 || !strings.Contains(got.body, domain) {
				r.Errorf("%s: %+v", name, got)
			}
		}
		r.want("the node's own name", r.get("/", "Host", domain+":4020"), 200)
		r.want("an address", r.get("/"), 200)
	}}}},
	{about: "§2.7.4 owners reboot, erase and let expire", checks: []check{{"erase", func(r *rig) {
		r.running()
		r.want("erase", r.order(owner, r.probe, "erase"), 200, "Erased VM with ref "+string(r.probe))
		if _, err := os.Stat(filepath.Join(r.node.dir, "executions", "volumes", string(r.probe))); !os.IsNotExist(err) {
			r.Errorf("volumes: %v", err)
		}
	}}, {"reboot and update", func(r *rig) {
		hash := r.diagnostic
		r.want("call", r.get("/vm/"+string(hash)+"/"), 200)
		started := func() any {
			return member(r.object(r.get("/v2/about/executions/list")), string(hash), "status", "started_at")
		}
		before := started()
		r.want("reboot", r.order(owner, hash, "reboot"), 200, "Rebooted VM with ref "+string(hash))
		if after := started(); after == before || after == nil {
			r.Errorf("started at %v, before at %v", after, before)
		}
		r.want("update", r.ask(r.node, "POST", machine(hash, "update"), ""), 200, "{}")
		r.want("the same by another path", r.ask(r.node, "POST", "/control/"+string(hash)+"/update", ""), 200, "{}")
		r.want("update of nothing", r.ask(r.node, "POST", machine(message.HashBytes([]byte("absent")), "update"), ""), 404, `{"error":"404: VM not found"}`)
	}}, {"expire within ten days", func(r *rig) {
		hash := r.diagnostic
		r.want("call", r.get("/vm/"+string(hash)+"/"), 200)
		path := machine(hash, "expire")
		expire := func(body string) reply { return r.ask(r.node, "POST", path, body, owner.headers("POST", path)...) }
		for _, body := range []string{"", "{}", `{"timeout":0}`, `{"timeout":-1}`, `{"timeout":864000}`, `{"timeout":"1"}`} {
			r.want(body, expire(body), 400, `{"error":"Invalid timeout duration"}`)
		}
		r.want("in half a second", expire(`{"timeout":0.5}`), 200, "Expiring VM with ref "+string(hash)+" in 0.5 seconds")
		r.until("it ends", func() bool { return r.listed(r.node, hash) == nil })
	}}}},
}
