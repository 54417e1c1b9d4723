package crn

import (
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/message"
)

// house is an instance whose guest answers by SSH, on a node of its own. Those checks share it that need one. It ends with the
// namespaces of the test.
type house struct {
	node *node
	hash message.Hash
	key  ssh.Signer
}

// patience is how long a guest may take to boot.
const patience = 3 * time.Minute

// guest is the rig with the node of the house, which is made the first time.
func (r *rig) guest() *rig {
	r.Helper()
	if os.Getuid() != 0 {
		r.Skip("instances need root")
	}
	h := *r
	if h.house.node == nil {
		r.build()
	}
	h.node = h.house.node
	return &h
}

func (r *rig) build() {
	r.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		r.Fatal(err)
	}
	image, err := os.ReadFile(filepath.Join(imagetest.Root(), "build", "guest", "instance-small.img"))
	if err != nil {
		r.Fatal(err)
	}
	h := r.house
	if h.key, err = ssh.NewSignerFromKey(private); err != nil {
		r.Fatal(err)
	}
	root := r.in(r.root) // its node ends with all checks
	h.node, err = root.begin(func(c *crn.Config) {
		c.HostIPv4, c.TLSListen, c.InstanceStopTimeout = imagetest.HostAddress, "127.0.0.1:0", 20*time.Second
		c.ACMEDirectory = "http://127.0.0.1:1/" // which is not asked for names of instances
	})
	if err != nil {
		r.Fatal(err)
	}
	key := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(h.key.PublicKey())))
	h.hash = r.core.Publish(message.TypeInstance, corenodetest.Instance(r.core.Store(image), 512, key))
	here := r.in(r.T)
	here.node = h.node
	r.want("plan", here.allot(h.hash), 200)
}

// ssh runs a command in the guest, at the address and port that clients are told, as soon as it answers.
func (r *rig) ssh(command string) string {
	r.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		var out string
		if out, err = imagetest.SSH(r.reached("22"), r.house.key, command); err == nil {
			return out
		}
	}
	r.Fatalf("no answer by SSH: %v", err)
	return ""
}

// reached is the address and port at which clients reach a port of the guest.
func (r *rig) reached(port string) string {
	r.Helper()
	networking := member(r.object(r.get("/v2/about/executions/list")), string(r.house.hash), "networking")
	return fmt.Sprintf("%v:%v", member(networking, "host_ipv4"), member(networking, "mapped_ports", port, "host"))
}

// serve has the guest answer on a port, again and again.
func (r *rig) serve(port int, text string) {
	r.Helper()
	r.ssh(fmt.Sprintf("(while :; do echo -e '%s' | nc -l -p %d; done) >/dev/null 2>&1 &", text, port))
}

// page is what a node answers under a name, and whether it could.
func (r *rig) page(name, path string) (body string, ok bool) {
	r.Helper()
	got := r.get(path, "Host", name)
	return got.body, got.status == http.StatusOK
}

// names has the DNS say whose a name is, and that owner where it leads; the node then looks.
func (r *rig) names(name string, w wallet, hash message.Hash, kind string) {
	r.Helper()
	r.dns.set("_control."+name, w.Address())
	r.core.Aggregate(w.Address(), map[string]any{"domains": map[string]any{name: map[string]any{"message_id": hash, "type": kind}}})
	r.want("look", r.ask(r.node, "POST", "/control/proxy/regenerate", "", "X-Auth-Signature", token), 200)
}

var guestRows = []row{
	{number: 43, about: "names lead where their owners say", checks: []check{{"also when they change hands", func(r *rig) {
		defer r.trust()
		const name, ofDiagnostic, ofProbe = "www.test", "/dns?x=1", "/count"
		leads := func(step string, diagnostic, probe bool) {
			r.Helper()
			_, one := r.page(name, ofDiagnostic)
			_, two := r.page(name, ofProbe)
			if one != diagnostic || two != probe {
				r.Errorf("%s: leads to the first program: %v, to the second: %v", step, one, two)
			}
		}
		r.names(name, owner, r.diagnostic, "program")
		leads("named", true, false)
		r.core.Aggregate(owner.Address(), map[string]any{"domains": map[string]any{name: map[string]any{"message_id": r.probe, "type": "program"}}})
		leads("before the node looks", true, false)
		r.names(name, owner, r.probe, "program")
		leads("moved", false, true)
		r.names("other.test", stranger, r.diagnostic, "program")
		r.dns.set("_control."+name, stranger.Address())
		r.want("look", r.ask(r.node, "POST", "/control/proxy/regenerate", "", "X-Auth-Signature", token), 200)
		leads("another's, who does not name it", false, false)
		r.names(name, stranger, r.diagnostic, "program")
		leads("another's", true, false)
	}}, {"to the guest of an instance, with its TLS", func(r *rig) {
		r = r.guest()
		defer r.trust()
		networking := member(r.object(r.get("/v2/about/executions/list")), string(r.house.hash), "networking")
		if network, address := fmt.Sprint(member(networking, "ipv4_network")), fmt.Sprint(member(networking, "ipv4_ip")); strings.Replace(network, ".0/24", ".2", 1) != address {
			r.Errorf("network %s, guest %s", network, address)
		}
		r.serve(80, `HTTP/1.0 200 OK\r\n\r\nfrom inside`)
		r.serve(443, "from inside")
		const name = "shop.test"
		r.names(name, owner, r.house.hash, "instance")
		r.until("the name answers", func() bool { body, ok := r.page(name, "/"); return ok && body == "from inside\n" })
		r.until("TLS reaches the guest", func() bool {
			c, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", r.node.TLSAddr().String(), &tls.Config{ServerName: name})
			if err == nil {
				c.Close()
				r.Fatal("somebody else has a certificate for it")
			}
			var said tls.RecordHeaderError
			return errors.As(err, &said) && string(said.RecordHeader[:]) == "from "
		})
		r.names(name, stranger, r.house.hash, "instance")
		if got := r.get("/", "Host", name); got.status != 404 {
			r.Errorf("a stranger's name opens it: %+v", got)
		}
	}}}},
	{number: 57, about: "an instance is reached, through reboot, stop, start and restore", checks: []check{{"reached, rebooted, stopped, started and restored", func(r *rig) {
		r = r.guest()
		defer r.trust()
		hash := r.house.hash
		const (
			bootID = "cat /proc/sys/kernel/random/boot_id"
			// The guest's own root is in memory, so the far end of its disk stands for a file.
			write = "dd of=/dev/vda bs=512 seek=1000000 conv=notrunc 2>/dev/null; sync"
			read  = "dd if=/dev/vda bs=512 skip=1000000 count=1 2>/dev/null | head -n 1"
		)
		first := r.ssh(bootID)
		r.forward(hash, map[string]any{"8080": wish(true, false)})
		r.serve(8080, `HTTP/1.0 200 OK\r\n\r\nfrom inside`)
		r.until("the extra port answers", func() bool {
			response, err := (&http.Client{Timeout: 5 * time.Second}).Get("http://" + r.reached("8080"))
			if err != nil {
				return false
			}
			response.Body.Close()
			return response.StatusCode == http.StatusOK
		})
		ports := []string{r.reached("22"), r.reached("8080")}

		r.want("reboot", r.order(owner, hash, "reboot"), 200)
		second := r.ssh(bootID)
		if second == first {
			r.Error("it was not rebooted")
		}
		r.ssh("echo kept | " + write)

		r.want("stop", r.order(owner, hash, "stop"), 200)
		if _, err := imagetest.SSH(r.reached("22"), r.house.key, "true"); err == nil {
			r.Error("SSH answers when it is stopped")
		}
		r.want("start", r.order(owner, hash, "start"), 200)
		third := r.ssh(bootID)
		if got := r.ssh(read); got != "kept" || third == second {
			r.Errorf("after a start its disk holds %q", got)
		}

		backup := machine(hash, "backup")
		r.want("backup", r.operation(owner, "POST", backup, ""), 202, inProgress)
		r.until("it is made", func() bool { return r.operation(owner, "GET", backup, "").body != inProgress })
		link, _ := r.object(r.operation(owner, "GET", backup, ""))["download_url"].(string)
		made := r.get(strings.TrimPrefix(link, publicURL))
		image, err := os.ReadFile(r.unpack(made.body)["rootfs.qcow2"])
		if err != nil {
			r.Fatalf("download from %s: %d, %v", link, made.status, err)
		}
		r.ssh("echo changed | " + write)
		if got := r.ssh(read); got != "changed" {
			r.Errorf("after a change its disk holds %q", got)
		}
		r.want("restore", r.upload(owner, hash, "rootfs", image), 200)
		if got := r.ssh(read); got != "kept" || r.ssh(bootID) == third {
			r.Errorf("after the restore its disk holds %q", got)
		}
		if now := []string{r.reached("22"), r.reached("8080")}; now[0] != ports[0] || now[1] != ports[1] {
			r.Errorf("its ports were %v and are %v", ports, now)
		}
	}}}},
}
