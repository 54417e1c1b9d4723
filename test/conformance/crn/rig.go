package crn

import (
	"bytes"
	"context"
	"encoding/json"

	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"

	"github.com/aleph-im/aleph-go/contracts"
	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/devnet/chain"
	"github.com/aleph-im/aleph-go/devnet/chain/chaintest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// Accounts that publish for the network of the rig.
const (
	registryAddress = "0xRegistry"
	settingsAddress = "0xSettings"
	domain          = "crn.test"
	publicURL       = "https://crn.test"
	token           = "test" // for allocations
)

// rig is a compute node with all that it asks, shared by the checks.
type rig struct {
	*testing.T
	root    *testing.T // of all checks
	core    *corenodetest.Node
	chain   *payments
	dns     *records
	house   *house
	runtime message.Hash
	node    *node

	diagnostic message.Hash // a program of testdata/diagnostics
	probe      message.Hash // of crn/testdata/probe, with a disk that stays at /kept
}

// in is the rig for a check of its own.
func (r *rig) in(t *testing.T) *rig {
	c := *r
	c.T = t
	return &c
}

// node is a running compute node.
type node struct {
	*crn.CRN
	url string
	dir string
	end context.CancelFunc

	over chan struct{} // closed when it has ended
	err  error         // then
}

// ended reports whether the node has.
func (n *node) ended() bool {
	select {
	case <-n.over:
		return true
	default:
		return false
	}
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, root: t, core: corenodetest.New(t), chain: newPayments(t), dns: &records{texts: map[string]string{}}, house: &house{}}
	image, err := os.ReadFile(imagetest.Get(t).Runtime)
	if err != nil {
		t.Fatal(err)
	}
	r.runtime = r.core.Store(image)
	r.diagnostic = r.program("diagnostics", "./test/conformance/crn/testdata/diagnostics", func(content map[string]any) {
		delete(content, "volumes")
		delete(content["code"].(map[string]any), "use_latest")
		delete(content["runtime"].(map[string]any), "use_latest")
		content["environment"] = map[string]any{"reproducible": false}
	})
	r.probe = r.program("probe", "./crn/testdata/probe", func(content map[string]any) {
		content["volumes"] = []any{
			map[string]any{"persistence": "host", "name": "kept", "mount": "/kept", "size_mib": 8},
			map[string]any{"persistence": "host", "mount": "/unnamed", "size_mib": 8},
		}
	})
	r.register(registered(ownHash, crnOwner(), publicURL))
	r.settings(settingsAddress, map[string]any{"community_wallet_address": communityAddress, "community_wallet_timestamp": 1})
	r.node = r.start(nil)
	return r
}

// program publishes a Go program of this module; change may adapt its message.
func (r *rig) program(name, pkg string, change func(map[string]any)) message.Hash {
	r.Helper()
	binary := filepath.Join(guestDir(), name)
	if err := imagetest.BuildGo(pkg, binary); err != nil {
		r.Fatal(err)
	}
	raw, err := os.ReadFile(binary)
	if err != nil {
		r.Fatal(err)
	}
	code := r.core.Store(imagetest.Zip(r, map[string]string{"bin/" + name: string(raw)}))
	content := corenodetest.Program(code, r.runtime, message.EncodingZip, "bin/"+name)
	if change != nil {
		change(content)
	}
	return r.core.Publish(message.TypeProgram, content)
}

// start runs a node until the test ends, or end is called.
func (r *rig) start(change func(*crn.Config)) *node {
	r.Helper()
	n, err := r.begin(change)
	if err != nil {
		r.Fatal(err)
	}
	return n
}

// refuses checks that a node does not start, for a reason.
func (r *rig) refuses(change func(*crn.Config), reason string) {
	r.Helper()
	if n, err := r.begin(change); err == nil {
		r.Error("it starts")
		n.end()
	} else if !strings.Contains(err.Error(), reason) {
		r.Errorf("got %v, want %s", err, reason)
	}
}

func (r *rig) begin(change func(*crn.Config)) (*node, error) {
	r.Helper()
	network := params.Devnet()
	network.Corechannel.Addresses, network.Pricing.Addresses = []string{registryAddress}, []string{settingsAddress}
	network.Streams = []params.StreamChain{{
		Chain: "AVAX", ChainID: 31337, RPC: r.chain.Endpoint(), Token: chain.TokenAddress.Hex(), Agreement: chain.FlowsAddress.Hex(),
	}}
	c := crn.Config{
		Listen: "127.0.0.1:0", DataDir: r.TempDir(), CoreNode: r.core.URL, Network: network, DomainName: domain, PublicURL: publicURL + "/",
		Owner: crnOwner(), AllocationSigners: []string{scheduler.Address()}, AllocationTokenHash: tokenHash,
		GuestDir: guestDir(), GuestProgram: guestProgram(), Accelerator: "tcg",
		MemoryMiB: 900, InitTimeout: 90 * time.Second, DrainTimeout: 10 * time.Second, IPv6Pool: "1111:2222:3333:4444::/64", HostIPv4: "192.0.2.7",
		PaymentInterval: sweep, AnswerAge: time.Nanosecond, Diagnostics: r.diagnostic, LegacyDiagnostics: r.diagnostic, Resolver: r.dns,
		Log: slog.New(slog.NewTextHandler(r.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if change != nil {
		change(&c)
	}
	n := &node{dir: c.DataDir, over: make(chan struct{})}
	var err error
	if n.CRN, err = crn.New(c); err != nil {
		return nil, err
	}
	n.url = "http://" + n.Addr().String()
	var ctx context.Context
	ctx, n.end = context.WithCancel(context.Background())
	go func() { n.err = n.Run(ctx); close(n.over) }()
	r.Cleanup(func() {
		n.end()
		<-n.over
		if n.err != nil {
			r.Errorf("node ended with %v", n.err)
		}
	})
	return n, nil
}

func guestDir() string     { return filepath.Join(imagetest.Root(), "build", "guest") }
func guestProgram() string { return filepath.Join(guestDir(), "guest-init") }

// sweep is how often nodes of the rig look at payments.
const sweep = 500 * time.Millisecond

// records is the DNS: what names say in texts. Those that begin with "to-" lead to the program whose hash follows.
type records struct {
	mu    sync.Mutex
	texts map[string]string
}

func (d *records) set(name, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.texts[name] = text
}

func (d *records) LookupTXT(_ context.Context, name string) ([]string, error) {
	if hash, ok := strings.CutPrefix(name, "_aleph-id.to-"); ok {
		hash, _, _ = strings.Cut(hash, ".")
		return []string{hash}, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if text, ok := d.texts[name]; ok {
		return []string{text}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (*records) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
}

// reply is what a node said.
type reply struct {
	status int
	header http.Header
	body   string
}

// ask sends a request; header are names and values in turn, of which Host is the name that the node is asked by.
func (r *rig) ask(n *node, method, path, body string, header ...string) reply {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, n.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		r.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			request.Host = header[i+1]
		} else {
			request.Header.Set(header[i], header[i+1])
		}
	}
	response, err := http.DefaultTransport.RoundTrip(request) // redirects are answers too
	if err != nil {
		r.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		r.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(raw)}
}

func (r *rig) get(path string, header ...string) reply {
	r.Helper()
	return r.ask(r.node, "GET", path, "", header...)
}

// want compares an answer. Without a body, only the status counts.
func (r *rig) want(what string, got reply, status int, body ...string) {
	r.Helper()
	if got.status != status || len(body) > 0 && got.body != body[0] {
		r.Errorf("%s: got %d %.600s, want %d %s", what, got.status, got.body, status, strings.Join(body, ""))
	}
}

// object reads an answer as a JSON object.
func (r *rig) object(got reply) map[string]any {
	r.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(got.body), &v); err != nil {
		r.Fatalf("not an object: %d %.600s", got.status, got.body)
	}
	return v
}

// listed returns a program's entry in the list of what runs; nil when it does not.
func (r *rig) listed(n *node, hash message.Hash) map[string]any {
	r.Helper()
	entry, _ := r.object(r.ask(n, "GET", "/about/executions/list", ""))[string(hash)].(map[string]any)
	return entry
}

// until waits for something to come true.
func (r *rig) until(what string, holds func() bool) {
	r.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("did not come true: %s", what)
		}
	}
}

// settings publishes the network's settings.
func (r *rig) settings(address string, settings map[string]any) {
	r.core.Aggregate(address, map[string]any{"settings": settings})
}

// payments is a chain with streams.
type payments struct {
	*chain.Chain
}

func newPayments(t *testing.T) *payments {
	return &payments{chaintest.Start(t)}
}

// stream makes an account stream to a receiver, in wei per second, and returns when the chain has it.
func (p *payments) stream(r *rig, from chain.Account, receiver string, rate int64) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
	defer cancel()
	client, err := ethclient.DialContext(ctx, p.Endpoint())
	if err != nil {
		r.Fatal(err)
	}
	defer client.Close()
	input, err := contracts.SetFlowInput(chain.TokenAddress, hexAddress(receiver), big.NewInt(rate))
	if err != nil {
		r.Fatal(err)
	}
	nonce, err := client.PendingNonceAt(ctx, from.Address)
	if err != nil {
		r.Fatal(err)
	}
	key, err := crypto.ToECDSA(from.PrivateKey)
	if err != nil {
		r.Fatal(err)
	}
	tx, err := types.SignNewTx(key, types.LatestSignerForChainID(big.NewInt(31337)), &types.DynamicFeeTx{
		ChainID: big.NewInt(31337), Nonce: nonce, To: &chain.FlowsAddress, Data: input, Gas: 200_000, GasTipCap: big.NewInt(1e9), GasFeeCap: big.NewInt(100e9),
	})
	if err != nil {
		r.Fatal(err)
	}
	if err := client.SendTransaction(ctx, tx); err != nil {
		r.Fatal(err)
	}
	r.until("the stream is on the chain", func() bool {
		receipt, err := client.TransactionReceipt(ctx, tx.Hash())
		return err == nil && receipt.Status == types.ReceiptStatusSuccessful
	})
}
