package crn_test

import (
	"errors"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/message"
)

func TestANodeThatIsToEndItsInstancesLeavesNothingBehind(t *testing.T) {
	if !imagetest.InOwnNetwork(t, "small") {
		return
	}
	h := newHost(t)
	h.ends = time.Minute
	content := corenodetest.Instance(h.storeImage("instance-small.img"), 256, h.publicKey())
	content["volumes"] = []any{map[string]any{"persistence": "host", "name": "kept", "mount": "/kept", "size_mib": 16}}
	hash := h.core.Publish(message.TypeInstance, content)
	h.start()
	if status, answer := h.allocate(hash); status != 200 || answer["success"] != true {
		t.Fatalf("got %d %v", status, answer)
	}
	h.ssh(hash, "echo precious > /vol/vdc/file") // a guest that turns itself off writes it out
	machines := h.pids()
	if len(machines) != 1 {
		t.Fatalf("machines: %v", machines)
	}

	if err := h.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := h.process.Wait(); err != nil {
		t.Errorf("the node ended with %v", err)
	}
	h.process = nil
	if err := syscall.Kill(machines[0], 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("its machine is there still: %v", err)
	}
	if left := h.pids(); len(left) > 0 {
		t.Errorf("it has machines written down: %v", left)
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		if strings.HasPrefix(i.Name, "vmtap") {
			t.Errorf("interface %s is there still", i.Name)
		}
	}
	if tables, err := exec.Command("nft", "list", "tables").CombinedOutput(); err != nil || strings.Contains(string(tables), "aleph-") {
		t.Errorf("rules are there still (%v): %s", err, tables)
	}

	h.start()
	if got := h.ssh(hash, "cat /vol/vdc/file"); got != "precious" {
		t.Errorf("the file holds %q", got)
	}
}
