// Package scenario runs scenario.json, what a user does, through the Go SDK. README.md says the rules, which the runners of
// the other SDKs follow too; test/e2e gives each of them a network.
package scenario

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// Variable is the name of the environment variable that holds the path of the network file.
const Variable = "ALEPH_SCENARIO_NETWORK"

// Network is the network file.
type Network struct {
	Core     string             `json:"core"` // base URL of a core node
	Accounts map[string]Account `json:"accounts"`
	Runtime  string             `json:"runtime"`         // STORE message of a Python runtime
	Image    string             `json:"image,omitempty"` // STORE message of a disk that boots; "" where no instances run
	SSHKey   string             `json:"ssh_key,omitempty"`
}

// Account is one that a runner signs with.
type Account struct {
	Chain      string `json:"chain"`
	Address    string `json:"address"`
	PrivateKey string `json:"private_key"` // hex
}

// Load reads a network file.
func Load(path string) (Network, error) {
	var n Network
	raw, err := os.ReadFile(path)
	if err != nil {
		return n, fmt.Errorf("read the network of the scenario: %w", err)
	}
	if err := json.Unmarshal(raw, &n); err != nil {
		return n, fmt.Errorf("read %s: %w", path, err)
	}
	return n, nil
}

//go:embed scenario.json
var text []byte

// step is one of scenario.json.
type step struct {
	About  string            `json:"about"`
	As     string            `json:"as"`
	Do     string            `json:"do"`
	With   map[string]any    `json:"with"`
	Expect map[string]any    `json:"expect"`
	Fails  map[string]any    `json:"fails"`
	Within int               `json:"within"` // seconds
	Save   map[string]string `json:"save"`
	Needs  string            `json:"needs"`
}

const (
	stepTimeout = time.Minute // of a step that says nothing of it
	retryPause  = time.Second
)

// runner is a run of the scenario.
type runner struct {
	api       *client.Client
	accounts  map[string]client.Account
	variables map[string]any
	network   map[string]any // the network file, by its members
	watch     *watch         // nil unless one is open
}

// Run does all steps on a network, and tells of each by one line. It ends with the first that goes wrong.
func Run(ctx context.Context, network Network, tell func(line string)) error {
	var scenario struct{ Steps []step }
	if err := json.Unmarshal(text, &scenario); err != nil {
		return fmt.Errorf("read scenario.json: %w", err)
	}
	r, err := newRunner(network)
	if err != nil {
		return err
	}
	defer r.closeWatch()
	for i, s := range scenario.Steps {
		switch {
		case s.About != "":
			tell("# " + s.About)
		case s.Needs != "" && r.network[s.Needs] == nil:
			tell(fmt.Sprintf("- %s left out: the network has no %s", s.Do, s.Needs))
		default:
			began := time.Now()
			if err := r.do(ctx, s); err != nil {
				return fmt.Errorf("step %d, %s as %s: %w", i+1, s.Do, s.As, err)
			}
			tell(fmt.Sprintf("- %s as %s, %.2f s", s.Do, s.As, time.Since(began).Seconds()))
		}
	}
	return nil
}

func newRunner(network Network) (*runner, error) {
	r := &runner{
		api: client.New(client.Config{BaseURL: network.Core}), accounts: map[string]client.Account{}, variables: map[string]any{},
		network: map[string]any{},
	}
	raw, err := json.Marshal(network)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &r.network); err != nil {
		return nil, err
	}
	run := make([]byte, 8)
	for i := range run {
		run[i] = 'a' + byte(rand.N(26))
	}
	r.variables["run"], r.variables["channel"], r.variables["key"] = string(run), "SCENARIO-"+string(run), "scenario-"+string(run)
	for _, name := range []string{"runtime", "image", "ssh_key"} {
		r.variables[name] = r.network[name]
	}
	for name, a := range network.Accounts {
		account, err := ethereum.FromHex(a.PrivateKey)
		if err != nil {
			return nil, fmt.Errorf("key of %s: %w", name, err)
		}
		r.accounts[name], r.variables[name] = account, account.Address()
	}
	return r, nil
}

// do does a step, and does it again while it may.
func (r *runner) do(ctx context.Context, s step) error {
	limit := stepTimeout
	if s.Within > 0 {
		limit = time.Duration(s.Within) * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		result, err := r.try(ctx, s)
		if err == nil {
			return r.save(s, result)
		}
		if s.Within == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %d s: %w", s.Within, err)
		case <-time.After(retryPause):
		}
	}
}

// save keeps members of a result under the names of variables.
func (r *runner) save(s step, result map[string]any) error {
	for variable, member := range s.Save {
		if result[member] == nil {
			return fmt.Errorf("the result has no %s", member)
		}
		r.variables[variable] = result[member]
	}
	return nil
}

// try does a step once and judges what comes of it.
func (r *runner) try(ctx context.Context, s step) (map[string]any, error) {
	operation, ok := operations[s.Do]
	if !ok {
		return nil, fmt.Errorf("there is no operation of that name")
	}
	account := r.accounts[s.As]
	if account == nil {
		return nil, fmt.Errorf("there is no account %q", s.As)
	}
	with, err := r.fill(s.With)
	if err != nil {
		return nil, err
	}
	arguments, err := json.Marshal(with)
	if err != nil {
		return nil, err
	}
	result, failure := operation(ctx, r, account, arguments)
	if failure != nil && s.Fails == nil {
		return nil, failure
	}
	if failure == nil && s.Fails != nil {
		return nil, fmt.Errorf("it succeeded with %+v, and should have failed", result)
	}
	pattern := s.Expect
	if failure != nil {
		pattern, result = s.Fails, describe(failure)
	}
	got, err := plain(result)
	if err != nil || pattern == nil {
		return members(got), err
	}
	filled, err := r.fill(pattern)
	if err != nil {
		return nil, err
	}
	if err := fits(filled, got); err != nil {
		return nil, fmt.Errorf("%w (got %v, error %v)", err, got, failure)
	}
	return members(got), nil
}

func members(value any) map[string]any {
	m, _ := value.(map[string]any)
	return m
}

// plain is a value in the types that encoding/json decodes to.
func plain(v any) (any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var p any
	err = json.Unmarshal(raw, &p)
	return p, err
}
