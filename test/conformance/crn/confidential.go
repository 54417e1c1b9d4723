package crn

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/sev"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

const firmware = "what the machine boots"

// secret publishes a confidential instance.
func (e *equipped) secret(policy int) message.Hash {
	e.Helper()
	return e.idle(func(content map[string]any) {
		content["environment"].(map[string]any)["trusted_execution"] = map[string]any{"firmware": e.core.Store([]byte(firmware)), "policy": policy}
	})
}

// initialize sends the parts of a form.
func (e *equipped) initialize(w wallet, hash message.Hash, parts map[string]string) reply {
	e.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for name, content := range parts {
		part, err := form.CreateFormFile(name, "vm_"+name+".b64")
		if err == nil {
			_, err = part.Write([]byte(content))
		}
		if err != nil {
			e.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		e.Fatal(err)
	}
	return e.operation(w, "POST", machine(hash, "confidential/initialize"), body.String(), "Content-Type", form.FormDataContentType())
}

// session makes keys for a start, as a client does from what the node says of its processor.
func (e *equipped) session(policy sev.Policy) *sev.Session {
	e.Helper()
	chain, err := sev.ParseChain([]byte(e.get("/about/certificates").body))
	if err != nil {
		e.Fatal(err)
	}
	authority, err := sev.ParseAuthority("ours", e.processor.Authority())
	if err != nil {
		e.Fatal(err)
	}
	if _, err := chain.Verify([]*sev.Authority{authority}); err != nil {
		e.Fatal(err)
	}
	s, err := sev.NewSession(chain, policy)
	if err != nil {
		e.Fatal(err)
	}
	return s
}

func form(s *sev.Session) map[string]string {
	return map[string]string{"session": base64.StdEncoding.EncodeToString(s.Launch), "godh": base64.StdEncoding.EncodeToString(s.Owner)}
}

const notConfidential = `{"code":"not_confidential","description":"Instance is not a confidential instance"}`

var confidentialRows = []row{
	{number: 16, about: "confidential initialize", checks: []check{{"loads the machine once", func(r *rig) {
		e := r.equipped()
		hash, plain := e.secret(1), e.idle(nil)
		defer e.order(owner, hash, "erase")
		defer e.allot()
		e.want("plan", e.allot(hash, plain), 200)
		s := e.session(sev.NoDebug)
		e.want("by a stranger", e.initialize(stranger, hash, form(s)), 403, notAllowed)
		e.want("what runs", e.initialize(owner, plain, form(s)), 400, `{"code":"vm_running","description":"Operation not allowed, instance already running"}`)
		e.want("stop", e.order(owner, plain, "stop"), 200)
		e.want("what is not confidential", e.initialize(owner, plain, form(s)), 400, notConfidential)
		e.want("no session", e.initialize(owner, hash, map[string]string{"godh": "x"}), 400, `{"code":"field_missing","description":"Session field is missing"}`)
		e.want("no certificate", e.initialize(owner, hash, map[string]string{"session": "x"}), 400,
			`{"code":"field_missing","description":"godh field is missing. Please provide a GODH file"}`)
		got := e.initialize(owner, hash, form(e.session(sev.NoDebug|sev.EncryptedState)))
		if got.status != 500 || !strings.Contains(got.body, "policy") {
			e.Errorf("a session for another policy: %+v", got)
		}
		e.wantState("after what the processor refused", hash, awaits)
		e.want("a session", e.initialize(owner, hash, form(s)), 200, "Started VM with ref "+string(hash))
		for name, want := range map[string]string{"vm_session.b64": form(s)["session"], "vm_godh.b64": form(s)["godh"]} {
			if raw, err := os.ReadFile(filepath.Join(e.node.dir, "instances", "disks", string(hash), name)); err != nil || string(raw) != want {
				e.Errorf("%s: %q, %v", name, raw, err)
			}
		}
		e.want("once more", e.initialize(owner, hash, form(s)), 400, `{"code":"vm_running","description":"Operation not allowed, instance already running"}`)
		line := e.printed(hash, "arguments: ")
		for _, want := range []string{
			"-machine q35,usb=off,hpet=off,confidential-guest-support=sev0 ", " -S -no-reboot ", " -cpu host,host-phys-bits-limit=0x28 ", ",policy=0x1,cbitpos=51,reduced-phys-bits=1,",
			" -drive if=pflash,format=raw,unit=0,readonly=on,file=",
		} {
			if !strings.Contains(line, want) {
				e.Errorf("%q is missing: %s", want, line)
			}
		}
	}}}},
	{number: 17, about: "a confidential machine awaits its owner", checks: []check{{"whatever else happens", func(r *rig) {
		e := r.equipped()
		hash := e.secret(3)
		defer e.order(owner, hash, "erase")
		e.want("plan", e.allot(hash), 200)
		e.wantState("allocated", hash, awaits)
		root := filepath.Join(e.node.dir, "instances", "disks", string(hash), "rootfs.qcow2")
		first, err := os.Stat(root)
		if err != nil {
			e.Fatal(err)
		}
		e.want("the plan again", e.allot(hash), 200)
		e.want("a plan without it", e.allot(), 200)
		e.wantState("allocated again", hash, awaits)
		e.again()
		e.until("it waits with the next node", func() bool { return e.state(hash) == awaits })
		if second, err := os.Stat(root); err != nil || !os.SameFile(first, second) {
			e.Errorf("its disk was made anew: %v", err)
		}
		e.want("measurement", e.operation(owner, "GET", machine(hash, "confidential/measurement"), ""), 403, `{"error":"Operation not running"}`)
		e.want("it does not move", e.bid("POST", machine(hash, "migration/export"), nil), 400, `{"error":"Migration is not supported for confidential VMs"}`)

		// What a client does to start it.
		account, err := ethereum.NewAccount(owner.secret)
		if err != nil {
			e.Fatal(err)
		}
		c := client.New(client.Config{BaseURL: e.core.URL})
		s := e.session(3)
		if err := c.InitializeConfidential(e.Context(), account, e.node.url, hash, form(s)["session"], form(s)["godh"]); err != nil {
			e.Fatal(err)
		}
		e.wantState("loaded", hash, runs)
		e.want("the plan once more", e.allot(hash), 200)
		e.again() // the machine goes on without its node
		e.wantState("with the next node", hash, runs)
		m, err := c.MeasureConfidential(e.Context(), account, e.node.url, hash)
		if err != nil {
			e.Fatal(err)
		}
		if m.SEV.State != "launch-secret" || m.SEV.Policy != 3 {
			e.Errorf("QEMU says %+v", m.SEV)
		}
		measured, err := s.Check(sev.Build{Major: m.SEV.Major, Minor: m.SEV.Minor, Build: m.SEV.Build}, sha256.Sum256([]byte(firmware)), m.Answer)
		if err != nil {
			e.Fatal(err)
		}
		header, packet, err := measured.Seal([]byte("correct horse"))
		if err != nil {
			e.Fatal(err)
		}
		if _, err := c.InjectSecret(e.Context(), account, e.node.url, hash, header, append([]byte{1}, packet[1:]...)); err == nil {
			e.Error("the processor took a packet that was changed on its way")
		}
		if running, err := c.InjectSecret(e.Context(), account, e.node.url, hash, header, packet); err != nil || !running {
			e.Errorf("the secret: %v, %v", running, err)
		}
		if got := e.printed(hash, "passphrase: "); got != "correct horse" {
			e.Errorf("the guest found %q", got)
		}
		e.want("reboot", e.order(owner, hash, "reboot"), 200)
		e.wantState("after a reboot", hash, awaits)
		e.want("stop", e.order(owner, hash, "stop"), 200, "Already stopped, nothing to do")
		e.wantState("stopped", hash, neither)
		e.want("start", e.order(owner, hash, "start"), 200)
		e.wantState("started by its owner", hash, awaits)
	}}, {"and is started by one command", func(r *rig) {
		e := r.equipped()
		keeper := number(5)
		var content map[string]any
		hash := e.idle(func(c map[string]any) {
			c["address"] = keeper.Address()
			c["requirements"] = map[string]any{"node": map[string]any{"node_hash": ownHash}}
			c["environment"].(map[string]any)["trusted_execution"] = map[string]any{"firmware": e.core.Store([]byte(firmware)), "policy": 1}
			content = c
		})
		defer e.order(keeper, hash, "erase")
		e.register(registered(ownHash, crnOwner(), e.node.url))
		defer e.register(registered(ownHash, crnOwner(), publicURL))
		raw, err := json.Marshal(content)
		if err != nil {
			e.Fatal(err)
		}
		e.core.Answer(statusAnswers+string(hash), 200, map[string]any{"status": statusOK, "item_hash": hash, "message": map[string]any{
			"sender": keeper.Address(), "chain": "ETH", "type": "INSTANCE", "item_type": "inline", "item_content": string(raw), "item_hash": hash,
			"time": content["time"], "channel": "TEST", "content": content, "signature": keeper.sign([]byte("ETH\n" + keeper.Address() + "\nINSTANCE\n" + string(hash))),
		}})
		e.core.Answer(priceAnswers+string(hash), 200, map[string]any{"cost": "2000", "payment_type": "hold"})
		e.core.Answer("/api/v0/addresses/"+keeper.Address()+"/balance", 200, map[string]any{"balance": 3000, "credit_balance": 0})

		parameters := fmt.Sprintf(`{"profile":"devnet","corechannel":{"addresses":[%q]}}`, registryAddress)
		dir := e.TempDir()
		file := func(name string, content []byte) string {
			e.place(filepath.Join(dir, name), string(content))
			return filepath.Join(dir, name)
		}
		ctx, cancel := context.WithTimeout(e.Context(), time.Minute)
		defer cancel()
		tool := exec.CommandContext(ctx, filepath.Join(imagetest.Root(), "build", "aleph"), "--no-input", "-o", "json", "--api", e.core.URL,
			"--network", file("network.json", []byte(parameters)), "instance", "confidential", "start", string(hash), "--amd-roots", file("roots", e.processor.Authority()),
			"--firmware", file("firmware", []byte(firmware)), "--secret-file", file("secret", []byte("battery staple\n")))
		tool.Env = []string{"ALEPH_CONFIG_HOME=" + dir, "ALEPH_PRIVATE_KEY=" + hex.EncodeToString(keeper.secret)}
		out, err := tool.CombinedOutput()
		if err != nil || !strings.Contains(string(out), `"running": true`) {
			e.Fatalf("%v; make build builds it: %s", err, out)
		}
		var lines []struct{ Message string }
		e.until("the guest has its passphrase", func() bool {
			got := e.operation(keeper, "GET", machine(hash, "logs"), "")
			return json.Unmarshal([]byte(got.body), &lines) == nil && len(lines) > 0 && lines[len(lines)-1].Message == "passphrase: battery staple"
		})
	}}}},
	{number: 18, about: "lists show what awaits its owner", checks: []check{{"and only once it is ready", func(r *rig) {
		e := r.equipped()
		hash := e.secret(1)
		defer e.order(owner, hash, "erase")
		if e.list(firstList, hash) != nil || e.list(secondList, hash) != nil {
			e.Error("it is listed before it is here")
		}
		e.want("plan", e.allot(hash), 200)
		e.wantState("second list", hash, awaits)
		entry := e.list(firstList, hash)
		if member(entry, "awaiting_confidential_init") != true || member(entry, "vm_type") != "instance" || member(entry, "networking", "ipv4") == nil {
			e.Errorf("first list: %v", entry)
		}
		e.want("stop", e.order(owner, hash, "stop"), 200)
		if got := e.list(firstList, hash); got != nil {
			e.Errorf("first list when it is stopped: %v", got)
		}
	}}}},
}

var confidentialSections = []row{
	{about: "§2.9 a node without a secure processor says so", checks: []check{{"for each step", func(r *rig) {
		r = r.hosting()
		defer r.allot()
		hash := r.idle(nil)
		r.want("plan", r.allot(hash), 200)
		measure := func(w wallet) reply { return r.operation(w, "GET", machine(hash, "confidential/measurement"), "") }
		r.want("initialize", r.order(owner, hash, "confidential/initialize"), 400, `{"code":"vm_running","description":"Operation not allowed, instance already running"}`)
		r.want("initialize by a stranger", r.order(stranger, hash, "confidential/initialize"), 403, notAllowed)
		r.want("measurement", measure(owner), 400, notConfidential)
		r.want("secret", r.order(owner, hash, "confidential/inject_secret"), 400, notConfidential)
		r.want("stop", r.order(owner, hash, "stop"), 200)
		r.want("initialize what is stopped", r.order(owner, hash, "confidential/initialize"), 400, notConfidential)
		r.want("measurement of what is stopped", measure(owner), 403, `{"error":"Operation not running"}`)
		r.want("measurement by a stranger", measure(stranger), 403, notAllowed)

		secret := r.idle(func(content map[string]any) {
			content["environment"].(map[string]any)["trusted_execution"] = map[string]any{"firmware": hash, "policy": 1}
		})
		defer r.order(owner, secret, "erase")
		got := r.allot(hash, secret)
		if text, _ := member(r.object(got), "errors", string(secret)).(string); got.status != 207 || !strings.Contains(text, "there is no /dev/sev") {
			r.Errorf("plan with a confidential one: %+v", got)
		}
	}}}},
}
