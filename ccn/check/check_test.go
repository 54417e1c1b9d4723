package check_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/check"
	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/internal/postgrestest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// node is the data of a core node, filled through intake.
type node struct {
	t       *testing.T
	dir     string
	dsn     string
	db      *store.Store
	files   *files.Disk
	intake  *intake.Pipeline
	account *ethereum.Account
	clock   time.Time
}

// newNode starts a node on the database that dsn names, one in its own folder when it names none.
func newNode(t *testing.T, dsn string) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), dsn: dsn, clock: time.Unix(1_700_000_000, 0)}
	if dsn == "" {
		n.dsn = "sqlite:" + filepath.Join(n.dir, "aleph.db")
	}
	var err error
	if n.db, err = store.Open(t.Context(), n.dsn); err != nil {
		t.Fatal(err)
	}
	if n.files, err = files.OpenDisk(filepath.Join(n.dir, "files")); err != nil {
		t.Fatal(err)
	}
	p := params.Devnet()
	n.intake, err = intake.New(intake.Config{
		Params: p, Store: n.db, State: state.New(state.Config{Params: p}), Files: n.files, Verify: signature.Default().Verify,
	})
	if err != nil {
		t.Fatal(err)
	}
	if n.account, err = ethereum.Generate(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- n.intake.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := n.db.Close(); err != nil {
			t.Error(err)
		}
		if err := n.files.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// send publishes a content of the node's user, a second after the last one, and expects it to be applied.
func (n *node) send(t message.Type, content message.Content) message.Hash {
	n.t.Helper()
	n.clock = n.clock.Add(time.Second)
	m, upload, err := message.Build(n.account.Address(), n.account.Chain(), t, content, nil, n.clock)
	if err != nil {
		n.t.Fatal(err)
	}
	if upload != nil {
		n.put(string(upload))
	}
	if err := signature.Sign(n.t.Context(), n.account, m); err != nil {
		n.t.Fatal(err)
	}
	raw, err := m.MarshalJSON()
	if err != nil {
		n.t.Fatal(err)
	}
	out, err := n.intake.Submit(n.t.Context(), raw, intake.OriginAPI)
	if err != nil || out.Status != message.StatusProcessed {
		n.t.Fatalf("%s: %v %v %v", m.Type, out.Status, out.Err, err)
	}
	return m.ItemHash
}

func (n *node) put(text string) message.Hash {
	n.t.Helper()
	h, _, err := n.files.Put(n.t.Context(), strings.NewReader(text), 0)
	if err != nil {
		n.t.Fatal(err)
	}
	return h
}

func (n *node) post(text string) message.Hash {
	return n.send(message.TypePost, &message.Post{PostType: "note", Content: json.RawMessage(`{"tags":["a"],"text":"` + text + `"}`)})
}

func (n *node) amend(original message.Hash) message.Hash {
	return n.send(message.TypePost, &message.Post{PostType: message.PostTypeAmend, Ref: string(original), Content: json.RawMessage(`2`)})
}

func (n *node) aggregate(content string) message.Hash {
	return n.send(message.TypeAggregate, &message.Aggregate{Key: "k", Content: json.RawMessage(content)})
}

func (n *node) file(text, ref string) message.Hash {
	return n.send(message.TypeStore, &message.Store{FileType: message.ItemStorage, FileHash: n.put(text), Ref: ref})
}

func (n *node) forget(hashes ...message.Hash) message.Hash {
	return n.send(message.TypeForget, &message.Forget{Hashes: hashes})
}

// fill gives the node a bit of everything.
func (n *node) fill() (post, element, file, long message.Hash) {
	post = n.post("first")
	n.amend(post)
	gone := n.post("gone")
	n.amend(gone)
	element = n.aggregate(`{"a":1,"b":1}`)
	late := n.aggregate(`{"b":2}`)
	n.aggregate(`{"c":3}`)
	file = n.file("version one", "")
	n.file("version two", string(file))
	dropped := n.file("dropped", "")
	long = n.post(strings.Repeat("long ", 20_000))
	n.forget(gone, late, dropped)
	return post, element, file, long
}

func (n *node) check(change ...func(*check.Config)) *check.Report {
	n.t.Helper()
	cfg := check.Config{Params: params.Devnet(), Database: n.dsn, Files: n.files, HashFiles: true, Scratch: n.t.TempDir()}
	for _, c := range change {
		c(&cfg)
	}
	report, err := check.Run(n.t.Context(), cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	return report
}

// tamper changes the database behind the node's back.
func (n *node) tamper(query string, args ...any) {
	n.t.Helper()
	name, address := driver(), "file:"+filepath.Join(n.dir, "aleph.db")
	if strings.HasPrefix(n.dsn, "postgres") {
		name, address = "pgx", n.dsn
	}
	db, err := sql.Open(name, address)
	if err != nil {
		n.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(n.t.Context(), query, args...); err != nil {
		n.t.Fatal(err)
	}
}

// path is where the file with a text is.
func (n *node) path(text string) (found string) {
	n.t.Helper()
	err := filepath.WalkDir(filepath.Join(n.dir, "files"), func(path string, _ os.DirEntry, err error) error {
		if filepath.Base(path) == string(message.HashBytes([]byte(text))) {
			found = path
		}
		return err
	})
	if err != nil || found == "" {
		n.t.Fatalf("no file %q: %v", text, err)
	}
	return found
}

// driver is the SQLite driver that package store was built with.
func driver() string {
	for _, name := range sql.Drivers() {
		if strings.HasPrefix(name, "sqlite") {
			return name
		}
	}
	return ""
}

func TestNodeThatRunsIsClean(t *testing.T) {
	n := newNode(t, "")
	n.fill()
	r := n.check()
	if !r.Clean() {
		t.Fatalf("got %+v", r.Findings)
	}
	if r.Messages != 8 || r.Signatures != 8 || r.Forgotten != 4 || r.FileBytes == 0 {
		t.Errorf("got %+v", r)
	}
}

func TestNodeOnPostgreSQL(t *testing.T) {
	n := newNode(t, postgrestest.DSN(t))
	n.fill()
	if r := n.check(); !r.Clean() || r.Messages != 8 || r.Forgotten != 4 {
		t.Fatalf("got %+v", r)
	}
	n.tamper(`UPDATE aggregate_pieces SET members = '"a":2'`)
	n.tamper(`INSERT INTO balances (address, chain, dapp, balance, eth_height, item_hash, last_update) VALUES ('a', 'ETH', '', '9', 1, 'x', 1)`)
	r := n.check()
	if r.Problems != 2 || r.Findings[0].Check != "state" || r.Findings[1].Check != "state" {
		t.Errorf("got %+v", r)
	}
}

func TestTamperingIsNamed(t *testing.T) {
	for _, tt := range []struct {
		name    string
		tamper  func(n *node, post, element, file, long message.Hash)
		check   string
		problem string
	}{
		{"signature", func(n *node, post, _, _, _ message.Hash) {
			n.tamper(`UPDATE messages SET signature = substr(signature, 1, 20) || '00' || substr(signature, 23) WHERE item_hash = ?`, string(post))
		}, "signature", "signature"},
		{"content", func(n *node, post, _, _, _ message.Hash) {
			n.tamper(`UPDATE messages SET item_content = replace(item_content, 'first', 'worst') WHERE item_hash = ?`, string(post))
		}, "message", "hash"},
		{"content elsewhere", func(n *node, _, _, _, long message.Hash) {
			n.tamper(`UPDATE messages SET content = replace(content, 'long long', 'long lang') WHERE item_hash = ?`, string(long))
		}, "content", "not what the file"},
		{"owner", func(n *node, post, _, _, _ message.Hash) {
			n.tamper(`UPDATE messages SET owner = 'me' WHERE item_hash = ?`, string(post))
		}, "message", "it is of me"},
		{"aggregate", func(n *node, _, _, _, _ message.Hash) {
			n.tamper(`UPDATE aggregate_pieces SET members = '"a":2'`)
		}, "state", "the aggregate row is"},
		{"message row gone", func(n *node, _, element, _, _ message.Hash) {
			n.tamper(`DELETE FROM messages WHERE item_hash = ?`, string(element))
		}, "state", "no message makes it"},
		{"end of a hash gone", func(n *node, post, _, _, _ message.Hash) {
			n.tamper(`DELETE FROM hash_ends_new WHERE hash_end = substr(?, 53)`, string(post))
		}, "message", "not found by its hash"},
		{"end of a hash too many", func(n *node, _, _, _, _ message.Hash) {
			n.tamper(`INSERT INTO hash_ends_settled SELECT * FROM hash_ends_new LIMIT 1`)
		}, "message", "1 ends of hashes lead to no message"},
		{"post row gone", func(n *node, post, _, _, _ message.Hash) {
			n.tamper(`DELETE FROM posts WHERE item_hash = ?`, string(post))
		}, "state", "the post row is missing"},
		{"file row gone", func(n *node, _, _, _, long message.Hash) {
			n.tamper(`DELETE FROM files WHERE hash = ?`, string(long))
		}, "pin", "has no row"},
		{"pin gone", func(n *node, _, _, file, _ message.Hash) {
			n.tamper(`DELETE FROM file_pins WHERE item_hash = ?`, string(file))
		}, "state", "the pin row is missing"},
		{"version", func(n *node, _, _, file, _ message.Hash) {
			n.tamper(`UPDATE file_pins SET created = 1 WHERE tag = ?`, string(file))
		}, "state", "the pin row is"},
		{"forgotten comes back", func(n *node, _, _, _, _ message.Hash) {
			n.tamper(`UPDATE forgotten_messages SET forgotten_by = '["x"]'`)
		}, "forgotten", "no FORGET of this node"},
		{"file gone", func(n *node, _, _, _, long message.Hash) {
			if err := n.files.Delete(n.t.Context(), long); err != nil {
				n.t.Fatal(err)
			}
		}, "file", "not in the store of files"},
		{"byte of a file", func(n *node, _, _, _, _ message.Hash) {
			if err := os.WriteFile(n.path("version two"), []byte("version twp"), 0o600); err != nil {
				n.t.Fatal(err)
			}
		}, "file", "not those of its name"},
		{"file cut", func(n *node, _, _, _, _ message.Hash) {
			if err := os.Truncate(n.path("version two"), 3); err != nil {
				n.t.Fatal(err)
			}
		}, "file", "has 3 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, "")
			post, element, file, long := n.fill()
			tt.tamper(n, post, element, file, long)
			r := n.check()
			if r.Clean() {
				t.Fatal("nothing was found")
			}
			for _, f := range r.Findings {
				if f.Check == tt.check && strings.Contains(f.Problem, tt.problem) && f.Remedy != "" {
					return
				}
			}
			t.Errorf("got %+v", r.Findings)
		})
	}
}

func TestBrokenDatabaseIsNamed(t *testing.T) {
	n := newNode(t, "")
	n.fill()
	n.tamper(`PRAGMA wal_checkpoint(TRUNCATE)`)
	copied := filepath.Join(t.TempDir(), "aleph.db")
	raw, err := os.ReadFile(filepath.Join(n.dir, "aleph.db"))
	if err != nil {
		t.Fatal(err)
	}
	for i := len(raw) / 2; i < len(raw)/2+8192; i++ {
		raw[i] ^= 0xff
	}
	if err := os.WriteFile(copied, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	r := n.check(func(c *check.Config) { c.Database = "sqlite:" + copied })
	if r.Clean() || r.Findings[0].Check != "database" {
		t.Errorf("got %+v", r)
	}
}

func TestDatabaseThatIsNotThereIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "aleph.db")
	_, err := check.Run(t.Context(), check.Config{Params: params.Devnet(), Database: "sqlite:" + path})
	if err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the check made a database: %v", err)
	}
}
