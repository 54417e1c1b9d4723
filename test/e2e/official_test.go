//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/ccn/authority"
	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/devnet/chain"
	"github.com/aleph-im/aleph-go/internal/vectors"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature/ethereum"
	"github.com/aleph-im/aleph-go/test/conformance/official"
)

// Wallets of this test, by their number: nothing else in the package spends what they hold.
const (
	officialWalletA  = 2
	officialWalletB  = 4
	officialOperator = 3 // used at the same time as the first two
	officialSettings = 5 // stands for the account that publishes prices and settings on the public network
)

// TestPublishedSDKsWorkUnmodified runs the clients that users have, as they were published, and prints the matrix of
// their calls. It does so in namespaces of its own, where compute nodes may run instances. Without root it runs on the network of
// the other tests, and leaves out who operates machines.
func TestPublishedSDKsWorkUnmodified(t *testing.T) {
	calls, err := official.Calls()
	if err != nil {
		t.Fatal(err)
	}
	cfg := official.Config{Dir: filepath.Join(root, "test", "conformance", "official")}
	machines := os.Getuid() == 0
	if machines {
		command(t, cfg.Dir, nil, "./run.sh", "--setup") // while there is a world to install from
		// The machines are told to turn themselves off while they boot, which they do not hear.
		t.Setenv("ALEPHD_INSTANCE_STOP_TIMEOUT", "1s")
		if !imagetest.InOwnNetwork(t, "small") {
			return
		}
	} else {
		calls = slices.DeleteFunc(calls, func(c official.Call) bool { return c.Machines })
		t.Log("without root nobody operates machines: those calls are not made")
	}
	seedOfficial(t)
	cfg.API, cfg.Other = network.Core[0].URL, network.Core[1].URL
	cfg.KeyA, cfg.KeyB = walletKey(officialWalletA), walletKey(officialWalletB)
	cfg.Runtime, cfg.Settings = network.Info().Runtime, chain.Accounts()[officialSettings].Address.Hex()
	if machines {
		cfg.Machines = officialMachines(t)
	}
	results, log, err := official.Run(t.Context(), cfg)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	results = append(results, replaySignatures(t)...)
	exceptions, err := official.Exceptions()
	if err != nil {
		t.Fatal(err)
	}
	report := official.Judge(calls, exceptions, results)
	var matrix bytes.Buffer
	if err := report.Write(&matrix); err != nil {
		t.Fatal(err)
	}
	t.Logf("published clients, steps that passed of steps that ran:\n%s", matrix.String())
	for _, problem := range report.Problems {
		t.Error(problem)
	}
	if t.Failed() {
		t.Logf("output of the clients:\n%s", log)
	}
}

func walletKey(i int) string { return hex.EncodeToString(chain.Accounts()[i].PrivateKey) }

// authorOf signs as one of the development accounts and publishes through the first core node.
func authorOf(t *testing.T, account int, channel string) *authority.Author {
	t.Helper()
	signer, err := ethereum.NewAccount(chain.Accounts()[account].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	api := client.New(client.Config{BaseURL: network.Core[0].URL})
	return &authority.Author{
		Account: signer, Channel: channel, MaxInline: params.Devnet().MaxInlineContent,
		Submit: func(ctx context.Context, envelope []byte) error {
			_, err := api.PublishRaw(ctx, envelope, true)
			return err
		},
	}
}

// seedOfficial grants credits to the wallets and publishes the aggregates that clients read at the settings address.
func seedOfficial(t *testing.T) {
	t.Helper()
	devnetParams := params.Devnet()
	grantCredits(t, officialWalletA, officialWalletB, officialOperator)
	settings := authorOf(t, officialSettings, "ALEPH-CLOUDSOLUTIONS")
	for key, content := range map[string]any{
		"pricing": officialPrices(devnetParams),
		"settings": map[string]any{
			"compatible_gpus":  []any{map[string]any{"name": "AD102GL [L40S]", "model": "L40S", "vendor": "NVIDIA", "device_id": "10de:26b9"}},
			"last_crn_version": "1.0.0", "community_wallet_address": settings.Account.Address(), "community_wallet_timestamp": 0,
		},
		"runtimes": map[string]any{"entries": []any{map[string]any{
			"id": "python", "name": "Python", "type": "program", "item_hash": network.Info().Runtime, "default": true,
		}}},
	} {
		if err := settings.Aggregate(t.Context(), key, content); err != nil {
			t.Fatalf("publish the aggregate %s: %v", key, err)
		}
	}
}

// grantCredits gives credits to wallets, as who sells them does.
func grantCredits(t *testing.T, wallets ...int) {
	t.Helper()
	rules := params.Devnet().Credits
	entries := make([]any, len(wallets))
	for i, wallet := range wallets {
		entries[i] = map[string]any{
			"address": chain.Accounts()[wallet].Address.Hex(), "amount": 1_000_000_000, "price": "0.1",
			"tx_hash": "0x" + strings.Repeat("5e", 32), "provider": "conformance",
		}
	}
	authorityAccount := slices.IndexFunc(chain.Accounts(), func(a chain.Account) bool { return rules.Trusts(a.Address.Hex()) })
	err := authorOf(t, authorityAccount, rules.Channels[0]).Post(t.Context(), rules.PostTypes[0], "", map[string]any{
		"distribution": map[string]any{"token": "ALEPH", "chain": "ETH", "credits": entries},
	})
	if err != nil {
		t.Fatalf("grant credits: %v", err)
	}
}

// officialPrices writes the network's prices as the aggregate that clients read (spec/sdk-cli.md §4.11).
func officialPrices(network *params.Network) map[string]any {
	aggregate := make(map[string]any)
	for _, p := range network.Prices {
		price := map[string]any{"storage": p.Storage}
		if p.ComputeUnit != nil {
			price["compute_unit"] = p.ComputeUnit
		}
		if p.Fixed != "" {
			price["fixed"] = json.Number(p.Fixed)
		}
		product := map[string]any{"price": price}
		if p.Unit != nil {
			product["compute_unit"] = p.Unit
			product["tiers"] = p.Tiers
		}
		aggregate[string(p.Product)] = product
	}
	return aggregate
}

// replaySignatures sends the valid signature vectors of every chain as they are, without a client.
func replaySignatures(t *testing.T) []official.Result {
	t.Helper()
	type vector struct {
		ID       string         `json:"id"`
		Message  map[string]any `json:"message"`
		Expected string         `json:"expected"`
		Envelope struct {
			Result string `json:"result"`
		} `json:"envelope"`
		HashMatches *bool `json:"item_hash_matches_content"`
	}
	paths, err := filepath.Glob(filepath.Join(vectors.Dir(t), "signatures_*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no signature vectors: %v", err)
	}
	sent := make(map[string]bool) // hashes: a second copy under another chain is a duplicate
	var results []official.Result
	for _, path := range paths {
		var file struct{ Fixtures, Own []vector }
		vectors.Load(t, filepath.Base(path), &file)
		family := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "signatures_"), ".json")
		result := official.Result{Number: 45, Client: "raw", Step: family, OK: true}
		count := 0
		for _, v := range slices.Concat(file.Own, file.Fixtures) {
			hash, _ := v.Message["item_hash"].(string)
			postable := v.Expected == "valid" && v.Envelope.Result == "accepted" && v.Message["item_type"] == "inline" &&
				v.Message["type"] == "POST" && (v.HashMatches == nil || *v.HashMatches) && standsAlone(v.Message)
			if !postable || sent[hash] {
				continue
			}
			sent[hash] = true
			count++
			if err := postRaw(t.Context(), v.Message); err != nil && result.OK {
				result.OK, result.Reason = false, fmt.Sprintf("%s: %v", v.ID, err)
			}
		}
		if count == 0 {
			t.Logf("signature vectors of %s: none to post", family)
			continue
		}
		results = append(results, result)
	}
	return results
}

// standsAlone reports whether a post needs nobody's permission and no other message.
func standsAlone(message map[string]any) bool {
	var content struct {
		Address string `json:"address"`
		Type    string `json:"type"`
	}
	text, _ := message["item_content"].(string)
	return json.Unmarshal([]byte(text), &content) == nil && content.Address == message["sender"] && content.Type != "amend"
}

// postRaw publishes a message and expects that it was not refused.
func postRaw(ctx context.Context, message map[string]any) error {
	body, err := json.Marshal(map[string]any{"sync": true, "message": message})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, network.Core[0].URL+"/api/v0/messages", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, answer.String())
	}
	return nil
}
