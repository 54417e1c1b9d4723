package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/crn/logfile"
	"github.com/aleph-im/aleph-go/devnet"
	"github.com/aleph-im/aleph-go/guest/wire"
	"github.com/aleph-im/aleph-go/message"
)

func TestARoundTakesNoLongerWithMoreInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a := &asking{cancel: cancel}
		for range restartInstances {
			x := &asked{}
			a.instances = append(a.instances, x)
			a.running.Go(func() {
				for ctx.Err() == nil {
					x.answered.Add(1)
					select {
					case <-ctx.Done():
					case <-time.After(restartPause):
					}
				}
			})
		}
		began := time.Now()
		if err := a.round(ctx, time.Hour); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 3*restartPause {
			t.Errorf("two answers of each took %s, and each pauses for %s between two", took, restartPause)
		}
		a.stop()
	})
}

func TestWhatIsKnownOfASilentInstanceIsSaid(t *testing.T) {
	const silent, unknown, well = message.Hash("5111"), message.Hash("0000"), message.Hash("7777")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"5111":{"running":false,"error":"its machine crashed","networking":{"mapped_ports":{"22":{"host":24001}}}},"7777":{"running":true}}`))
	}))
	defer server.Close()
	a := &asking{node: devnet.NewProcess("crn", server.URL, "", ""), dir: t.TempDir()}
	logs := filepath.Join(a.dir, "instances", "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	log, err := logfile.OpenLog(filepath.Join(logs, string(silent)+".log"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for range consoleLines {
		log.Add(wire.LogLine{Text: "early"})
	}
	log.Add(wire.LogLine{Text: "Kernel panic"})
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("connection refused")
	for _, hash := range []message.Hash{silent, unknown, well} {
		x := &asked{hash: hash, address: "198.51.100.1:24001"}
		if hash == well {
			x.answered.Store(2)
		} else {
			x.failure.Store(&refused)
		}
		a.instances = append(a.instances, x)
	}
	said := a.describe([]int64{2, 2, 2})
	for _, part := range []string{
		"instance 0 (5111)", "its last request failed: connection refused", `running false, port 22 at 24001, error "its machine crashed"`, "Kernel panic",
		"instance 1 (0000)", "the node does not have it", "its console is empty",
	} {
		if !strings.Contains(said, part) {
			t.Errorf("it does not say %q: %s", part, said)
		}
	}
	if strings.Contains(said, "7777") {
		t.Errorf("it speaks of an instance that answered: %s", said)
	}
	if strings.Count(said, "early") >= consoleLines {
		t.Errorf("it shows more of a console than its end: %s", said)
	}
}
