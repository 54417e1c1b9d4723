// Package contracts holds the contracts of development networks, their compiled form and what Go programs call of them.
// It is small enough for the user's tool: it links no Ethereum node. The artifacts in artifacts/ are committed;
// `npm run check` shows that they are what the sources compile to.
package contracts

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

//go:embed artifacts/AlephToken.json
var tokenArtifact []byte

//go:embed artifacts/AlephSync.json
var syncArtifact []byte

//go:embed artifacts/AlephFlows.json
var flowsArtifact []byte

// Artifact is a compiled contract. It is shared and must not be changed.
type Artifact struct {
	ABI              abi.ABI       `json:"abi"`
	Bytecode         hexutil.Bytes `json:"bytecode"`         // creates the contract
	DeployedBytecode hexutil.Bytes `json:"deployedBytecode"` // what the contract's account holds
}

// Token returns the ALEPH token (p2p.md §4.7). It needs no constructor, so that a genesis block can place it.
func Token() (*Artifact, error) { return token() }

// Sync returns the contract that anchors messages (p2p.md §4.8).
func Sync() (*Artifact, error) { return anchoring() }

// Flows returns the contract that keeps streams of payment, in the place of Superfluid's on a development chain
// (crn.md §6.2).
func Flows() (*Artifact, error) { return flows() }

var (
	token     = sync.OnceValues(func() (*Artifact, error) { return parse("AlephToken", tokenArtifact) })
	anchoring = sync.OnceValues(func() (*Artifact, error) { return parse("AlephSync", syncArtifact) })
	flows     = sync.OnceValues(func() (*Artifact, error) { return parse("AlephFlows", flowsArtifact) })
)

func parse(name string, raw []byte) (*Artifact, error) {
	a := &Artifact{}
	if err := json.Unmarshal(raw, a); err != nil {
		return nil, fmt.Errorf("artifact of contract %s: %w", name, err)
	}
	return a, nil
}
