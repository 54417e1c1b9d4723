//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// comesBackWhenItsNodeDied has an instance replicated, which outlives its node: process, machines and disks of that are gone for good.
func comesBackWhenItsNodeDied(t *testing.T) {
	hash, key := createInstance(t)
	if _, code := aleph(t, "instance", "replicate", string(hash), "--every", "1s"); code != 0 {
		t.Fatalf("exit code %d", code)
	}

	first, _ := onInstance(t, hash, key, "", "echo precious > /vol/vdc/file; sync")
	// Two generations are begun after this: the second one has the file.
	generation := func() (number int64) {
		files, _ := filepath.Glob(filepath.Join(filepath.Dir(network.InfoPath()), "crn*", "instances", "replicas", string(hash), "generation"))
		for _, path := range files {
			var g struct{ Number int64 }
			raw, err := os.ReadFile(path)
			if err == nil && json.Unmarshal(raw, &g) == nil {
				number = g.Number
			}
		}
		return number
	}
	begun := generation()
	eventually(t, time.Minute, func(context.Context) error {
		if n := generation(); n < begun+2 {
			return fmt.Errorf("generation %d", n)
		}
		return nil
	})
	dead := time.Now()
	for _, p := range network.Compute {
		if p.URL != first {
			continue
		}
		dir := filepath.Join(filepath.Dir(network.InfoPath()), p.Name)
		// The network of its guests is gone as well; here all nodes share one host.
		if err := errors.Join(p.Kill(), killMachines(dir), os.RemoveAll(dir), exec.Command("nft", "flush", "ruleset").Run()); err != nil {
			t.Fatal(err)
		}
		defer func() { // the network ends with all of its nodes
			if err := p.Start(); err != nil {
				t.Error(err)
			}
		}()
	}
	_, file := onInstance(t, hash, key, first, "cat /vol/vdc/file")
	t.Logf("SSH answers on another node %v after the first one died", time.Since(dead).Round(time.Millisecond))
	if file != "precious" {
		t.Errorf("the file holds %q", file)
	}
	if _, code := aleph(t, "instance", "delete", string(hash), "--yes"); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// killMachines kills the machines that a node left running.
func killMachines(dir string) error {
	records, err := filepath.Glob(filepath.Join(dir, "instances", "run", "*", "process.json"))
	if err != nil {
		return err
	}
	for _, path := range records {
		var process struct{ PID int }
		raw, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(raw, &process)
		}
		if err == nil && process.PID > 1 {
			err = syscall.Kill(process.PID, syscall.SIGKILL)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
