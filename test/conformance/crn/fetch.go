package crn

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/message"
)

const (
	messagesPath = "/api/v0/messages.json"
	filesPath    = "/api/v0/storage/raw/"
)

// archive is the code of the probe with a file beside it that tells its version.
func (r *rig) archive(version string) []byte {
	r.Helper()
	raw, err := os.ReadFile(filepath.Join(guestDir(), "probe"))
	if err != nil {
		r.Fatal(err)
	}
	return imagetest.Zip(r, map[string]string{"bin/probe": string(raw), "version": version})
}

// versioned publishes a program of that code which follows its versions, and returns the STORE message of the first one.
func (r *rig) versioned() (program, code message.Hash) {
	r.Helper()
	code = r.core.Store(r.archive("first"))
	content := corenodetest.Program(code, r.runtime, message.EncodingZip, "bin/probe")
	content["code"].(map[string]any)["use_latest"] = true
	return r.core.Publish(message.TypeProgram, content), code
}

// These rows are about what the node fetches, and about where it says that it is.
var fetchRows = []row{
	{number: 46, about: "the latest version of a file is its owner's", checks: []check{{"whoever signs for the owner, and nobody else's", func(r *rig) {
		program, code := r.versioned()
		version := func() string {
			r.Helper()
			got := r.get("/vm/" + string(program) + "/file?path=/opt/code/version")
			r.want("stop", r.order(owner, program, "stop"), 200)
			return got.body
		}
		amend := func(sender, address, version string) {
			r.core.PublishAs(sender, message.TypeStore, map[string]any{
				"address": address, "item_type": "storage", "item_hash": r.core.AddFile(r.archive(version)), "ref": code,
			})
		}
		amend("", stranger.Address(), "stolen")
		if got := version(); got != "first" {
			r.Errorf("after a stranger's amend it runs %q", got)
		}
		amend(stranger.Address(), owner.Address(), "second")
		if got := version(); got != "second" {
			r.Errorf("after one in the owner's name it runs %q", got)
		}
	}}}},
	{number: 47, about: "downloads are tried again", checks: []check{{"three times, and then no more", func(r *rig) {
		fetched := func(refusals int) (got reply, requests int) {
			r.Helper()
			file := r.core.AddFile(r.archive(time.Now().String()))
			code := r.core.Publish(message.TypeStore, map[string]any{"item_type": "storage", "item_hash": file})
			program := r.core.Publish(message.TypeProgram, corenodetest.Program(code, r.runtime, message.EncodingZip, "bin/probe"))
			r.core.Refuse(filesPath+string(file), refusals, 504)
			got = r.get("/vm/" + string(program) + "/count")
			_ = r.order(owner, program, "stop") // unless it does not run
			return got, r.core.Requests(filesPath + string(file))
		}
		if got, requests := fetched(2); got.status != 200 || requests != 3 {
			r.Errorf("refused twice: %+v after %d requests", got, requests)
		}
		if got, requests := fetched(100); got.status != 503 || requests != 3 || !strings.Contains(got.body, "504") {
			r.Errorf("refused always: %+v after %d requests", got, requests)
		}
	}}}},
	{number: 50, about: "host_ipv4 is the global address", checks: []check{{"or else the first", func(r *rig) {
		addresses, err := net.InterfaceAddrs()
		if err != nil {
			r.Fatal(err)
		}
		want := ""
		for _, a := range addresses {
			prefix, err := netip.ParsePrefix(a.String())
			if err != nil || !prefix.Addr().Is4() || prefix.Addr().IsLoopback() {
				continue
			}
			if want == "" || netip.MustParseAddr(want).IsPrivate() && !prefix.Addr().IsPrivate() {
				want = prefix.Addr().String()
			}
		}
		if want == "" {
			r.Skip("this host has no address")
		}
		n := r.start(func(c *crn.Config) { c.HostIPv4 = "" })
		defer n.end()
		r.want("call", r.ask(n, "GET", "/vm/"+string(r.diagnostic)+"/", ""), 200)
		list := r.object(r.ask(n, "GET", "/v2/about/executions/list", ""))
		if got := member(list, string(r.diagnostic), "networking", "host_ipv4"); got != want {
			r.Errorf("told %v, want %s of %v", got, want, addresses)
		}
	}}, {"of the interface that its operator names", func(r *rig) {
		for name, want := range map[string]string{"absent0": "absent0", "lo": "no IPv4 address"} {
			r.refuses(func(c *crn.Config) { c.HostIPv4, c.NetworkInterface = "", name }, want)
		}
	}}}},
	{number: 51, about: "answers of 429 are waited for", checks: []check{{"as long as they say, twice", func(r *rig) {
		absent := message.HashBytes([]byte("absent"))
		busy := func(times int, header ...string) (took time.Duration, requests int) {
			r.Helper()
			before := r.core.Requests(messagesPath)
			r.core.Refuse(messagesPath, times, 429, header...)
			defer r.core.Refuse(messagesPath, 0, 0)
			begin := time.Now()
			got := r.ask(r.node, "GET", "/vm/"+string(absent)+"/", "")
			if want := 404; times < 3 && got.status != want || times >= 3 && got.status != 503 {
				r.Errorf("refused %d times: %+v", times, got)
			}
			return time.Since(begin), r.core.Requests(messagesPath) - before
		}
		for name, test := range map[string]struct {
			header   []string
			from, to time.Duration
		}{
			"milliseconds":        {[]string{"X-Retry-In", "250ms"}, 500 * time.Millisecond, 20 * time.Second},
			"seconds":             {[]string{"X-Retry-In", "1s"}, 2 * time.Second, 20 * time.Second},
			"no unit":             {[]string{"X-Retry-In", "0.3"}, 600 * time.Millisecond, 20 * time.Second},
			"Retry-After":         {[]string{"Retry-After", "1"}, 2 * time.Second, 20 * time.Second},
			"the first of both":   {[]string{"X-Retry-In", "10ms", "Retry-After", "60"}, 20 * time.Millisecond, 20 * time.Second},
			"neither":             {nil, 2 * time.Second, 20 * time.Second},
			"nonsense, then that": {[]string{"X-Retry-In", "soon", "Retry-After", "0"}, 0, 20 * time.Second},
		} {
			took, requests := busy(2, test.header...)
			if took < test.from || took > test.to || requests != 3 {
				r.Errorf("%s: %d requests took %v", name, requests, took)
			}
		}
		if _, requests := busy(100, "X-Retry-In", "1ms"); requests != 3 {
			r.Errorf("refused always: %d requests", requests)
		}
	}}}},
}
