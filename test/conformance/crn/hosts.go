package crn

import (
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/message"
)

// connected is idle with a network card.
func (r *rig) connected() message.Hash {
	return r.idle(func(content map[string]any) { content["environment"].(map[string]any)["internet"] = true })
}

// after ends the node and begins the next one on its folder; meanwhile is what happens while there is none.
func (r *rig) after(meanwhile func(), changes ...func(*crn.Config)) {
	r.Helper()
	last := r.node
	last.end()
	<-last.over
	if meanwhile != nil {
		meanwhile()
	}
	r.node = r.hosting(append(changes, func(c *crn.Config) { c.DataDir = last.dir })...).node
}

// leave sends all instances away and waits until nothing of them is left in the host's network.
func (r *rig) leave() {
	r.Helper()
	r.want("empty plan", r.allot(), 200)
	r.until("the network is as before", func() bool { return r.table() == "" })
}

// pid is the process of an instance's machine; 0 when it has none.
func (r *rig) pid(hash message.Hash) int {
	r.Helper()
	var process struct{ PID int }
	raw, err := os.ReadFile(filepath.Join(r.node.dir, "instances", "run", string(hash), "process.json"))
	if err == nil {
		err = json.Unmarshal(raw, &process)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.Fatal(err)
	}
	return process.PID
}

// tool runs ip or nft, of which the rig has a network of its own, and returns what it prints.
func (r *rig) tool(name, input string, args ...string) string {
	r.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// table is the name of the table of rules of the node, after its data folder (decision 0018); empty when there is none.
func (r *rig) table() string {
	r.Helper()
	sum := sha256.Sum256([]byte(r.node.dir))
	if name := fmt.Sprintf("inet aleph-%x", sum[:4]); strings.Contains(r.tool("nft", "", "list", "tables"), name) {
		return name
	}
	return ""
}

// forwards are the ports of the host that lead to guests, as the rules in force say: "tcp . 24000 : 172.24.0.2 . 22".
func (r *rig) forwards() []string {
	r.Helper()
	text := r.tool("nft", "", append([]string{"list", "map"}, append(strings.Fields(r.table()), "forwards")...)...)
	list := regexp.MustCompile(`(tcp|udp) \. \d+ : [0-9.]+ \. \d+`).FindAllString(text, -1)
	slices.Sort(list)
	return list
}

// port is the port of the host that leads to one of an instance, and the protocols, as clients are told: "24000 tcp".
func (r *rig) port(hash message.Hash, guest string) string {
	r.Helper()
	mapped := member(r.object(r.get("/v2/about/executions/list")), string(hash), "networking", "mapped_ports", guest)
	if mapped == nil {
		return ""
	}
	text := fmt.Sprint(member(mapped, "host"))
	for _, protocol := range []string{"tcp", "udp"} {
		if member(mapped, protocol) == true {
			text += " " + protocol
		}
	}
	return text
}

// number is the port of the host alone.
func (r *rig) number(hash message.Hash, guest string) string {
	r.Helper()
	number, _, _ := strings.Cut(r.port(hash, guest), " ")
	return number
}

// forward publishes which ports the owner of an instance wants, and has its node ask.
func (r *rig) forward(hash message.Hash, ports map[string]any) {
	r.Helper()
	r.core.Aggregate(owner.Address(), map[string]any{"port-forwarding": map[string]any{string(hash): map[string]any{"ports": ports}}})
	r.want("update", r.ask(r.node, "POST", machine(hash, "update"), ""), 200)
}

func wish(tcp, udp bool) map[string]bool { return map[string]bool{"tcp": tcp, "udp": udp} }

// These rows are about what a node does to the network of its host.
var hostRows = []row{
	{number: 38, about: "instances come back from the records", checks: []check{{"each as it was", func(r *rig) {
		r = r.hosting(roomy)
		defer r.leave()
		goes, stopped, ended := r.idle(nil), r.idle(nil), r.idle(nil)
		r.want("plan", r.allot(goes, stopped, ended), 200)
		r.want("stop", r.order(owner, stopped, "stop"), 200)
		before, died := r.pid(goes), r.pid(ended)
		networks := func() string {
			list := r.object(r.get("/v2/about/executions/list"))
			return fmt.Sprint(member(list, string(goes), "networking", "ipv4_network"), member(list, string(stopped), "networking", "ipv4_network"))
		}
		each := networks()
		r.after(func() {
			if err := syscall.Kill(died, syscall.SIGKILL); err != nil {
				r.Fatal(err)
			}
			// That two have one number cannot even be written.
			db, err := sql.Open(sql.Drivers()[0], filepath.Join(r.node.dir, "instances", "records.db"))
			if err != nil {
				r.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec(`UPDATE instance SET slot = (SELECT max(slot) FROM instance)`); err == nil || !strings.Contains(err.Error(), "UNIQUE") {
				r.Errorf("the records take two with one number: %v", err)
			}
		}, roomy)
		if now := networks(); now != each {
			r.Errorf("networks were %s and are %s", each, now)
		}
		r.until("what ended is started again", func() bool { return r.startedAt(ended) != "" })
		if now := r.pid(goes); now != before || r.startedAt(goes) == "" {
			r.Errorf("what ran has machine %d, and had %d", now, before)
		}
		if now := r.pid(ended); now == died {
			r.Error("the dead machine was adopted")
		}
		if r.pid(stopped) != 0 || r.startedAt(stopped) != "" {
			r.Error("what was stopped runs")
		}
	}}}},
	{number: 39, about: "orphan cleanup spares what is foreign", checks: []check{{"and nothing else", func(r *rig) {
		r = r.hosting()
		defer r.leave()
		r.want("plan", r.allot(r.connected()), 200)
		links := func() string { return r.tool("ip", "", "-brief", "link", "show") }
		if r.table() == "" || !strings.Contains(links(), "vmtap2048") {
			r.Fatalf("table %q, interfaces %s", r.table(), links())
		}
		const foreign = `table ip nat { chain aleph-vm-nat-7 { }; chain OTHER { type nat hook postrouting priority srcnat; jump aleph-vm-nat-7; }; }
			table inet aleph { chain x { }; }`
		r.tool("nft", foreign, "-f", "-")
		r.tool("ip", "tuntap add dev vmtap4000 mode tap\ntuntap add dev vmtapx mode tap\ntuntap add dev tap2048 mode tap\n", "-batch", "-")
		defer r.tool("ip", "link delete vmtap4000\nlink delete vmtapx\nlink delete tap2048\n", "-batch", "-")
		defer r.tool("nft", "delete table ip nat\ndelete table inet aleph\n", "-f", "-")
		r.after(func() {
			files, err := filepath.Glob(filepath.Join(r.node.dir, "instances", "records.db*"))
			if err != nil || len(files) == 0 {
				r.Fatal(files, err)
			}
			for _, file := range files {
				if err := os.Remove(file); err != nil {
					r.Fatal(err)
				}
			}
		})
		if r.table() != "" || strings.Contains(links(), "vmtap2048") {
			r.Errorf("of an instance that no record names there are table %q, interfaces %s", r.table(), links())
		}
		for _, name := range []string{"vmtap4000", "vmtapx", "tap2048"} {
			if !strings.Contains(links(), name) {
				r.Errorf("interface %s is gone", name)
			}
		}
		rules := r.tool("nft", "", "list", "ruleset")
		for _, text := range []string{"chain aleph-vm-nat-7", "jump aleph-vm-nat-7", "table inet aleph {"} {
			if !strings.Contains(rules, text) {
				r.Errorf("%q is gone from %s", text, rules)
			}
		}
	}}}},
	{number: 40, about: "port mappings are kept apart", checks: []check{{"and change with their owner's wish alone", func(r *rig) {
		r = r.hosting()
		defer r.leave()
		defer r.trust() // which wants no ports
		first, second := r.connected(), r.connected()
		r.want("plan", r.allot(first), 200)
		ssh := r.port(first, "22")
		r.forward(first, map[string]any{"8080": wish(true, false)})
		web := r.number(first, "8080")
		if r.port(first, "22") != ssh || !strings.HasSuffix(ssh, " tcp") || r.port(first, "8080") != web+" tcp" || ssh == web+" tcp" {
			r.Fatalf("ports %q and %q, SSH was %q", r.port(first, "22"), r.port(first, "8080"), ssh)
		}
		was := r.forwards()
		r.want("update without a change", r.ask(r.node, "POST", machine(first, "update"), ""), 200)
		if now := r.forwards(); !slices.Equal(now, was) {
			r.Errorf("forwards were %v and are %v", was, now)
		}
		r.forward(first, map[string]any{"8080": wish(false, true)})
		if got := r.port(first, "8080"); got != web+" udp" || r.port(first, "22") != ssh {
			r.Errorf("with another protocol: %q", got)
		}
		r.forward(first, map[string]any{})
		if got := r.port(first, "8080"); got != "" || len(r.forwards()) != 1 {
			r.Errorf("not wanted any more: %q, %v", got, r.forwards())
		}
		r.after(nil)
		r.want("plan with another", r.allot(first, second), 200)
		if got := r.number(second, "22"); got != web {
			r.Errorf("the freed port %s was not given again, but %s", web, got)
		}
		was = r.forwards()
		r.tool("nft", "", append([]string{"delete", "table"}, strings.Fields(r.table())...)...)
		r.want("recreate", r.bid("POST", "/control/network/recreate", nil), 200)
		if now := r.forwards(); !slices.Equal(now, was) {
			r.Errorf("forwards were %v and are %v after their table was gone", was, now)
		}
	}}}},
	{number: 41, about: "port forwards come back on the same ports", checks: []check{{"unless a program has taken one", func(r *rig) {
		r = r.hosting()
		defer r.leave()
		defer r.trust()
		hash := r.connected()
		r.want("plan", r.allot(hash), 200)
		r.forward(hash, map[string]any{"5353": wish(true, true)})
		ssh, both, was := r.number(hash, "22"), r.number(hash, "5353"), r.forwards()
		same := 0
		for _, f := range was {
			if strings.Contains(f, " . "+both+" : ") && strings.HasSuffix(f, " . 5353") {
				same++
			}
		}
		if r.port(hash, "5353") != both+" tcp udp" || same != 2 || len(was) != 3 {
			r.Fatalf("forwards %v", was)
		}
		unchanged := func(step string) {
			r.Helper()
			if now := r.forwards(); !slices.Equal(now, was) {
				r.Errorf("%s: forwards were %v and are %v", step, was, now)
			}
		}
		r.after(nil)
		unchanged("a restart")
		r.after(func() { r.tool("nft", "", append([]string{"delete", "table"}, strings.Fields(r.table())...)...) })
		unchanged("a restart without rules")

		var taken net.Listener
		r.after(func() {
			var err error
			if taken, err = net.Listen("tcp4", "0.0.0.0:"+ssh); err != nil {
				r.Fatal(err)
			}
		})
		another := r.number(hash, "22")
		taken.Close()
		if another == ssh || another == both || another == "" || r.number(hash, "5353") != both {
			r.Fatalf("with port %s taken SSH is on %q, and the other port on %q", ssh, another, r.number(hash, "5353"))
		}
		was = r.forwards()
		if !slices.ContainsFunc(was, func(f string) bool { return strings.HasPrefix(f, "tcp . "+another+" : ") }) || len(was) != 3 {
			r.Errorf("forwards %v", was)
		}
		r.after(nil)
		unchanged("when it is free again")
		if now := r.number(hash, "22"); now != another {
			r.Errorf("the new port %s was not saved: it is %s", another, now)
		}
	}}}},
	{number: 42, about: "packet filter on empty and populated hosts", checks: []check{{"whatever rules there are", func(r *rig) {
		r = r.hosting()
		defer r.leave()
		hash := r.connected()
		for name, rules := range map[string]string{
			"empty": "",
			"populated": `table ip filter { chain INPUT { type filter hook input priority filter; policy accept; tcp dport 9999 drop; }; chain FORWARD { type filter hook forward priority filter; policy accept; }; }
				table ip raw { chain PREROUTING { type filter hook prerouting priority raw; policy accept; }; }
				table ip6 filter { chain FORWARD { type filter hook forward priority filter; policy accept; }; }`,
			"Docker": `table ip nat { chain DOCKER { iifname "docker0" return; }; chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; fib daddr type local jump DOCKER; };
					chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; ip saddr 172.17.0.0/16 oifname != "docker0" masquerade; }; }
				table ip filter { chain DOCKER-USER { return; }; chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER; }; }
				table ip6 filter { chain FORWARD { type filter hook forward priority filter; policy drop; }; }`,
		} {
			r.tool("nft", rules, "-f", "-")
			before := r.tool("nft", "", "list", "ruleset")
			r.want(name, r.allot(hash), 200)
			own := r.tool("nft", "", append([]string{"list", "table"}, strings.Fields(r.table())...)...)
			all := r.tool("nft", "", "list", "ruleset")
			if rest := strings.TrimSpace(strings.Replace(all, own, "", 1)); rest != strings.TrimSpace(before) {
				r.Errorf("%s: other rules were\n%s and are\n%s", name, before, rest)
			}
			for _, chain := range strings.Split(own, "\tchain ")[1:] {
				if strings.Contains(chain, "dnat ip to") && !strings.Contains(chain, "type nat hook") {
					r.Errorf("%s: addresses are changed in %s", name, chain)
				}
			}
			r.want(name+" again", r.bid("POST", "/control/network/recreate", nil), 200)
			if again := r.tool("nft", "", "list", "ruleset"); again != all {
				r.Errorf("%s: rules were\n%s and are\n%s", name, all, again)
			}
			r.leave()
			if left := r.tool("nft", "", "list", "ruleset"); left != before {
				r.Errorf("%s: left of\n%s is\n%s", name, before, left)
			}
			r.tool("nft", "", "flush", "ruleset")
		}
	}}, {"without IPv6 where the host has none", func(r *rig) {
		r = r.hosting()
		defer r.leave()
		const all = "/proc/sys/net/ipv6/conf/all/disable_ipv6"
		ipv6 := func(off string) {
			if err := os.WriteFile(all, []byte(off), 0o644); err != nil {
				r.Fatal(err)
			}
		}
		ipv6("1")
		defer ipv6("0")
		hash := r.connected()
		r.want("plan", r.allot(hash), 200)
		if r.port(hash, "22") == "" || len(r.forwards()) != 1 {
			r.Errorf("forwards %v", r.forwards())
		}
	}}}},
	{number: 49, about: "name servers by family", checks: []check{{"each once, to guests and in the rules", func(r *rig) {
		list := []string{"192.0.2.53", "2001:db8::53", "192.0.2.54", "192.0.2.53", "2001:db8::53"}
		servers := func(c *crn.Config) {
			c.Nameservers = nil
			for _, text := range list {
				c.Nameservers = append(c.Nameservers, netip.MustParseAddr(text))
			}
		}
		r = r.hosting(servers)
		defer r.leave()
		hash := r.connected()
		r.want("plan", r.allot(hash), 200)
		told := func() {
			r.Helper()
			for set, want := range map[string]string{"nameservers4": "192.0.2.53, 192.0.2.54", "nameservers6": "2001:db8::53"} {
				text := r.tool("nft", "", append([]string{"list", "set"}, append(strings.Fields(r.table()), set)...)...)
				got := regexp.MustCompile(`elements = \{ (.*?) \}`).FindStringSubmatch(strings.Join(strings.Fields(text), " "))
				if len(got) != 2 || got[1] != want {
					r.Errorf("%s: %s", set, text)
				}
			}
			seeds, _ := filepath.Glob(filepath.Join(r.node.dir, "instances", "disks", string(hash), "*seed*"))
			if len(seeds) != 1 {
				r.Fatalf("disks with what guests are told: %v", seeds)
			}
			text := r.tool("isoinfo", "", "-R", "-x", "/network-config", "-i", seeds[0])
			if !strings.Contains(text, `"nameservers":{"addresses":["192.0.2.53","2001:db8::53","192.0.2.54"]}`) {
				r.Errorf("guests are told %s", text)
			}
		}
		told()
		r.after(nil, servers)
		r.want("reboot", r.order(owner, hash, "reboot"), 200)
		told()
	}}}},
}

var hostSections = []row{
	{about: "§2.6.2 the network is set anew on the scheduler's order", checks: []check{{"of all instances with one", func(r *rig) {
		const path = "/control/network/recreate"
		r.want("without a token", r.ask(r.node, "POST", path, ""), 401, notTheirs)
		const answer = `{"failed_count":0,"failed_vms":[],"recreated_count":%d,"recreated_vms":[%s],"removed_chains":[],"removed_chains_count":0,"success":true}`
		r.want("without instances", r.bid("POST", path, nil), 200, fmt.Sprintf(answer, 0, ""))
		r = r.hosting()
		defer r.leave()
		hash := r.connected()
		r.want("plan", r.allot(hash, r.idle(nil)), 200)
		r.want("with one", r.bid("POST", path, nil), 200, fmt.Sprintf(answer, 1, fmt.Sprintf("%q", hash)))
		r.core.Answer("/api/v0/aggregates/"+owner.Address()+".json", 500, map[string]any{})
		defer r.trust()
		got := r.bid("POST", path, nil)
		if member(r.object(got), "failed_vms") == nil || member(r.object(got), "failed_count") != 1.0 || got.status != 207 || len(r.forwards()) != 1 {
			r.Errorf("when its owner's wish is not known: %+v, %v", got, r.forwards())
		}
	}}}},
}
