package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/payg"
	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/meter"
	"github.com/aleph-im/aleph-go/devnet/chain"
	"github.com/aleph-im/aleph-go/devnet/chain/chaintest"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// streamRig is a network with a real chain, a real core node, and a compute node of which the check of payments is real.
type streamRig struct {
	*testing.T
	u                   *user
	node                *realNode
	streams             *payg.Streams
	receiver, community string
	toNode, toCommunity *big.Int // for one instance, in wei a second
	compute             *httptest.Server
	image, key          string
	transactions        atomic.Int64 // that the chain still takes before it refuses one
	admitted            atomic.Int64
}

func newStreamRig(t *testing.T) *streamRig {
	t.Helper()
	r := &streamRig{T: t, receiver: chain.Accounts()[2].Address.Hex(), community: chain.Accounts()[3].Address.Hex()}
	r.transactions.Store(1000)
	rpc := httptest.NewServer(r.chain(chaintest.Start(t).Endpoint()))
	t.Cleanup(rpc.Close)
	of := params.Devnet().Streams[0]
	of.RPC = rpc.URL
	var err error
	if r.streams, err = payg.New(payg.Config{Chain: of}); err != nil {
		t.Fatal(err)
	}

	r.u = newUser(t, "")
	r.u.env["ALEPH_PRIVATE_KEY"] = hex.EncodeToString(chain.Accounts()[1].PrivateKey)
	node := newRealNode(t, r.u.address())
	r.node = node
	node.core.SetAggregate("settings", map[string]any{"community_wallet_address": r.community, "community_wallet_timestamp": 1})
	r.u.api, r.u.network = node.URL, filepath.Join(t.TempDir(), "network.json")
	var described map[string]any
	raw, err := os.ReadFile(node.network)
	if err == nil {
		err = json.Unmarshal(raw, &described)
	}
	if err != nil {
		t.Fatal(err)
	}
	described["streams"] = []params.StreamChain{of}
	if raw, err = json.Marshal(described); err == nil {
		err = os.WriteFile(r.u.network, raw, 0o600)
	}
	r.key, r.image = filepath.Join(t.TempDir(), "key.pub"), filepath.Join(t.TempDir(), "disk.img")
	err = errors.Join(err, os.WriteFile(r.key, []byte("ssh-ed25519 AAAA me\n"), 0o600), os.WriteFile(r.image, []byte("a disk"), 0o600))
	if err != nil {
		t.Fatal(err)
	}

	r.compute = httptest.NewServer(r.computeNode(node, of))
	t.Cleanup(r.compute.Close)
	r.register("")
	return r
}

// register makes the compute node known, with terms or without.
func (r *streamRig) register(terms message.Hash) { r.registerFor(exampleAddress, terms) }

// registerFor does so with another owner.
func (r *streamRig) registerFor(owner string, terms message.Hash) {
	r.node.core.SetAggregate("corechannel", map[string]any{"nodes": []any{map[string]any{
		"hash": exampleCore, "name": "core-1", "owner": exampleAddress, "status": "active", "multiaddress": "/ip4/127.0.0.1/tcp/1",
		"resource_nodes": []string{exampleCompute},
	}}, "resource_nodes": []any{map[string]any{
		"hash": exampleCompute, "name": "crn-1", "owner": owner, "status": "linked", "address": r.compute.URL, "parent": exampleCore,
		"stream_reward": strings.ToLower(r.receiver), "terms_and_conditions": terms,
	}}})
	r.heeded(true)
}

// chain is the way to a chain, which refuses one transaction when those that it takes are used up.
func (r *streamRig) chain(endpoint string) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err == nil && bytes.Contains(body, []byte("eth_sendRawTransaction")) && r.transactions.Add(-1) == -1 {
			fmt.Fprint(w, `{"error":{"code":-32000,"message":"txpool is full"}}`)
			return
		}
		resp, err := http.Post(endpoint, "application/json", bytes.NewReader(body))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		_, _ = io.Copy(w, resp.Body) // a client that is gone needs no answer
	}
}

// computeNode is a compute node that starts nothing, but checks what is streamed as a node does.
func (r *streamRig) computeNode(node *realNode, of params.StreamChain) http.Handler {
	source, err := corenode.New(corenode.Config{API: node.core.URL, Dir: r.TempDir(), AnswerAge: time.Nanosecond})
	if err != nil {
		r.Fatal(err)
	}
	chains, err := meter.NewChains([]params.StreamChain{of})
	if err != nil {
		r.Fatal(err)
	}
	payments := meter.New(meter.Config{Accounts: source, Streams: chains, Settings: node.core.Authority(), Receiver: r.receiver})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status/config", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"payment":{"PAYMENT_RECEIVER_ADDRESS":%q,"AVAILABLE_PAYMENTS":{"Chain.AVAX":{"active":true}}}}`, r.receiver)
	})
	mux.HandleFunc("POST /control/allocation/notify", func(w http.ResponseWriter, request *http.Request) {
		var body struct{ Instance message.Hash }
		err := json.NewDecoder(request.Body).Decode(&body)
		var workload *corenode.Workload
		if err == nil {
			workload, err = source.Workload(request.Context(), body.Instance)
		}
		if err == nil {
			err = payments.Admit(request.Context(), workload)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusPaymentRequired)
			return
		}
		r.admitted.Add(1)
		fmt.Fprint(w, `{"success":true,"successful":true,"failing":[],"errors":{}}`)
	})
	return mux
}

// price keeps what streams for one instance are: its price in wei a second, four fifths to the node and one to the community, rounded up.
func (r *streamRig) price(hash message.Hash) {
	r.Helper()
	cost, err := client.New(client.Config{BaseURL: r.u.api}).Price(r.Context(), hash)
	if err != nil {
		r.Fatal(err)
	}
	wei, ok := new(big.Rat).SetString(cost.Cost)
	if !ok || wei.Sign() <= 0 {
		r.Fatalf("it costs %q", cost.Cost)
	}
	wei.Mul(wei, new(big.Rat).SetInt64(1e18))
	fifths := func(n int64) *big.Int {
		part := new(big.Rat).Mul(wei, big.NewRat(n, 5))
		whole := new(big.Int).Quo(part.Num(), part.Denom())
		if !part.IsInt() {
			whole.Add(whole, big.NewInt(1))
		}
		return whole
	}
	r.toNode, r.toCommunity = fifths(4), fifths(1)
}

// flows expects as many times what one instance streams.
func (r *streamRig) flows(when string, times int64) {
	r.Helper()
	for receiver, one := range map[string]*big.Int{r.receiver: r.toNode, r.community: r.toCommunity} {
		got, err := r.streams.Flow(r.Context(), r.u.address(), receiver)
		if err != nil {
			r.Fatal(err)
		}
		if want := new(big.Int).Mul(one, big.NewInt(times)); got.Cmp(want) != 0 {
			r.Errorf("%s: %d wei a second to %s, want %d", when, got, receiver, want)
		}
	}
}

func (r *streamRig) create(more ...string) (code int, hash message.Hash, errOut string) {
	r.Helper()
	args := []string{"--timeout", "30s", "-y", "instance", "create", "--payment", "stream", "--image", r.image, "--ssh-key", r.key}
	code, out, errOut := r.u.run(append(args, more...)...)
	if fields := strings.Fields(out); code == 0 && len(fields) > 1 {
		hash = message.Hash(fields[1])
	}
	return code, hash, errOut
}

func TestInstanceIsPaidByStreams(t *testing.T) {
	r := newStreamRig(t)
	code, first, errOut := r.create()
	if code != 0 || !strings.Contains(errOut, "ALEPH an hour") || !strings.Contains(errOut, "streamed on AVAX: four fifths to the compute node") {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	r.price(first)
	r.flows("one instance", 1)
	if r.admitted.Load() != 1 {
		t.Fatalf("admitted %d times", r.admitted.Load())
	}
	// Again is no more: what is streamed is enough.
	if code, _, errOut := r.u.run("-y", "instance", "create", "--resume", string(first)); code != 0 {
		t.Errorf("resumed: exit code %d: %s", code, errOut)
	}
	r.flows("resumed", 1)

	code, second, errOut := r.create("--name", "second", "--node", "CRN-1", "--chain", "avax")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	r.flows("two instances", 2)
	for i, hash := range []message.Hash{first, second} {
		if code, _, errOut := r.u.run("-y", "instance", "delete", string(hash)); code != 0 {
			t.Errorf("exit code %d: %s", code, errOut)
		}
		r.flows("deleted", 1-int64(i))
	}

	// The chain refuses the second of the two transactions: the first is taken back.
	r.transactions.Store(1)
	code, _, errOut = r.create("--name", "third")
	_, after, _ := strings.Cut(errOut, "--resume ")
	if code == 0 || !strings.Contains(errOut, "nothing is streamed for it") || len(after) < 64 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	r.flows("half done", 0)
	if code, _, errOut := r.u.run("-y", "instance", "create", "--resume", after[:64]); code != 0 {
		t.Errorf("continued: exit code %d: %s", code, errOut)
	}
	r.flows("continued", 1)
}

func TestTermsOfAComputeNodeAreAcceptedInTheMessage(t *testing.T) {
	r := newStreamRig(t)
	text := filepath.Join(t.TempDir(), "terms.txt")
	if err := os.WriteFile(text, []byte("be kind\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stored []fileView
	r.u.result(&stored, "file", "upload", text)
	terms := stored[0].ItemHash
	r.register(terms)
	args := []string{"instance", "create", "--image", r.image, "--ssh-key", r.key, "--payment", "stream"}
	if code, _, errOut := r.u.run(append([]string{"--no-input"}, args...)...); code != exitUsage || !strings.Contains(errOut, "Do you accept the terms of crn-1?") {
		t.Errorf("not asked: exit code %d: %s", code, errOut)
	}
	code, hash, errOut := r.create()
	if code != 0 || !strings.Contains(errOut, "Terms of crn-1: "+r.node.URL+"/api/v0/storage/raw/"+string(stored[0].FileHash)) {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	info, err := r.node.core.Client().GetMessage(t.Context(), hash)
	if err != nil || !strings.Contains(string(info.Message.Content), `"terms_and_conditions":"`+string(terms)) {
		t.Errorf("message %s, %v", info.Message.Content, err)
	}
	r.register(message.HashBytes([]byte("not there")))
	if code, _, errOut := r.create("--name", "second"); code == 0 || !strings.Contains(errOut, "choose another node with --node") {
		t.Errorf("terms that nobody has: exit code %d: %s", code, errOut)
	}
}

// publish puts an instance like another on the network, which belongs to owner and is paid by streams on a chain to receiver.
func (r *streamRig) publish(like message.Hash, by client.Account, on, owner, receiver string) message.Hash {
	r.Helper()
	api := r.node.core.Client()
	info, err := api.GetMessage(r.Context(), like)
	if err != nil {
		r.Fatal(err)
	}
	content, err := message.ParseContent(message.TypeInstance, info.Message.Content)
	if err != nil {
		r.Fatal(err)
	}
	instance := content.(*message.Instance)
	instance.Payment.Chain = &on
	instance.Address, instance.Payment.Receiver, instance.Time = owner, &receiver, float64(time.Now().UnixMicro())/1e6
	m, _, err := api.Send(r.Context(), by, message.TypeInstance, instance, client.SendOptions{Sync: true})
	if err == nil {
		_, err = api.WaitFor(r.Context(), m.ItemHash)
	}
	if err != nil {
		r.Fatal(err)
	}
	return m.ItemHash
}

func TestStreamsAreForWhatBelongsToTheAccount(t *testing.T) {
	r := newStreamRig(t)
	code, first, errOut := r.create()
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	r.price(first)
	me, err1 := ethereum.NewAccount(chain.Accounts()[1].PrivateKey)
	delegate, err2 := ethereum.NewAccount(chain.Accounts()[4].PrivateKey)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	other := newUser(t, r.u.api)
	other.network, other.env["ALEPH_PRIVATE_KEY"] = r.u.network, hex.EncodeToString(chain.Accounts()[4].PrivateKey)
	r.u.result(nil, "authorization", "add", delegate.Address(), "--type", "INSTANCE")
	other.result(nil, "authorization", "add", me.Address(), "--type", "INSTANCE")
	sentForMe := r.publish(first, delegate, "AVAX", me.Address(), r.receiver)
	sentByMe := r.publish(first, me, "AVAX", delegate.Address(), r.receiver)
	if code, _, errOut := r.u.run("-y", "instance", "create", "--resume", string(first)); code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	r.flows("one sent by another", 2)
	if code, _, errOut := r.u.run("-y", "instance", "delete", string(sentByMe)); code != exitUsage || !strings.Contains(errOut, delegate.Address()) {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if code, _, errOut := r.u.run("-y", "instance", "delete", string(sentForMe)); code != 0 {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	r.flows("that one deleted", 1)
}

func TestNothingIsStreamedToANodeThatNoInstanceNeeds(t *testing.T) {
	r := newStreamRig(t)
	code, hash, errOut := r.create()
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	me, err := ethereum.NewAccount(chain.Accounts()[1].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	// As if it had cost more when its streams began.
	more := big.NewInt(1_000_000)
	plan, err := r.streams.Increase(t.Context(), me.Address(), []payg.Flow{{Receiver: r.receiver, Rate: more}, {Receiver: r.community, Rate: more}})
	if err := errors.Join(err, r.streams.Apply(t.Context(), me, plan)); err != nil {
		t.Fatal(err)
	}
	code, _, errOut = r.u.run("-y", "instance", "delete", string(hash))
	if told := fmt.Sprintf("%d wei a second (0 ALEPH an hour) still flow to %s", more, r.community); code != 0 || !strings.Contains(errOut, told) {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	r.toNode, r.toCommunity = new(big.Int), more
	r.flows("deleted", 1)
}

func TestAnInstanceIsKeptWhenItsStreamsCannotBeEnded(t *testing.T) {
	r := newStreamRig(t)
	code, mine, errOut := r.create()
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	me, err := ethereum.NewAccount(chain.Accounts()[1].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	stranger := newUser(t, r.u.api)
	stranger.network, stranger.env["ALEPH_PRIVATE_KEY"] = r.u.network, hex.EncodeToString(chain.Accounts()[4].PrivateKey)
	elsewhere := r.publish(mine, me, "BASE", me.Address(), r.receiver)
	for name, test := range map[string]struct {
		by   *user
		hash message.Hash
		says string
	}{
		"another account": {stranger, mine, "use that account"},
		"another chain":   {r.u, elsewhere, "no streams there"},
	} {
		for _, do := range []string{"erase", "delete"} {
			if code, _, errOut := test.by.run("-y", "instance", do, string(test.hash)); code != exitUsage || !strings.Contains(errOut, test.says) {
				t.Errorf("%s by %s: exit code %d: %s", do, name, code, errOut)
			}
		}
	}
	if did := r.node.compute.operated; len(did) > 0 {
		t.Errorf("the compute node was asked for %v", did)
	}
}

func TestCreatingAnInstancePaysForNoOtherNode(t *testing.T) {
	r := newStreamRig(t)
	code, first, errOut := r.create()
	if code != 0 || strings.Contains(errOut, "goes from") {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	r.price(first)
	me, err := ethereum.NewAccount(chain.Accounts()[1].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := chain.Accounts()[5].Address.Hex()
	r.publish(first, me, "AVAX", me.Address(), elsewhere)
	r.publish(first, me, "AVAX", me.Address(), r.receiver)
	if code, _, errOut = r.create(); code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	// One here streams already, and one here and one elsewhere do not.
	for receiver, rates := range map[string][2]*big.Int{
		r.receiver:  {r.toNode, new(big.Int).Mul(r.toNode, big.NewInt(3))},
		r.community: {r.toCommunity, new(big.Int).Mul(r.toCommunity, big.NewInt(4))},
		elsewhere:   {nil, new(big.Int)},
	} {
		if got, err := r.streams.Flow(t.Context(), me.Address(), receiver); err != nil || got.Cmp(rates[1]) != 0 {
			t.Errorf("%d wei a second to %s, %v; want %d", got, receiver, err, rates[1])
		}
		switch {
		case rates[0] == nil && strings.Contains(errOut, receiver),
			rates[0] != nil && !strings.Contains(errOut, fmt.Sprintf("The stream to %s goes from %s to %s ALEPH an hour", receiver, hourly(rates[0]), hourly(rates[1]))):
			t.Errorf("it is asked: %s", errOut)
		}
	}
}

func TestStreamsAreRefusedBeforeAnythingIsDone(t *testing.T) {
	r := newStreamRig(t)
	for name, c := range map[string]struct {
		more []string
		code int
		says string
	}{
		"no such chain": {[]string{"--chain", "BASE"}, exitUsage, "no streams there"},
		"no such node":  {[]string{"--node", "crn-9"}, exitUsage, "no compute node has this hash, name or address"},
		"for another":   {[]string{"--on-behalf-of", exampleAddress}, exitUsage, "paid by the account itself"},
	} {
		if code, _, errOut := r.create(c.more...); code != c.code || !strings.Contains(errOut, c.says) {
			t.Errorf("%s: exit code %d: %s", name, code, errOut)
		}
	}
	r.u.env["ALEPH_PRIVATE_KEY"] = strings.Repeat("5a", 32) // who has nothing on the chain
	if code, _, errOut := r.create(); code != exitFunds || !strings.Contains(errOut, "gas") {
		t.Errorf("without gas: exit code %d: %s", code, errOut)
	}
	if code, out, _ := r.u.run("-o", "json", "message", "list", "--type", "INSTANCE"); code != 0 || strings.Contains(out, "item_hash") {
		t.Errorf("something was published: %s", out)
	}
}
