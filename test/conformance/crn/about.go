package crn

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/message"
)

// member walks into nested objects.
func member(v any, path ...string) any {
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

// address6 computes the address of a machine from the specification's formula (§4.7), by text.
func address6(pool string, kind int, hash message.Hash) (network, guest string) {
	text := fmt.Sprintf("%s:%d:%s:%s:%s", strings.TrimSuffix(pool, "::/64"), kind, hash[:4], hash[4:8], hash[8:11])
	return netip.MustParseAddr(text+"0").String() + "/124", netip.MustParseAddr(text + "1").String()
}

var pythonTime = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?\+00:00$`)

var aboutRows = []row{
	{number: 19, about: "the second list has all of each", checks: []check{{"entry", func(r *rig) {
		r.running()
		entry := r.object(r.get("/v2/about/executions/list"))[string(r.probe)]
		network, guest := address6("1111:2222:3333:4444::/64", 1, r.probe)
		n4, _ := member(entry, "networking", "ipv4_network").(string)
		var slot int
		if _, err := fmt.Sscanf(n4, "172.16.%d.0/24", &slot); err != nil || slot < 4 {
			r.Errorf("ipv4_network is %q", n4)
		}
		for name, want := range map[string]any{
			"ipv4_ip": "172.16." + strconv.Itoa(slot) + ".2", "host_ipv4": "192.0.2.7", "ipv6_network": network, "ipv6_ip": guest,
		} {
			if got := member(entry, "networking", name); got != want {
				r.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		if ports, ok := member(entry, "networking", "mapped_ports").(map[string]any); !ok || len(ports) != 0 {
			r.Errorf("mapped_ports is %v", member(entry, "networking", "mapped_ports"))
		}
		for _, name := range []string{"defined_at", "preparing_at", "prepared_at", "starting_at", "started_at"} {
			if text, _ := member(entry, "status", name).(string); !pythonTime.MatchString(text) {
				r.Errorf("%s is %q", name, text)
			}
		}
		for _, name := range []string{"stopping_at", "stopped_at"} {
			if got, ok := member(entry, "status").(map[string]any)[name]; !ok || got != nil {
				r.Errorf("%s is %v", name, got)
			}
		}
		if member(entry, "running") != true || member(entry, "awaiting_confidential_init") != false || member(entry, "vm_type") != "microvm" {
			r.Errorf("entry %v", entry)
		}
		first := r.listed(r.node, r.probe)
		if member(first, "networking", "ipv4") != n4 || member(first, "networking", "ipv6") != network {
			r.Errorf("first list %v", first)
		}
	}}, {"empty", func(r *rig) {
		n := r.start(nil)
		defer n.end()
		r.want("second", r.ask(n, "GET", "/v2/about/executions/list", ""), 200, "{}")
		r.want("first", r.ask(n, "GET", "/about/executions/list", ""), 200, "{}")
	}}}},
	{number: 22, about: "what is not there is not found", checks: []check{{"in JSON", func(r *rig) {
		for _, path := range []string{"/about/x", "/control/x", "/status/x"} {
			r.want(path, r.get(path, "Host", domain), 404, `{"error":"404: Not Found"}`)
		}
		r.want("another method", r.ask(r.node, "POST", "/about/x", "", "Host", domain), 404, `{"error":"404: Not Found"}`)
	}}}},
	{number: 30, about: "what the machine has", checks: []check{{"usage/system", func(r *rig) {
		v := r.object(r.get("/about/usage/system"))
		for _, path := range [][]string{{"cpu", "count"}, {"mem", "total_kB"}, {"disk", "total_kB"}} {
			if n, _ := member(v, path...).(float64); n <= 0 {
				r.Errorf("%v is %v", path, member(v, path...))
			}
		}
		for _, path := range [][]string{
			{"cpu", "load_average", "load1"}, {"cpu", "load_average", "load5"}, {"cpu", "load_average", "load15"}, {"cpu", "core_frequencies", "min"},
			{"cpu", "core_frequencies", "max"}, {"mem", "available_kB"}, {"disk", "available_kB"},
		} {
			if n, ok := member(v, path...).(float64); !ok || n < 0 {
				r.Errorf("%v is %v", path, member(v, path...))
			}
		}
		if start, _ := member(v, "period", "start_timestamp").(string); !strings.HasSuffix(start, ":00Z") || member(v, "period", "duration_seconds") != 60.0 {
			r.Errorf("period %v", v["period"])
		}
		if v["active"] != true || member(v, "properties", "cpu", "architecture") == "" {
			r.Errorf("got %v", v)
		}
	}}, {"capability", func(r *rig) {
		v := r.object(r.get("/about/capability"))
		if size, _ := member(v, "memory", "size").(float64); size <= 0 || member(v, "memory", "units") != "bytes" {
			r.Errorf("memory %v", v["memory"])
		}
		for _, name := range []string{"type", "clock", "clock_units"} {
			if _, ok := member(v, "memory").(map[string]any)[name]; !ok {
				r.Errorf("memory has no %s", name)
			}
		}
		for _, name := range []string{"architecture", "vendor", "features", "model", "frequency", "count"} {
			if _, ok := member(v, "cpu").(map[string]any)[name]; !ok {
				r.Errorf("cpu has no %s", name)
			}
		}
	}}}},
	{number: 31, about: "certificates of the secure processor", checks: []check{{"none without one", func(r *rig) {
		r.want("disabled", r.get("/about/certificates"), 503, `{"error":"Confidential computing setting not enabled on that server"}`)
	}}, {"exported once", func(r *rig) {
		dir := r.TempDir()
		tool := filepath.Join(dir, "sevctl")
		script := "#!/bin/sh\n[ \"$1\" = export ] || exit 1\necho run >> " + dir + "/runs\nprintf certificate > \"$2\"\n"
		if err := os.WriteFile(tool, []byte(script), 0o700); err != nil {
			r.Fatal(err)
		}
		n := r.start(func(c *crn.Config) { c.SEVCtl = tool })
		defer n.end()
		for range 2 {
			r.want("certificates", r.ask(n, "GET", "/about/certificates", ""), 200, "certificate")
		}
		if runs, err := os.ReadFile(filepath.Join(dir, "runs")); err != nil || string(runs) != "run\n" {
			r.Errorf("runs %q, %v", runs, err)
		}
		if got := r.object(r.ask(n, "GET", "/status/config", "")); member(got, "computing", "ENABLE_CONFIDENTIAL_COMPUTING") != true {
			r.Errorf("computing %v", got["computing"])
		}
	}}}},
	{number: 32, about: "IPv6 addresses derive from the hash", checks: []check{{"on two pools", func(r *rig) {
		// The vectors of appendix D.4 hold the formula that the lists of nodes are compared with.
		for _, v := range []struct {
			pool, network, guest string
			kind                 int
			hash                 message.Hash
		}{
			{"1111:2222:3333:4444::/64", "1111:2222:3333:4444:1:8920:215b:2e90/124", "1111:2222:3333:4444:1:8920:215b:2e91", 1, "8920215b2e961a4d4c59a8ceb2803af53f91530ff53d6704273ab4d380bc6446"},
			{"2001:db8:1:2::/64", "2001:db8:1:2:3:d2b7:4aa2:9890/124", "2001:db8:1:2:3:d2b7:4aa2:9891", 3, "d2b74aa29898457bde0560e47f7cdd4e77287e9f1f7a1456161d2fd7d5c855d7"},
		} {
			if network, guest := address6(v.pool, v.kind, v.hash); network != v.network || guest != v.guest {
				r.Errorf("got %s %s", network, guest)
			}
		}
		r.want("call", r.get("/vm/"+string(r.diagnostic)+"/"), 200)
		network, _ := address6("1111:2222:3333:4444::/64", 1, r.diagnostic)
		if got := member(r.listed(r.node, r.diagnostic), "networking", "ipv6"); got != network {
			r.Errorf("got %v, want %s", got, network)
		}
	}}}},
}

var statusSections = []row{
	{about: "§2.0 every answer has the name of the software, and origins are allowed", checks: []check{{"also failures", func(r *rig) {
		for _, path := range []string{"/", "/about/x", "/about/usage/system", "/vm/x", machine(r.probe, "logs"), "/status/config"} {
			got := r.get(path, "Origin", "https://console.example", "Host", domain)
			if !strings.HasPrefix(got.header.Get("Server"), "aleph-vm/") {
				r.Errorf("%s: Server is %q", path, got.header.Get("Server"))
			}
			if allowed := got.header.Get("Access-Control-Allow-Origin"); (allowed == "https://console.example") == (path == "/vm/x") {
				r.Errorf("%s: origin %q", path, allowed)
			}
		}
		got := r.ask(r.node, "OPTIONS", "/control/allocation/notify", "", "Origin", "https://console.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
		if got.status != 200 || got.header.Get("Access-Control-Allow-Headers") != "content-type" || got.header.Get("Access-Control-Allow-Credentials") != "true" {
			r.Errorf("preflight: %+v", got)
		}
	}}}},
	{about: "§2.1.4 the operator sees more", checks: []check{{"with the token of its data folder", func(r *rig) {
		r.want("login without", r.get("/about/login"), 401, `{"success":false}`)
		r.want("login with another", r.get("/about/login?token=x"), 401, `{"success":false}`)
		for _, path := range []string{"/about/config", "/about/executions/details"} {
			r.want(path, r.get(path, "Cookie", "token=x"), 401, `{"error":"401 Invalid token"}`)
		}
		file := filepath.Join(r.node.dir, "login_token")
		secret, err := os.ReadFile(file)
		if err != nil {
			r.Fatal(err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o400 {
			r.Errorf("mode %v, %v", info.Mode(), err)
		}
		got := r.get("/about/login?token=" + string(secret))
		cookie, _, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
		if got.status != 302 || got.header.Get("Location") != "/about/config" || cookie != "token="+string(secret) {
			r.Errorf("login: %+v", got)
		}
		config := r.get("/about/config", "Cookie", cookie)
		if config.status != 200 || strings.Contains(config.body, string(secret)) || strings.Contains(config.body, tokenHash) || member(r.object(config), "domain_name") != domain {
			r.Errorf("config: %+v", config)
		}
		r.want("call", r.get("/vm/"+string(r.diagnostic)+"/"), 200)
		var details []map[string]any
		if got := r.get("/about/executions/details", "Cookie", cookie); json.Unmarshal([]byte(got.body), &details) != nil || len(details) == 0 {
			r.Errorf("details: %+v", got)
		}
		if got := r.get("/about/executions/records"); got.status != 200 || !strings.Contains(got.body, string(r.diagnostic)) {
			r.Errorf("records: %+v", got)
		}
	}}}},
	{about: "§2.5.1 the diagnostic program tells whether the node is in order", checks: []check{{"fastapi, legacy and ipv6", func(r *rig) {
		const all = `{"cache":true,"dns":true,"environ":true,"error_handling":true,"get_a_message":true,"index":true,"internet":true,"ipv4":true,"lifespan":true,"messages":true,"persistent_storage":true}`
		const legacy = `{"cache":true,"dns":true,"environ":true,"error_handling":true,"index":true,"internet":true,"ipv4":true,"messages":true,"persistent_storage":true}`
		r.want("all is well", r.get("/status/check/fastapi"), 200, all)
		r.want("legacy", r.get("/status/check/fastapi/legacy"), 200, legacy)
		r.want("the same by another name", r.get("/status/check/fastapi?retro-compatibility=true"), 200, legacy)
		spoil := func(path string) {
			r.Helper()
			r.want("break "+path, r.ask(r.node, "PUT", "/vm/"+string(r.diagnostic)+"/break"+path, ""), 200)
		}
		spoil("/messages")
		r.want("what need not work", r.get("/status/check/fastapi"), 200, strings.Replace(all, `"messages":true`, `"messages":false`, 1))
		spoil("/messages")
		spoil("/dns")
		r.want("what must", r.get("/status/check/fastapi"), 503, strings.Replace(all, `"dns":true`, `"dns":false`, 1))
		spoil("/dns")
		// The node of this rig reaches for no host of the Internet.
		r.want("ipv6", r.get("/status/check/ipv6"), 200, `{"host":false,"vm":true}`)
		r.want("host", r.get("/status/check/host"), 503)
	}}}},
	{about: "§2.5 the version is compared", checks: []check{{"as Python orders releases", func(r *rig) {
		r.want("older", r.get("/status/check/version?reference=1.2.3"), 200, "Up-to-date: version 1.14.0 >= 1.2.3")
		r.want("the same", r.get("/status/check/version?reference=1.14"), 200)
		r.want("newer", r.get("/status/check/version?reference=99.0"), 403, `{"error":"Outdated: version 1.14.0 < 99.0"}`)
		r.want("none", r.get("/status/check/version"), 400)
		r.want("nonsense", r.get("/status/check/version?reference=x"), 400)
	}}}},
	{about: "§2.5.2 the public configuration has the keys that others read", checks: []check{{"status/config", func(r *rig) {
		v := r.object(r.get("/status/config"))
		for group, names := range map[string][]string{
			"references": {"API_SERVER", "CHECK_FASTAPI_VM_ID", "CONNECTOR_URL"},
			"security":   {"USE_JAILER", "PRINT_SYSTEM_LOGS", "WATCH_FOR_UPDATES", "ALLOW_VM_NETWORKING", "USE_DEVELOPER_SSH_KEYS"},
			"networking": {"IPV6_ADDRESS_POOL", "IPV6_ALLOCATION_POLICY", "IPV6_SUBNET_PREFIX", "IPV6_FORWARDING_ENABLED", "USE_NDP_PROXY"},
			"debug":      {"SENTRY_DSN_CONFIGURED", "DEBUG_ASYNCIO", "EXECUTION_LOG_ENABLED"},
			"payment":    {"PAYMENT_RECEIVER_ADDRESS", "AVAILABLE_PAYMENTS", "PAYMENT_MONITOR_INTERVAL"},
			"computing":  {"ENABLE_QEMU_SUPPORT", "INSTANCE_DEFAULT_HYPERVISOR", "ENABLE_CONFIDENTIAL_COMPUTING", "ENABLE_GPU_SUPPORT"},
		} {
			for _, name := range names {
				if object, _ := v[group].(map[string]any); object[name] == nil {
					r.Errorf("%s.%s is missing", group, name)
				}
			}
		}
		if got := member(v, "networking", "IPV6_ALLOCATION_POLICY"); got != "IPv6AllocationPolicy.static" {
			r.Errorf("policy %v", got)
		}
		avax := member(v, "payment", "AVAILABLE_PAYMENTS", "Chain.AVAX")
		if member(avax, "chain_id") != 31337.0 || member(avax, "active") != true || member(avax, "standard_token") != nil || member(avax, "super_token") == nil {
			r.Errorf("chain %v", avax)
		}
	}}}},
}
