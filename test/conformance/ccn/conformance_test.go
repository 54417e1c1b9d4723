package ccn

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	core "github.com/aleph-im/aleph-go/ccn"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/internal/postgrestest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

func TestSQLite(t *testing.T) {
	t.Parallel()
	everything(t, func(n *network) string {
		return n.start(core.Config{Store: n.database, DataDir: t.TempDir()})
	}, "sqlite:"+filepath.Join(t.TempDir(), "aleph.db"))
}

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	everything(t, func(n *network) string {
		return n.start(core.Config{Store: n.database, DataDir: t.TempDir()})
	}, postgrestest.DSN(t))
}

// TestRemote holds the node at ALEPH_CONFORMANCE_URL to the specification. ALEPH_CONFORMANCE_NETWORK names its network or
// the file of its parameters; devnet if absent. Private keys, in hex, are in ALEPH_CONFORMANCE_FUNDED, of an account with
// credits, in ALEPH_CONFORMANCE_AUTHORITY, of the account that the network trusts, and in ALEPH_CONFORMANCE_OPERATOR, of who
// may have costs computed again. Checks that need a key which is missing are skipped.
func TestRemote(t *testing.T) {
	url := os.Getenv("ALEPH_CONFORMANCE_URL")
	if url == "" {
		t.Skip("ALEPH_CONFORMANCE_URL is not set")
	}
	name := os.Getenv("ALEPH_CONFORMANCE_NETWORK")
	if name == "" {
		name = "devnet"
	}
	p, err := params.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	target := Target{URL: strings.TrimRight(url, "/"), Network: p}
	for name, account := range map[string]*signature.Account{"AUTHORITY": &target.Authority, "FUNDED": &target.Funded} {
		if key := os.Getenv("ALEPH_CONFORMANCE_" + name); key != "" {
			if *account, err = ethereum.FromHex(key); err != nil {
				t.Fatalf("the key in ALEPH_CONFORMANCE_%s: %v", name, err)
			}
		}
	}
	if key := os.Getenv("ALEPH_CONFORMANCE_OPERATOR"); key != "" {
		secret, err := hex.DecodeString(strings.TrimPrefix(key, "0x"))
		if err != nil {
			t.Fatal(err)
		}
		target.Token = func(at time.Time) string { return token(secp256k1.PrivKeyFromBytes(secret), at) }
	}
	Run(t, target)
}

// everything makes all checks on a network of this test's own, of which none may be skipped. serve starts its processes
// and returns the URL that they are reached at.
func everything(t *testing.T, serve func(*network) string, database string) {
	n := &network{t: t, params: params.Devnet(), database: database, authority: newAccount(t)}
	for _, p := range []*params.Publisher{&n.params.Balances, &n.params.Credits, &n.params.Scores, &n.params.Corechannel, &n.params.Pricing} {
		p.Addresses = []string{n.authority.Address()}
	}
	operator, err := secp256k1.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	n.params.OperatorKey = hex.EncodeToString(operator.PubKey().SerializeCompressed())
	tally := Run(t, Target{
		URL: serve(n), Network: n.params, Authority: n.authority, Confirm: n.confirm,
		Token: func(at time.Time) string { return token(operator, at) },
	})
	if tally.Skipped > 0 {
		t.Errorf("%d checks were skipped", tally.Skipped)
	}
}

// token is one for recalculations (§11.6).
func token(key *secp256k1.PrivateKey, at time.Time) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	digest := sha256.Sum256([]byte(seconds))
	signature := base64.StdEncoding.EncodeToString(ecdsa.Sign(key, digest[:]).Serialize())
	return base64.StdEncoding.EncodeToString([]byte(seconds + ":" + signature))
}

// maxSockets is the capacity of the nodes of tests, so that they can be filled.
const maxSockets = 100

// network is nodes that trust an account of the test.
type network struct {
	t         *testing.T
	params    *params.Network
	database  string
	authority signature.Account
}

// start runs a node until the test ends and returns the URL of its API.
func (n *network) start(cfg core.Config) string {
	n.t.Helper()
	cfg.Params, cfg.HTTPListen, cfg.Version, cfg.MaxSockets = n.params, "127.0.0.1:0", "test", maxSockets
	cfg.Logger = slog.New(slog.NewTextHandler(n.t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	node, err := core.New(n.t.Context(), cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	n.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			n.t.Error(err)
		}
	})
	return "http://" + node.HTTPAddr()
}

// confirm anchors a message as a reader of the chain does.
func (n *network) confirm(ctx context.Context, hash string, height int64, at time.Time) (err error) {
	db, err := store.Open(ctx, n.database)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Write(ctx, func(tx *store.Tx) error {
		row, err := tx.Message(message.Hash(hash))
		if err != nil {
			return err
		}
		return state.New(state.Config{Params: n.params, Now: time.Now}).Confirm(tx, &row.Message, store.Confirmation{
			TxHash: fmt.Sprintf("0x%064x", height), Chain: message.ChainETH, Height: height, Time: message.TimeFrom(at), Publisher: n.authority.Address(),
		})
	})
}

func TestEveryRowOfTheListHasChecks(t *testing.T) {
	rows := map[string]bool{}
	for _, c := range append(checks(), lastChecks...) {
		name, _, _ := strings.Cut(c.name, " ")
		rows[name] = true
	}
	for row := 1; row <= 22; row++ {
		if name := fmt.Sprintf("§20.%d", row); !rows[name] {
			t.Errorf("there is no check of %s", name)
		}
	}
}
