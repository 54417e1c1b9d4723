package crn_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// host is a compute node in a process of its own, which can be killed, with a core node.
type host struct {
	*node
	t       *testing.T
	process *exec.Cmd
	owner   *ethereum.Account
	client  *client.Client
	key     ssh.Signer

	listen   string        // where each of its nodes answers; anywhere when empty
	patience time.Duration // with a guest that boots
	ends     time.Duration // within which instances end with the node, unless 0
}

func newHost(t *testing.T) *host {
	t.Helper()
	imagetest.Get(t)
	owner, err := ethereum.NewAccount(ownerKey)
	if err != nil {
		t.Fatal(err)
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return hostOf(t, corenodetest.New(t), owner, key)
}

// hostOf is a host with a core node, an owner and a key that others have as well.
func hostOf(t *testing.T, core *corenodetest.Node, owner *ethereum.Account, key ssh.Signer) *host {
	t.Helper()
	h := &host{node: &node{core: core, dir: t.TempDir()}, t: t, owner: owner, key: key, patience: 3 * time.Minute}
	// The owner signs the node's name; here that name leads nowhere else than to the node.
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(h.url, "http://"))
	}
	h.client = client.New(client.Config{BaseURL: h.core.URL, HTTPClient: &http.Client{Transport: &http.Transport{
		DialContext: dial, DisableKeepAlives: true, ExpectContinueTimeout: time.Minute,
	}}})
	t.Cleanup(h.kill)
	return h
}

// start starts the node, or the next one after a kill.
func (h *host) start() {
	h.t.Helper()
	h.process = exec.Command(os.Args[0])
	h.process.Env = append(os.Environ(), childOf+"="+h.dir+"|"+h.core.URL+"|"+h.listen, childEnds+"="+h.ends.String())
	h.process.Stderr = os.Stderr
	out, err := h.process.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.process.Start(); err != nil {
		h.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		h.t.Fatal("the node did not start")
	}
	h.url = "http://" + lines.Text()
}

func (h *host) kill() {
	if h.process != nil {
		_ = h.process.Process.Kill()
		_ = h.process.Wait()
		h.process = nil
	}
}

// pids of the machines, as the node recorded them.
func (h *host) pids() (pids []int) {
	records, _ := filepath.Glob(filepath.Join(h.dir, "instances", "run", "*", "process.json"))
	for _, path := range records {
		var process struct{ PID int }
		if raw, err := os.ReadFile(path); err == nil && json.Unmarshal(raw, &process) == nil && process.PID > 1 {
			pids = append(pids, process.PID)
		}
	}
	return pids
}

// allocate sends the scheduler's whole plan.
func (h *host) allocate(instances ...message.Hash) (status int, answer map[string]any) {
	h.t.Helper()
	status, answer, err := h.tryAllocate(instances...)
	if err != nil {
		h.t.Fatal(err)
	}
	return status, answer
}

func (h *host) tryAllocate(instances ...message.Hash) (status int, answer map[string]any, err error) {
	body, err := json.Marshal(map[string]any{"persistent_vms": []string{}, "instances": instances})
	if err != nil {
		return 0, nil, err
	}
	request, err := http.NewRequestWithContext(h.t.Context(), "POST", h.url+"/control/allocations", strings.NewReader(string(body)))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("X-Auth-Signature", "test")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	err = json.NewDecoder(response.Body).Decode(&answer)
	return response.StatusCode, answer, err
}

func (h *host) operate(hash message.Hash, do client.MachineOperation, query url.Values) string {
	h.t.Helper()
	text, err := h.client.OperateMachine(h.t.Context(), h.owner, "http://crn.test", hash, do, query)
	if err != nil {
		h.t.Fatalf("%s: %v", do, err)
	}
	return text
}

// execution is the instance in the list that clients read.
func (h *host) execution(hash message.Hash) client.Execution {
	h.t.Helper()
	list, err := h.client.Executions(h.t.Context(), "http://crn.test")
	if err != nil {
		h.t.Fatal(err)
	}
	return list[hash]
}

// ssh runs a command in the guest, through the forwarded port, and waits until the guest answers.
func (h *host) ssh(hash message.Hash, command string) string {
	h.t.Helper()
	var last error
	for deadline := time.Now().Add(h.patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		port := h.execution(hash).Networking.MappedPorts["22"].Host
		out, err := h.trySSH(port, command)
		if err == nil {
			return out
		}
		last = err
	}
	console, _ := os.ReadFile(filepath.Join(h.dir, "instances", "logs", string(hash)+".log"))
	h.t.Fatalf("no answer by SSH: %v; console: %s", last, console[max(0, len(console)-4000):])
	return ""
}

func (h *host) trySSH(port int, command string) (string, error) {
	return imagetest.SSH(fmt.Sprintf("%s:%d", imagetest.HostAddress, port), h.key, command)
}

// answering is a command that answers what comes to a port, each time from the beginning: who asks may take an answer that
// comes before the question for a fault, and ask again.
func answering(port int) string {
	return fmt.Sprintf("(for i in $(seq 20); do echo -e 'HTTP/1.0 200 OK\\r\\n\\r\\nfrom inside' | nc -l -p %d; done) >/dev/null 2>&1 &", port)
}

func (h *host) publicKey() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(h.key.PublicKey())))
}

func imageDir() string { return filepath.Join(imagetest.Root(), "build", "guest") }

// filesystem is a compressed qcow2 image of a small one, with a file.
func filesystem(t *testing.T, content string) []byte {
	t.Helper()
	dir := t.TempDir()
	tree, raw, packed := filepath.Join(dir, "tree"), filepath.Join(dir, "raw"), filepath.Join(dir, "qcow2")
	if err := errors.Join(os.Mkdir(tree, 0o755), os.WriteFile(filepath.Join(tree, "file"), []byte(content+"\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, line := range [][]string{{"/sbin/mke2fs", "-q", "-t", "ext4", "-d", tree, raw, "8M"}, {"qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, packed}} {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line[0], err, out)
		}
	}
	made, err := os.ReadFile(packed)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// storeImage puts a disk that instances boot from on the network.
func (h *host) storeImage(file string) message.Hash {
	h.t.Helper()
	raw, err := os.ReadFile(filepath.Join(imageDir(), file))
	if err != nil {
		h.t.Fatal(err)
	}
	return h.core.Store(raw)
}

// Two nodes of one host start instances at once: each of their guests is reached at its own addresses.
func TestNodesOfOneHostStartInstancesAtOnce(t *testing.T) {
	if !imagetest.InOwnNetwork(t, "small") {
		return
	}
	first := newHost(t)
	hosts := []*host{first, hostOf(t, first.core, first.owner, first.key)}
	image := first.storeImage("instance-small.img")
	var hashes []message.Hash
	for i, h := range hosts {
		content := corenodetest.Instance(image, 512, first.publicKey())
		content["metadata"] = map[string]any{"name": fmt.Sprint("guest of node ", i)}
		hashes = append(hashes, first.core.Publish(message.TypeInstance, content))
		h.start()
	}
	var both sync.WaitGroup
	for i, h := range hosts {
		both.Go(func() {
			if status, answer, err := h.tryAllocate(hashes[i]); err != nil || status != 200 || answer["success"] != true {
				t.Errorf("node %d: got %d %v, %v", i, status, answer, err)
			}
		})
	}
	both.Wait()
	if t.Failed() {
		return
	}
	for i, h := range hosts {
		if name := h.ssh(hashes[i], "hostname"); name != execution.HostLabel(hashes[i]) {
			t.Errorf("at the port of node %d's guest is %s", i, name)
		}
	}
	if a, b := hosts[0].execution(hashes[0]).Networking, hosts[1].execution(hashes[1]).Networking; a.IPv4 == b.IPv4 || a.MappedPorts["22"].Host == b.MappedPorts["22"].Host {
		t.Errorf("the guests have %+v and %+v", a, b)
	}
}

// One instance lives through all of these.
func TestInstanceLivesThroughEverything(t *testing.T) {
	if !imagetest.InOwnNetwork(t, "small") {
		return
	}
	h := newHost(t)
	content := corenodetest.Instance(h.storeImage("instance-small.img"), 512, h.publicKey())
	content["volumes"] = []any{
		map[string]any{"persistence": "host", "name": "kept", "mount": "/kept", "size_mib": 16},
		map[string]any{"persistence": "host", "name": "begun", "size_mib": 16, "parent": map[string]any{"ref": h.core.Store(filesystem(t, "from the parent")), "use_latest": false}},
	}
	hash := h.core.Publish(message.TypeInstance, content)
	h.start()

	begin := time.Now()
	if status, answer := h.allocate(hash); status != 200 || answer["success"] != true {
		t.Fatalf("got %d %v", status, answer)
	}
	const bootID = "cat /proc/sys/kernel/random/boot_id"
	boot := h.ssh(hash, bootID)
	t.Logf("SSH answers %v after the allocation", time.Since(begin).Round(time.Millisecond))
	h.ssh(hash, "echo precious > /vol/vdc/file; sync; echo changed > /root/mark")
	port := h.execution(hash).Networking.MappedPorts["22"]

	// restarted checks that the guest has booted again, with its data.
	restarted := func(t *testing.T) {
		t.Helper()
		var now string
		eventually(t, "the guest booted again", func() bool { now = h.ssh(hash, bootID); return now != boot })
		boot = now
		if got := h.ssh(hash, "cat /vol/vdc/file"); got != "precious" {
			t.Errorf("the file holds %q", got)
		}
		if got := h.execution(hash).Networking.MappedPorts["22"]; got != port {
			t.Errorf("SSH was on %+v and is on %+v", port, got)
		}
	}

	t.Run("it is what its message says", func(t *testing.T) {
		for command, want := range map[string]string{
			"cat /vol/vdd/file":                          "from the parent",
			"cat /sys/class/block/vdd/size":              "32768",
			"grep -c ^processor /proc/cpuinfo":           "1",
			"cat /sys/class/block/vda/size":              "1048576",
			"cat /sys/class/block/vdc/size":              "32768",
			"ip -4 -o addr show dev eth0 | grep -c 172.": "1",
			"hostname | head -c 8":                       execution.HostLabel(hash)[:8],
		} {
			if got := h.ssh(hash, command); got != want {
				t.Errorf("%s: %q, want %q", command, got, want)
			}
		}
	})

	t.Run("lists show it", func(t *testing.T) {
		x := h.execution(hash)
		if !x.Running || x.Kind != "instance" || x.Networking.HostIPv4 != imagetest.HostAddress || x.Status["started_at"] == nil || !port.TCP || port.UDP || port.Host < 24000 {
			t.Errorf("got %+v", x)
		}
		if v1 := h.do(t, "GET", "/about/executions/list", ""); !strings.Contains(v1.body, `"vm_type":"instance"`) {
			t.Errorf("got %s", v1.body)
		}
	})

	t.Run("the same plan changes nothing", func(t *testing.T) {
		if status, answer := h.allocate(hash); status != 200 || fmt.Sprint(answer["stopped"]) != "[]" {
			t.Errorf("got %d %v", status, answer)
		}
		if got := h.ssh(hash, bootID); got != boot {
			t.Error("it was started again")
		}
	})

	t.Run("it goes on when its node is killed, and the next node adopts it", func(t *testing.T) {
		h.kill()
		begin := time.Now()
		h.start()
		t.Logf("the next node answers after %v", time.Since(begin).Round(time.Millisecond))
		if got := h.ssh(hash, bootID); got != boot {
			t.Error("it was started again")
		}
		if x := h.execution(hash); !x.Running || x.Networking.MappedPorts["22"] != port {
			t.Errorf("got %+v", x)
		}
	})

	t.Run("it comes back when QEMU is killed", func(t *testing.T) {
		pids := h.pids()
		if len(pids) != 1 {
			t.Fatalf("machines: %v", pids)
		}
		if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		restarted(t)
	})

	t.Run("its owner reboots it", func(t *testing.T) {
		if got := h.operate(hash, client.MachineReboot, nil); got != "Rebooted VM with ref "+string(hash) {
			t.Errorf("got %q", got)
		}
		restarted(t)
		if got := h.ssh(hash, "hostname > /root/mark2; ls /root/mark 2>&1 || true"); strings.Contains(got, "mark2") {
			t.Errorf("got %q", got)
		}
	})

	t.Run("it reboots itself", func(t *testing.T) {
		pids := h.pids()
		h.ssh(hash, "(sleep 1; reboot -f) >/dev/null 2>&1 &")
		restarted(t)
		if now := h.pids(); fmt.Sprint(now) != fmt.Sprint(pids) {
			t.Errorf("QEMU was %v and is %v", pids, now)
		}
	})

	t.Run("its backup brings back what it had", func(t *testing.T) {
		h.comesBack(t, hash)
		restarted(t)
	})

	t.Run("stopped by its owner it stays stopped, also for the scheduler, until started", func(t *testing.T) {
		if got := h.operate(hash, client.MachineStop, nil); got != "Stopped VM with ref "+string(hash) {
			t.Errorf("got %q", got)
		}
		if log := h.console(hash); !strings.Contains(log, "power button") {
			t.Errorf("its power was cut: %s", log)
		}
		if status, answer := h.allocate(hash); status != 200 || len(h.pids()) != 0 {
			t.Errorf("got %d %v, machines %v", status, answer, h.pids())
		}
		if x := h.execution(hash); x.Running || x.Kind != "instance" {
			t.Errorf("got %+v", x)
		}
		if got := h.operate(hash, client.MachineStop, nil); got != "Already stopped, nothing to do" {
			t.Errorf("got %q", got)
		}
		if _, err := h.trySSH(port.Host, "true"); err == nil {
			t.Error("SSH answers")
		}
		h.operate(hash, client.MachineStart, nil)
		restarted(t)
	})

	t.Run("strangers may do nothing to it", func(t *testing.T) {
		stranger, err := ethereum.Generate()
		if err != nil {
			t.Fatal(err)
		}
		for _, do := range []client.MachineOperation{client.MachineStop, client.MachineReboot, client.MachineErase, client.MachineReinstall, client.MachineStart} {
			var no *client.HTTPError
			_, err := h.client.OperateMachine(t.Context(), stranger, "http://crn.test", hash, do, nil)
			if !errors.As(err, &no) || no.Status != 403 {
				t.Errorf("%s: %v", do, err)
			}
		}
	})

	t.Run("ports follow its owner's wish", func(t *testing.T) {
		h.core.Aggregate(corenodetest.Owner, map[string]any{"port-forwarding": map[string]any{
			string(hash): map[string]any{"ports": map[string]any{"8080": map[string]bool{"tcp": true, "udp": false}}},
		}})
		if err := h.client.UpdateMachine(t.Context(), "http://crn.test", hash); err != nil {
			t.Fatal(err)
		}
		ports := h.execution(hash).Networking.MappedPorts
		if len(ports) != 2 || ports["22"] != port || ports["8080"].Host == 0 {
			t.Fatalf("got %+v", ports)
		}
		h.ssh(hash, answering(8080))
		eventually(t, "the port answers", func() bool {
			response, err := http.Get(fmt.Sprintf("http://%s:%d/", imagetest.HostAddress, ports["8080"].Host))
			if err != nil {
				return false
			}
			response.Body.Close()
			return response.StatusCode == 200
		})
	})

	t.Run("a name of its owner leads to its port 80", func(t *testing.T) {
		h.core.Aggregate(corenodetest.Owner, map[string]any{"domains": map[string]any{
			"www.example.test": map[string]any{"message_id": hash, "type": "instance"},
		}})
		h.ssh(hash, answering(80))
		eventually(t, "the name answers", func() bool {
			request, err := http.NewRequestWithContext(t.Context(), "GET", h.url+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Host = "www.example.test"
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return false
			}
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			return response.StatusCode == 200 && string(body) == "from inside\n"
		})
	})

	t.Run("reinstalled it is new, but for its volumes", func(t *testing.T) {
		h.ssh(hash, "echo changed > /vol/vdd/file; sync")
		h.operate(hash, client.MachineReinstall, url.Values{"erase_volumes": {"false"}})
		restarted(t)
		if got := h.ssh(hash, "cat /vol/vdd/file"); got != "changed" {
			t.Errorf("the volume with a parent holds %q", got)
		}
	})

	t.Run("reinstalled with its volumes these begin anew as well", func(t *testing.T) {
		h.operate(hash, client.MachineReinstall, nil)
		eventually(t, "its volumes are new", func() bool {
			return h.ssh(hash, "cat /vol/vdd/file; ls /vol/vdc") == "from the parent\nlost+found"
		})
	})

	t.Run("turned off from inside it stays off", func(t *testing.T) {
		h.ssh(hash, "(sleep 1; poweroff -f) >/dev/null 2>&1 &")
		eventually(t, "its machine is gone", func() bool { return len(h.pids()) == 0 })
		if x := h.execution(hash); x.Running || x.Kind == "" {
			t.Errorf("got %+v", x)
		}
	})

	t.Run("erased nothing of it stays", func(t *testing.T) {
		h.operate(hash, client.MachineErase, nil)
		for _, pattern := range []string{"instances/run/*", "instances/disks/*", "instances/parents/*", "instances/logs/*", "instances/incoming/*", "backups/*.tar*", "backups/work/*"} {
			if left, _ := filepath.Glob(filepath.Join(h.dir, pattern)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		}
		if out, err := exec.Command("ip", "-o", "link", "show").CombinedOutput(); err != nil || strings.Contains(string(out), "vmtap") {
			t.Errorf("interfaces %s, %v", out, err)
		}
		if out, err := exec.Command("nft", "list", "ruleset").CombinedOutput(); err != nil || strings.Contains(string(out), "aleph") {
			t.Errorf("rules %s, %v", out, err)
		}
		if x := h.execution(hash); x.Kind != "" {
			t.Errorf("got %+v", x)
		}
	})
}

func (h *host) console(hash message.Hash) string {
	h.t.Helper()
	lines, err := h.client.ProgramLogs(h.t.Context(), h.owner, "http://crn.test", hash)
	if err != nil {
		h.t.Fatal(err)
	}
	var text strings.Builder
	for _, l := range lines {
		text.WriteString(l.Message + "\n")
	}
	return text.String()
}
