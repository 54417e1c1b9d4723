package crn

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/message"
)

// hosting is the rig with a node of its own for instances: room for two, which are given a second to turn themselves off. Machines go on
// without their node, so an empty plan must come at the end.
func (r *rig) hosting(changes ...func(*crn.Config)) *rig {
	r.Helper()
	if os.Getuid() != 0 {
		r.Skip("instances need root")
	}
	h := *r
	h.node = r.start(func(c *crn.Config) {
		c.InstanceMemoryMiB, c.InstanceStopTimeout = 700, time.Second
		for _, change := range changes {
			change(c)
		}
	})
	return &h
}

// roomy is a node for more of them.
func roomy(c *crn.Config) { c.InstanceMemoryMiB = 1400 }

// idle publishes an instance whose disk does nothing, without a network card.
func (r *rig) idle(change func(map[string]any)) message.Hash {
	r.Helper()
	disk := make([]byte, 1<<20)
	copy(disk, "\xf4\xeb\xfd") // halt, again and again
	disk[510], disk[511] = 0x55, 0xaa
	return r.instance("", func(content map[string]any) {
		delete(content, "payment")
		content["rootfs"] = map[string]any{"parent": map[string]any{"ref": r.core.Store(disk), "use_latest": false}, "persistence": "host", "size_mib": 8}
		if change != nil {
			change(content)
		}
	})
}

// allot is a plan that keeps some instances.
func (r *rig) allot(hashes ...message.Hash) reply {
	r.Helper()
	if hashes == nil {
		hashes = []message.Hash{}
	}
	return r.bid("POST", allocations, map[string]any{"persistent_vms": []string{}, "instances": hashes})
}

// bid sends an order of the scheduler.
func (r *rig) bid(method, path string, order any) reply {
	r.Helper()
	body := ""
	if order != nil {
		raw, err := json.Marshal(order)
		if err != nil {
			r.Fatal(err)
		}
		body = string(raw)
	}
	return r.ask(r.node, method, path, body, "X-Auth-Signature", token)
}

// startedAt is when an instance that runs was started; empty when it does not run.
func (r *rig) startedAt(hash message.Hash) string {
	r.Helper()
	entry := member(r.object(r.get("/v2/about/executions/list")), string(hash))
	if member(entry, "running") != true {
		return ""
	}
	at, _ := member(entry, "status", "started_at").(string)
	return at
}

// These rows are about instances. Checks of one take the place of the reason.
var instanceRows = []row{
	{number: 14, about: "a reboot restarts the machine of an instance", checks: []check{{"or starts one that is stopped", func(r *rig) {
		r = r.hosting()
		defer r.allot()
		hash := r.idle(nil)
		r.want("plan", r.allot(hash), 200)
		first := r.startedAt(hash)
		r.want("reboot", r.order(owner, hash, "reboot"), 200, "Rebooted VM with ref "+string(hash))
		second := r.startedAt(hash)
		r.want("stop", r.order(owner, hash, "stop"), 200, "Stopped VM with ref "+string(hash))
		if r.startedAt(hash) != "" {
			r.Error("it runs after it was stopped")
		}
		r.want("reboot of what is stopped", r.order(owner, hash, "reboot"), 200, "Starting VM (was not running) with ref "+string(hash))
		third := r.startedAt(hash)
		if first == "" || first == second || third == "" || second == third {
			r.Errorf("started at %q, %q, %q", first, second, third)
		}
		r.want("by a stranger", r.order(stranger, hash, "reboot"), 403, notAllowed)
	}}}},
	{number: 28, about: "admission by memory, processors and disk", checks: []check{{"each refuses by itself", func(r *rig) {
		r = r.hosting()
		defer r.allot()
		first := r.idle(nil)
		r.want("ample", r.allot(first), 200)
		for what, change := range map[string]func(map[string]any){
			"memory":     func(c map[string]any) { c["resources"] = map[string]any{"vcpus": 1, "memory": 4096, "seconds": 30} },
			"processors": func(c map[string]any) { c["resources"] = map[string]any{"vcpus": 200, "memory": 128, "seconds": 30} },
			"disk":       func(c map[string]any) { c["rootfs"].(map[string]any)["size_mib"] = 1_900_000 },
		} {
			large := r.idle(change)
			got := r.allot(first, large)
			if text, _ := member(r.object(got), "errors", string(large)).(string); got.status != 207 || !strings.Contains(text, what) {
				r.Errorf("%s: got %d %s", what, got.status, got.body)
			}
		}
	}}, {"instances and programs have each their own", func(r *rig) {
		r = r.hosting()
		defer r.allot()
		first, second, third := r.idle(nil), r.idle(nil), r.idle(nil)
		r.want("two", r.allot(first, second), 200)
		r.want("three", r.allot(first, second, third), 207)
		r.want("what is known already", r.allot(second, first), 200)
		r.want("a program beside them", r.get("/vm/"+string(r.diagnostic)+"/"), 200)
		large := r.program("diagnostics", "./test/conformance/crn/testdata/diagnostics", func(c map[string]any) {
			c["resources"] = map[string]any{"vcpus": 1, "memory": 4096, "seconds": 30}
		})
		r.want("a program that is too large", r.get("/vm/"+string(large)+"/"), 503)
	}}}},
	{number: 44, about: "proxy regenerate", checks: []check{{"on the scheduler's order alone", func(r *rig) {
		const path = "/control/proxy/regenerate"
		r.want("without a token", r.ask(r.node, "POST", path, ""), 401, notTheirs)
		r.want("with it", r.ask(r.node, "POST", path, "", "X-Auth-Signature", token), 200,
			`{"success":true,"message":"HAProxy configuration regenerated successfully"}`)
	}}}},
	{number: 53, about: "migration", checks: []check{{"on the scheduler's order alone", func(r *rig) {
		hash := message.HashBytes([]byte("absent"))
		for _, order := range [][2]string{
			{"POST", machine(hash, "migration/export")}, {"GET", machine(hash, "migration/export/status")}, {"POST", machine(hash, "migration/cleanup")},
			{"POST", "/control/migrate"}, {"GET", "/control/migrate/" + string(hash) + "/status"},
			{"POST", machine(hash, "migration/ahead")}, {"GET", "/control/migrate/" + string(hash) + "/room"}, {"POST", "/control/migrate/" + string(hash) + "/ahead"},
		} {
			r.want(order[1], r.ask(r.node, order[0], order[1], ""), 401, notTheirs)
		}
	}}, {"an instance leaves and arrives", func(r *rig) {
		from, to := r.hosting(), r.hosting()
		defer from.allot()
		defer to.allot()
		r.register(registered(message.HashBytes([]byte("from")), crnOwner(), from.node.url), registered(message.HashBytes([]byte("to")), crnOwner(), to.node.url))
		r.Cleanup(func() { r.register(registered(ownHash, crnOwner(), publicURL)) })
		hash := r.idle(nil)
		absent := message.HashBytes([]byte("absent"))
		r.want("plan", from.allot(hash), 200)
		r.want("export of what is not there", from.bid("POST", machine(absent, "migration/export"), nil), 404)
		r.want("status of no export", from.bid("GET", machine(hash, "migration/export/status"), nil), 404, `{"error":"No export job"}`)
		r.want("status of no import", to.bid("GET", "/control/migrate/"+string(hash)+"/status", nil), 404, `{"error":"No import job"}`)
		r.want("cleanup of no export", from.bid("POST", machine(hash, "migration/cleanup"), nil), 409)
		begun := from.bid("POST", machine(hash, "migration/export"), nil)
		if got := member(r.object(begun), "status_url"); begun.status != 202 || got != machine(hash, "migration/export/status") {
			r.Errorf("export: %d %s", begun.status, begun.body)
		}
		var export map[string]any
		r.until("it is exported", func() bool {
			export = r.object(from.bid("GET", machine(hash, "migration/export/status"), nil))
			return export["state"] == "exported"
		})
		r.want("export once more", from.bid("POST", machine(hash, "migration/export"), nil), 409)
		r.want("cleanup before anybody has it", from.bid("POST", machine(hash, "migration/cleanup"), nil), 409)

		files := export["disk_files"].([]any)
		token, _ := export["export_token"].(string)
		for _, f := range files {
			path, _ := member(f, "download_path").(string)
			r.want("disk without token", from.get(path), 401, `{"error":"Invalid or missing export token"}`)
			got := from.get(path + "?token=" + token)
			if sum := message.HashBytes([]byte(got.body)); got.status != 200 || string(sum) != member(f, "sha256") || float64(len(got.body)) != member(f, "size_bytes") {
				r.Errorf("%s: %d, %d bytes, %s, want %v", path, got.status, len(got.body), sum, f)
			}
		}
		r.want("disk that is none", from.get(machine(hash, "migration/disk/other.qcow2")+"?token="+token), 404, `{"error":"Disk file not found: other.qcow2"}`)

		source, err := url.Parse(from.node.url)
		if err != nil {
			r.Fatal(err)
		}
		port, _ := strconv.Atoi(source.Port())
		order := map[string]any{
			"vm_hash": hash, "source_host": source.Hostname(), "source_port": port, "export_token": token, "disk_files": files,
			"parent": export["parent"], "stopped": export["stopped"],
		}
		with := func(name string, value any) map[string]any {
			changed := maps.Clone(order)
			changed[name] = value
			return changed
		}
		state := func() any { return r.object(to.bid("GET", "/control/migrate/"+string(hash)+"/status", nil))["state"] }
		r.want("import from nobody's address", to.bid("POST", "/control/migrate", with("source_host", "169.254.169.254")), 400)
		r.want("import of a disk that is not its own", to.bid("POST", "/control/migrate", with("disk_files", []any{map[string]any{"name": "../x", "size_bytes": 1, "sha256": strings.Repeat("0", 64)}})), 400)
		first := maps.Clone(files[0].(map[string]any))
		first["sha256"] = strings.Repeat("0", 64)
		r.want("import of other bytes", to.bid("POST", "/control/migrate", with("disk_files", append([]any{first}, files[1:]...))), 202)
		r.until("that import fails", func() bool { return state() == "import_failed" })
		r.want("import", to.bid("POST", "/control/migrate", order), 202)
		r.until("it is imported", func() bool { return state() == "imported" })
		r.want("import of what is there", to.bid("POST", "/control/migrate", order), 409, `{"error":"VM already running on this host"}`)
		r.until("it runs", func() bool { return to.startedAt(hash) != "" })
		r.want("the plan there", to.allot(hash), 200) // which makes it the plan's to end
		r.want("cleanup", from.bid("POST", machine(hash, "migration/cleanup"), nil), 200, fmt.Sprintf(`{"status":"completed","vm_hash":%q}`, hash))
		r.want("cleanup once more", from.bid("POST", machine(hash, "migration/cleanup"), nil), 409)
		if left, _ := filepath.Glob(filepath.Join(from.node.dir, "instances", "disks", "*")); len(left) > 0 {
			r.Errorf("left behind: %v", left)
		}
	}}}},
}
