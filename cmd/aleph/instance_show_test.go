package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestAnInstanceIsShownAsItsOwnerWantsItAndAsItIs(t *testing.T) {
	node, u, _ := funded(t)
	image, key := instanceFiles(t)
	create := func(args ...string) string {
		var v machineView
		u.result(&v, append([]string{"instance", "create", "--image", image, "--ssh-key", key, "--disk", "2048", "--wait=false"}, args...)...)
		return string(v.ItemHash)
	}
	hash := create("--name", "web", "--memory", "512")
	var v instanceView
	u.result(&v, "instance", "show", hash)
	if v.Name != "web" || v.Owner != u.address() || v.VCPUs != 1 || v.Memory != 512 || v.Disk != 2048 || v.Payment != "hold" || v.Image == "" || v.Time == "" {
		t.Errorf("its owner wants %+v", v)
	}
	if v.CRN != "crn-1" || !v.Running || v.Ports["22"].Host != 24007 || v.Replica != nil {
		t.Errorf("it is %+v", v)
	}
	for at, says := range map[string]string{`"2026-02-03 04:05:06.700000+00:00"`: "2026-02-03 04:05:06", "null": "not since its node was started"} {
		node.compute.replica = fmt.Sprintf(`{"holder":%q,"replicated_at":%s}`, node.compute.URL, at)
		code, out, errOut := u.run("instance", "show", hash)
		if code != 0 || errOut != "" || !strings.Contains(out, "replica on  crn-1\ncopied      "+says+"\n") {
			t.Errorf("exit code %d: %s%s", code, out, errOut)
		}
	}

	// A scheduler of the reference says nothing of an instance whose owner named its node.
	chosen := create("--confidential", "--node", "crn-1")
	node.compute.unplanned = true
	if code, out, _ := u.run("instance", "show", hash); code != 0 || !strings.Contains(out, "nowhere yet") {
		t.Errorf("without a place: exit code %d: %s", code, out)
	}
	if u.result(&v, "instance", "show", chosen); v.CRN != "crn-1" || v.CRNURL != node.compute.URL {
		t.Errorf("its owner chose crn-1: %+v", v)
	}
	if code, out, errOut := u.run("instance", "stop", chosen); code != 0 || !strings.Contains(out, "Done to VM") {
		t.Errorf("where its owner chose: exit code %d: %s%s", code, out, errOut)
	}
	node.compute.Close()
	if code, out, errOut := u.run("instance", "show", chosen); code != 0 || !strings.Contains(errOut, "does not answer") || !strings.Contains(out, "crn-1") {
		t.Errorf("while its node is away: exit code %d: %s%s", code, out, errOut)
	}
}
