package ccn

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/api"
	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/internal/postgrestest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature"
)

func TestSQLite(t *testing.T) {
	Run(t, node(t, "sqlite:"+filepath.Join(t.TempDir(), "aleph.db")))
}

func TestPostgreSQL(t *testing.T) { Run(t, node(t, postgrestest.DSN(t))) }

// TestRemote holds the node at ALEPH_CONFORMANCE_URL to the specification. ALEPH_CONFORMANCE_TOPIC names its network.
func TestRemote(t *testing.T) {
	url := os.Getenv("ALEPH_CONFORMANCE_URL")
	if url == "" {
		t.Skip("ALEPH_CONFORMANCE_URL is not set")
	}
	topic := os.Getenv("ALEPH_CONFORMANCE_TOPIC")
	if topic == "" {
		topic = params.Devnet().MessageTopic
	}
	Run(t, Target{URL: strings.TrimRight(url, "/"), Topic: topic})
}

// node is the API of a node on a database, without a network.
func node(t *testing.T, dsn string) Target {
	t.Helper()
	p := params.Devnet()
	db, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := files.OpenDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pipeline, err := intake.New(intake.Config{
		Params: p, Store: db, State: state.New(state.Config{Params: p, Now: time.Now}), Files: disk, Verify: signature.Default().Verify,
		Fetch: func(context.Context, message.Hash, int64) (int64, error) { return 0, files.ErrNotFound },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pipeline.Run(ctx) }()
	server := httptest.NewServer(api.New(api.Config{
		Params: p, Store: db, Files: disk, Intake: pipeline, Version: "test", Addresses: func() []string { return nil },
		Publish: func(context.Context, []byte) error { return nil },
	}))
	t.Cleanup(func() {
		server.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return Target{URL: server.URL, Topic: p.MessageTopic}
}
