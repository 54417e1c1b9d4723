package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aleph-im/aleph-go/client/sev"
	"github.com/aleph-im/aleph-go/client/sev/sevtest"
	"github.com/aleph-im/aleph-go/message"
)

// securePlatform is a compute node with a secure processor, which may be up to something.
type securePlatform struct {
	*sevtest.Platform
	firmware string // that it loads
	policy   uint32 // with which it loads
	guest    *sevtest.Guest
	loads    int
}

// runsConfidential answers as a compute node does whose machines load in no time. What the processor refuses never runs.
func (n *fakeNode) runsConfidential(mux *http.ServeMux) {
	const at = "/control/machine/{hash}/confidential/"
	mux.HandleFunc("POST /control/allocation/notify", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"success":true,"successful":true,"failing":[],"errors":{}}`)
	})
	mux.HandleFunc("GET /about/certificates", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(n.secure.Certificates())
	})
	mux.HandleFunc("POST "+at+"initialize", func(w http.ResponseWriter, r *http.Request) {
		if n.secure.guest != nil {
			http.Error(w, `{"code":"vm_running","description":"Operation not allowed, instance already running"}`, http.StatusBadRequest)
			return
		}
		var parts [2][]byte
		for i, name := range []string{"session", "godh"} {
			file, _, err := r.FormFile(name)
			if err != nil {
				http.Error(w, `{"code":"field_missing"}`, http.StatusBadRequest)
				return
			}
			parts[i], _ = io.ReadAll(base64.NewDecoder(base64.StdEncoding, file))
		}
		n.secure.loads++
		n.secure.guest, _ = n.secure.Launch(n.secure.policy, parts[1], parts[0], []byte(n.secure.firmware))
		fmt.Fprintf(w, "Started VM with ref %s", r.PathValue("hash"))
	})
	mux.HandleFunc("GET "+at+"measurement", func(w http.ResponseWriter, _ *http.Request) {
		if n.secure.guest == nil {
			http.Error(w, `{"error":"Operation not running"}`, http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `{"sev_info":{"enabled":true,"api_major":%d,"api_minor":%d,"build_id":%d,"policy":%d,"state":"launch-secret","handle":1},"launch_measure":%q}`,
			sevtest.Major, sevtest.Minor, sevtest.Build, n.secure.policy, base64.StdEncoding.EncodeToString(n.secure.guest.Measure()))
	})
	mux.HandleFunc("POST "+at+"inject_secret", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Header []byte `json:"packet_header"`
			Secret []byte `json:"secret"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || n.secure.guest.Inject(body.Header, body.Secret) != nil {
			http.Error(w, `{"error":"refused"}`, http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, `{"status":{"status":"running","running":true,"singlestep":false}}`)
	})
}

// confidential is a user with a confidential instance that is published and not loaded, and with the files that the commands name.
type confidential struct {
	*user
	node                    *fakeNode
	hash                    string
	roots, firmware, secret string
}

func newConfidential(t *testing.T, flags ...string) *confidential {
	t.Helper()
	node := newFakeNode(t)
	node.secure = &securePlatform{Platform: sevtest.New(t), firmware: "OVMF", policy: uint32(sev.NoDebug)}
	c := &confidential{user: newUser(t, node.URL), node: node}
	image, key := instanceFiles(t)
	folder := t.TempDir()
	for path, content := range map[*string]string{&c.roots: string(node.secure.Authority()), &c.firmware: "OVMF", &c.secret: "correct horse\n"} {
		*path = filepath.Join(folder, fmt.Sprint(len(content)))
		if err := os.WriteFile(*path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var v machineView
	c.result(&v, append([]string{"instance", "create", "--confidential", "--node", "secure", "--image", image, "--ssh-key", key}, flags...)...)
	c.hash = string(v.ItemHash)
	return c
}

// step runs one command of the two.
func (c *confidential) step(args ...string) (code int, out, errOut string) {
	c.t.Helper()
	return c.run(append([]string{"--no-input", "-o", "json", "instance", "confidential", args[0], c.hash, "--amd-roots", c.roots}, args[1:]...)...)
}

func (c *confidential) kept() string {
	return filepath.Join(c.env["ALEPH_CONFIG_HOME"], "confidential", c.hash+".json")
}

func TestAConfidentialInstanceIsPublishedForItsNode(t *testing.T) {
	c := newConfidential(t, "--policy", "3", "--firmware", exampleStore)
	content, err := message.ParseContent(message.TypeInstance, []byte(c.node.messages[message.Hash(c.hash)].ItemContent))
	if err != nil {
		t.Fatal(err)
	}
	i := content.(*message.Instance)
	if e := i.Environment.TrustedExecution; e == nil || e.Policy != 3 || *e.Firmware != exampleStore {
		t.Errorf("it asks for %+v", e)
	}
	if i.Requirements == nil || *i.Requirements.Node.NodeHash != exampleCompute {
		t.Errorf("it requires %+v", i.Requirements)
	}
	var v machineView
	if c.result(&v, "instance", "create", "--resume", c.hash); v.Running || v.CRN != "crn-1" {
		t.Errorf("it is found as %+v", v)
	}
	image, key := instanceFiles(t)
	for _, args := range [][]string{{"--confidential"}, {"--confidential", "--node", "nobody"}, {"--confidential", "--node", "secure", "--firmware", "x"}, {"--firmware", exampleStore}} {
		if code, _, errOut := c.run(append([]string{"instance", "create", "--image", image, "--ssh-key", key, "--yes"}, args...)...); code != exitUsage {
			t.Errorf("%q: exit code %d: %s", args, code, errOut)
		}
	}
}

func TestAConfidentialInstanceIsLoadedCheckedAndGivenItsPassphrase(t *testing.T) {
	c := newConfidential(t)
	for range 2 { // it can be started again after it was stopped
		code, out, errOut := c.step("start", "--firmware", c.firmware, "--secret-file", c.secret)
		var v confidentialView
		if err := json.Unmarshal([]byte(out), &v); code != 0 || err != nil || !v.Running || v.AMD != filepath.Base(c.roots) || string(v.ItemHash) != c.hash {
			t.Fatalf("exit code %d: %s%s", code, out, errOut)
		}
		if got := c.node.secure.guest.Passphrase(); got != "correct horse" {
			t.Errorf("the machine has %q", got)
		}
		if _, err := os.Stat(c.kept()); !os.IsNotExist(err) {
			t.Errorf("the keys are still there: %v", err)
		}
		c.node.secure.guest = nil
	}
}

func TestASessionIsGoneOnWith(t *testing.T) {
	c := newConfidential(t)
	if code, out, errOut := c.step("init"); code != 0 || !strings.Contains(out, `"running": false`) {
		t.Fatalf("exit code %d: %s%s", code, out, errOut)
	}
	info, err := os.Stat(c.kept())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the keys are kept as %v, %v", info, err)
	}
	before, err := os.ReadFile(c.kept())
	if err != nil {
		t.Fatal(err)
	}
	if code, out, errOut := c.step("init"); code == 0 || !strings.Contains(errOut, "already running") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	if after, err := os.ReadFile(c.kept()); err != nil || string(after) != string(before) {
		t.Errorf("a session that the node refused took the place of the one before: %v", err)
	}
	c.in = "correct horse\r\n"
	if code, out, errOut := c.step("start", "--firmware", c.firmware, "--secret-file", "-"); code != 0 || c.node.secure.loads != 1 {
		t.Errorf("exit code %d, loaded %d times: %s%s", code, c.node.secure.loads, out, errOut)
	}
	if got := c.node.secure.guest.Passphrase(); got != "correct horse" {
		t.Errorf("the machine has %q", got)
	}
}

func TestANodeThatIsNotToBeTrustedGetsNoSecret(t *testing.T) {
	const usual = "89b76b0e64fe9015084fbffdf8ac98185bafc688bfe7a0b398585c392d03c7ee"
	for name, try := range map[string]struct {
		change func(c *confidential)
		args   []string
		code   int
		want   string
	}{
		"other firmware": {func(c *confidential) { c.node.secure.firmware = "evil" }, nil, exitFailed, "no secret was sent. The node may have loaded another firmware"},
		"not the digest": {func(*confidential) {}, []string{"--firmware-hash", usual}, exitFailed, "no secret was sent"},
		"other policy":   {func(c *confidential) { c.node.secure.policy = 0 }, []string{"--timeout", "1s"}, exitPending, "not loaded"},
		"no processor of AMD": {func(c *confidential) {
			c.node.secure.Platform = sevtest.New(c.t)
		}, nil, exitFailed, "no key of AMD"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newConfidential(t)
			try.change(c)
			args := append([]string{"start", "--secret-file", c.secret}, try.args...)
			if !strings.Contains(strings.Join(try.args, " "), "--firmware-hash") {
				args = append(args, "--firmware", c.firmware)
			}
			code, out, errOut := c.step(args...)
			if code != try.code || !strings.Contains(errOut, try.want) {
				t.Errorf("exit code %d: %s%s", code, out, errOut)
			}
			if g := c.node.secure.guest; g != nil && g.Passphrase() != "" {
				t.Error("it got the secret")
			}
		})
	}
}

func TestWhatIsToBeMeasuredIsToldBeforeAnythingIsSent(t *testing.T) {
	encrypted, own := newConfidential(t, "--policy", "5"), newConfidential(t, "--firmware", exampleStore)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, try := range []struct {
		c    *confidential
		args []string
		want string
	}{
		{encrypted, []string{"--secret-file", encrypted.secret, "--firmware", encrypted.firmware}, "SEV-ES"},
		{own, []string{"--secret-file", own.secret}, "firmware of its own"},
		{own, []string{"--secret-file", own.secret, "--firmware-hash", "12"}, "64 hex digits"},
		{own, []string{"--secret-file", own.secret, "--firmware", empty + "x"}, "--firmware"},
		{own, []string{"--secret-file", empty, "--firmware", own.firmware}, "1 to"},
		{own, []string{"--firmware", own.firmware}, "--secret-file"},
	} {
		code, _, errOut := try.c.step(append([]string{"start"}, try.args...)...)
		if code != exitUsage || !strings.Contains(errOut, try.want) || try.c.node.secure.loads > 0 {
			t.Errorf("%q: exit code %d: %s", try.args, code, errOut)
		}
	}
	image, key := instanceFiles(t)
	var plain machineView
	own.result(&plain, "instance", "create", "--image", image, "--ssh-key", key, "--wait=false")
	own.hash = string(plain.ItemHash)
	if code, _, errOut := own.step("init"); code != exitUsage || !strings.Contains(errOut, "not confidential") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}
