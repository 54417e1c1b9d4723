package crn

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/client/sev/sevtest"
	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/message"
)

// Hosts of tests have neither a secure processor nor graphics cards. These checks are made on a host that is made up: a tree of the
// kernel's files, and crn/testdata/hardware in QEMU's place, with a processor in software. All else, the node, its jail and its
// sockets, is real.

// equipped is the rig with a node on such a host.
type equipped struct {
	*rig
	processor *sevtest.Platform
	change    func(*crn.Config)
}

func (r *rig) equipped() *equipped {
	r.Helper()
	if os.Getuid() != 0 {
		r.Skip("instances need root")
	}
	e := &equipped{processor: sevtest.New(r)}
	prefix := r.TempDir()
	qemu := filepath.Join(prefix, "bin", "qemu-system-x86_64")
	if err := imagetest.BuildGo("./crn/testdata/hardware", qemu); err != nil {
		r.Fatal(err)
	}
	root := r.TempDir()
	for _, d := range []struct{ address, class, id, driver, group string }{
		{"0000:00:02.0", "030000", "8086:9bc5", "i915", "2"}, // the operator's own
		{"0000:01:00.0", "030000", "10de:27b0", "vfio-pci", "7"},
		{"0000:02:00.0", "030000", "10de:27b0", "vfio-pci", "8"},
		{"0000:03:00.0", "030200", "10de:26b9", "vfio-pci", "9"},
		{"0000:03:00.1", "040300", "10de:22ba", "vfio-pci", "9"}, // its sound
		{"0000:04:00.0", "030000", "10de:2684", "vfio-pci", "10"},
		{"0000:05:00.0", "010802", "144d:a80a", "nvme", "10"}, // which shares a group with the card before
		{"0000:06:00.0", "030000", "1234:1111", "vfio-pci", "11"},
	} {
		folder := filepath.Join(root, "sys/bus/pci/devices", d.address)
		vendor, number, _ := strings.Cut(d.id, ":")
		for name, content := range map[string]string{"class": "0x" + d.class, "vendor": "0x" + vendor, "device": "0x" + number} {
			r.place(filepath.Join(folder, name), content+"\n")
		}
		r.link("../../drivers/"+d.driver, filepath.Join(folder, "driver"))
		r.link("../../../kernel/iommu_groups/"+d.group, filepath.Join(folder, "iommu_group"))
		r.link(os.DevNull, filepath.Join(root, "dev/vfio", d.group))
	}
	for _, device := range []string{"dev/kvm", "dev/sev", "dev/vfio/vfio"} {
		r.link(os.DevNull, filepath.Join(root, device))
	}
	r.place(filepath.Join(prefix, "share/qemu/platform.json"), string(e.processor.Marshal(r)))
	data := r.TempDir()
	e.change = func(c *crn.Config) {
		c.DataDir, c.QEMU, c.HostRoot, c.Accelerator, c.SkipDomainCheck = data, qemu, root, "kvm", true
		c.InstanceMemoryMiB, c.InstanceStopTimeout, c.NodeHash = 700, time.Second, string(ownHash)
	}
	h := *r
	h.node = r.start(e.change)
	e.rig = &h
	return e
}

func (r *rig) place(path, content string) {
	r.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) link(to, path string) {
	r.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.Fatal(err)
	}
	if err := os.Symlink(to, path); err != nil && !os.IsExist(err) {
		r.Fatal(err)
	}
}

// again is the next node on the same folder.
func (e *equipped) again() {
	e.Helper()
	e.node.end()
	e.until("the node has ended", e.node.ended)
	e.node = e.start(e.change)
}

// list is an instance's entry in one of the lists; nil when it has none.
func (e *equipped) list(path string, hash message.Hash) any {
	e.Helper()
	return member(e.object(e.get(path)), string(hash))
}

const (
	firstList  = "/about/executions/list"
	secondList = "/v2/about/executions/list"
)

// state is what the second list says of an instance: awaits, runs, or neither.
func (e *equipped) state(hash message.Hash) string {
	e.Helper()
	entry := e.list(secondList, hash)
	return fmt.Sprintf("running:%v, awaiting:%v", member(entry, "running"), member(entry, "awaiting_confidential_init"))
}

const (
	awaits  = "running:false, awaiting:true"
	runs    = "running:true, awaiting:false"
	neither = "running:false, awaiting:false"
)

func (e *equipped) wantState(when string, hash message.Hash, want string) {
	e.Helper()
	if got := e.state(hash); got != want {
		e.Errorf("%s: %s, want %s", when, got, want)
	}
}

// printed waits for a line on an instance's console and returns what follows the given words in it.
func (e *equipped) printed(hash message.Hash, words string) (rest string) {
	e.Helper()
	e.until("it prints "+words, func() bool {
		var lines []struct{ Message string }
		if got := e.operation(owner, "GET", machine(hash, "logs"), ""); got.status != 200 || json.Unmarshal([]byte(got.body), &lines) != nil {
			return false
		}
		for _, line := range lines {
			if after, ok := strings.CutPrefix(line.Message, words); ok {
				rest = after
			}
		}
		return rest != ""
	})
	return rest
}

// cards asks for graphics cards.
func cards(ids ...string) func(map[string]any) {
	return func(content map[string]any) {
		var list []any
		for _, id := range ids {
			list = append(list, map[string]any{"vendor": "NVIDIA", "device_name": "a card", "device_class": "0300", "device_id": id})
		}
		content["requirements"] = map[string]any{"node": map[string]any{"node_hash": ownHash}, "gpu": list}
	}
}

// free are the places of cards that nobody has.
func (e *equipped) free() (places []string) {
	e.Helper()
	list, _ := member(e.object(e.get("/about/usage/system")), "gpu", "available_devices").([]any)
	for _, card := range list {
		places = append(places, fmt.Sprint(member(card, "pci_host")))
	}
	return places
}

var cardRows = []row{
	{number: 29, about: "cards are reserved for a minute", checks: []check{{"for one user, and given to its instance", func(r *rig) {
		e := r.equipped()
		var content map[string]any
		ours := e.idle(func(c map[string]any) { cards("10de:27b0", "10de:27b0")(c); content = c })
		reserve := func(w wallet, c map[string]any) reply {
			raw, err := json.Marshal(c)
			if err != nil {
				e.Fatal(err)
			}
			return e.operation(w, "POST", "/control/reserve_resources", string(raw))
		}
		expires := func(got reply) string {
			e.Helper()
			at, _ := e.object(got)["expires"].(string)
			if got.status != 200 || e.object(got)["status"] != "reserved" || !pythonTime.MatchString(at) {
				e.Errorf("reserve: %d %s", got.status, got.body)
			}
			return at
		}
		first := expires(reserve(owner, content))
		if second := expires(reserve(owner, content)); second <= first {
			e.Errorf("until %s, and again until %s", first, second)
		}
		if got := e.free(); len(got) != 1 || got[0] != "03:00.0" {
			e.Errorf("free are %v", got)
		}
		theirs := maps.Clone(content)
		theirs["address"] = stranger.Address()
		got := reserve(stranger, theirs)
		if got.status != 400 || e.object(got)["status"] != "error" || e.object(got)["error"] != "Failed to reserves all resources" {
			e.Errorf("by another: %d %s", got.status, got.body)
		}
		other := e.idle(func(c map[string]any) { cards("10de:27b0")(c); c["address"] = stranger.Address() })
		if got := e.allot(other); got.status != 503 || !strings.Contains(got.body, "no graphics card 10de:27b0 is free") {
			e.Errorf("another's instance: %d %s", got.status, got.body)
		}
		defer e.order(owner, ours, "erase")
		e.want("the owner's instance", e.allot(ours), 200)
		if got := reserve(owner, content); got.status != 400 {
			e.Errorf("cards that are in use: %d %s", got.status, got.body)
		}
		e.want("without cards it is a question", reserve(stranger, func() map[string]any { delete(theirs, "requirements"); return theirs }()), 200)
	}}}},
	{number: 54, about: "graphics cards on the bus", checks: []check{{"are given whole, and come back", func(r *rig) {
		e := r.equipped()
		e.settings(settingsAddress, map[string]any{"compatible_gpus": []any{
			map[string]any{"vendor": "NVIDIA", "model": "L40S", "name": "AD102GL [L40S]", "device_id": "10de:26b9"},
		}})
		defer e.settings(settingsAddress, map[string]any{"community_wallet_address": communityAddress, "community_wallet_timestamp": 1})
		const known = `{"vendor":"NVIDIA","model":"L40S","device_name":"AD102GL [L40S]","device_class":"0302","pci_host":"03:00.0","device_id":"10de:26b9","compatible":true}`
		const unknown = `{"vendor":"NVIDIA","model":"10de:27b0","device_name":"10de:27b0","device_class":"0300","pci_host":"01:00.0","device_id":"10de:27b0","compatible":false}`
		e.until("cards have the names of the settings", func() bool {
			got := e.get("/about/usage/system").body
			return strings.Contains(got, known) && strings.Contains(got, unknown)
		})
		if got := member(e.object(e.get("/status/config")), "computing", "ENABLE_GPU_SUPPORT"); got != true {
			e.Errorf("support is %v", got)
		}
		// Neither the operator's own, nor one that shares its group, nor one of an unknown vendor.
		if got := fmt.Sprint(e.free()); got != "[01:00.0 02:00.0 03:00.0]" {
			e.Errorf("free are %v", got)
		}
		first, second := e.idle(cards("10de:26b9", "10de:27b0")), e.idle(cards("10de:27b0"))
		third, none := e.idle(cards("10de:27b0")), e.idle(cards("10de:2684"))
		for _, hash := range []message.Hash{first, second, third, none} {
			defer e.order(owner, hash, "erase")
		}
		e.want("an instance", e.allot(first), 200)
		e.want("another", e.allot(first, second), 200) // alone, so that it is known which cards are left for it
		if got := e.allot(first, second, third, none); got.status != 207 || !strings.Contains(got.body, "no graphics card 10de:27b0 is free") || !strings.Contains(got.body, "a GPU 10de:2684 is") {
			e.Errorf("two more: %d %s", got.status, got.body)
		}
		device := regexp.MustCompile(`vfio-pci,\S*`)
		for hash, want := range map[message.Hash]string{
			first:  "vfio-pci,host=03:00.0,rombar=0 vfio-pci,host=01:00.0,rombar=0,x-vga=on",
			second: "vfio-pci,host=02:00.0,rombar=0,x-vga=on",
		} {
			line := e.printed(hash, "arguments: ")
			if got := strings.Join(device.FindAllString(line, -1), " "); got != want || !strings.Contains(line, "-machine q35,") || strings.Contains(line, "balloon") {
				e.Errorf("got %s in %s", got, line)
			}
		}
		e.want("a plan without them", e.allot(), 200)
		e.again()
		e.wantState("after all that", first, runs)
		if got := e.free(); len(got) != 0 {
			e.Errorf("with the next node, free are %v", got)
		}
		e.want("stop", e.order(owner, first, "stop"), 200)
		if got := fmt.Sprint(e.free()); got != "[01:00.0 03:00.0]" {
			e.Errorf("free are %v", got)
		}
		e.want("who waited", e.allot(third), 200)
		e.want("there is none left", e.order(owner, first, "start"), 503)
	}}}},
}
