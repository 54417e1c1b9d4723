//go:build e2e

package e2e

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/crn/image/imagetest"
	"github.com/aleph-im/aleph-go/devnet/chain"
	"github.com/aleph-im/aleph-go/signature/ethereum"
	"github.com/aleph-im/aleph-go/test/scenario"
)

// runners are the SDKs, each with two wallets of its own. What install needs of the world it gets before the scenario runs.
var runners = []struct {
	name            string
	owner, delegate int
	install         []string // a command in the root of the repository
	run             func(t *testing.T, networkFile string)
}{
	{"Go", 0, 1, nil, runGo},
	{"TypeScript", 2, 3, []string{
		"bash", "-c", "cd sdk/typescript && { [ -d node_modules ] || npm ci --ignore-scripts --no-audit --no-fund --loglevel=error; }",
	}, runTypeScript},
	{"Python", 4, 5, []string{"scripts/python-env.sh"}, runPython},
}

// TestTheScenarioPassesInEverySDK runs it in namespaces of its own, where the network's compute nodes may run instances. Without
// root it runs on the network of the other tests, and leaves instances out.
func TestTheScenarioPassesInEverySDK(t *testing.T) {
	for _, r := range runners {
		if r.install != nil {
			command(t, root, nil, r.install...)
		}
	}
	instances := os.Getuid() == 0
	if instances && !imagetest.InOwnNetwork(t, "small") {
		return
	}
	var wallets []int
	for _, r := range runners {
		wallets = append(wallets, r.owner, r.delegate)
	}
	grantCredits(t, wallets...)
	var image, key string
	if instances {
		image, key = storeImage(t)
	}
	for i, r := range runners {
		t.Run(r.name, func(t *testing.T) {
			raw, err := json.Marshal(scenario.Network{
				Core: network.Core[0].URL, Runtime: network.Info().Runtime, Image: image, SSHKey: key,
				Accounts: map[string]scenario.Account{
					"owner": scenarioAccount(t, walletKey(r.owner)), "delegate": scenarioAccount(t, walletKey(r.delegate)),
					"poor": scenarioAccount(t, fmt.Sprintf("%064x", 0x5a00+i)),
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "network.json")
			if err := os.WriteFile(file, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			r.run(t, file)
			t.Logf("%.1f s", time.Since(began).Seconds())
		})
	}
}

func runGo(t *testing.T, networkFile string) {
	n, err := scenario.Load(networkFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := scenario.Run(t.Context(), n, func(line string) { t.Log(line) }); err != nil {
		t.Fatal(err)
	}
}

func runTypeScript(t *testing.T, networkFile string) {
	t.Log(command(t, filepath.Join(root, "sdk", "typescript"), scenarioVariable(networkFile), "npm", "run", "--silent", "scenario"))
}

func runPython(t *testing.T, networkFile string) {
	t.Log(command(t, filepath.Join(root, "sdk", "python"), scenarioVariable(networkFile), ".venv/bin/python", "-m", "tests.scenario"))
}

func scenarioVariable(networkFile string) []string {
	return []string{scenario.Variable + "=" + networkFile}
}

// command runs a program and returns what it printed.
func command(t *testing.T, dir string, environment []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), environment...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func scenarioAccount(t *testing.T, key string) scenario.Account {
	t.Helper()
	account, err := ethereum.FromHex(key)
	if err != nil {
		t.Fatal(err)
	}
	return scenario.Account{Chain: string(account.Chain()), Address: account.Address(), PrivateKey: key}
}

// storeImage stores a disk that boots, and makes a key for its users.
func storeImage(t *testing.T) (image, publicKey string) {
	t.Helper()
	owner, err := ethereum.NewAccount(chain.Accounts()[runners[0].owner].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(root, "build", "guest", "instance-small.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	api := client.New(client.Config{BaseURL: network.Core[0].URL})
	stored, err := api.UploadFile(t.Context(), owner, file, client.UploadOptions{Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(stored.MessageHash), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}
