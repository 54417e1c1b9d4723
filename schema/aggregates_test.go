package schema

import (
	"encoding/json"
	"testing"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/registry"
)

// TestWhatGoWritesIntoAggregatesFits compares what is written with every member and with as few as there may be. Schemas of
// aggregates are closed, and ask for what is always written, so that a member that is new, or gone, shows.
func TestWhatGoWritesIntoAggregatesFits(t *testing.T) {
	s := load(t)
	hash := message.HashBytes([]byte("some message"))
	hashes := []string{string(hash)}
	height, text, yes := int64(19401322), "0x3Fb6", true
	node := registry.Node{
		Hash: string(hash), Owner: text, Manager: text, Reward: text, StreamReward: text, Name: text, Description: text, Picture: text,
		Banner: text, Multiaddress: text, Address: text, Locked: true, Authorized: []string{text}, RegistrationURL: text,
		TermsAndConditions: text, Time: 1608307687.846, Score: 0.9, Performance: 0.8, Decentralization: 0.7, ScoreUpdated: true, InactiveSince: &height,
	}
	bare := registry.Node{Hash: string(hash)}
	core := func(n registry.Node, status registry.Status) registry.CoreNode {
		n.Status = status
		return registry.CoreNode{Node: n, HasBonus: true, Stakers: map[string]float64{text: 30898.27}, TotalStaked: 30898.27, ResourceNodes: hashes}
	}
	compute := func(n registry.Node, status registry.Status, parent *string) registry.ResourceNode {
		n.Status = status
		return registry.ResourceNode{Node: n, Type: "compute", Parent: parent}
	}
	site := client.Website{Payment: &message.Payment{Type: message.PaymentHold}, Version: 2, Volume: hash, History: map[string]message.Hash{"1": hash}, ENS: []string{}}
	site.Metadata.Name, site.Metadata.Tags, site.Metadata.Framework = "site", []string{}, "none"
	details := client.NodeDetails{
		Name: text, Picture: text, Banner: text, Description: text, Reward: text, Manager: text, Authorized: []string{text}, Locked: &yes, Terms: text,
	}
	coreDetails, computeDetails := details, details
	coreDetails.Multiaddress = text
	computeDetails.Address, computeDetails.Type, computeDetails.StreamReward = text, "compute", text

	for name, values := range map[string][]any{
		"RegisteredNodes": {
			registry.Aggregate{
				Nodes:         []registry.CoreNode{core(node, registry.Active), core(bare, registry.Waiting)},
				ResourceNodes: []registry.ResourceNode{compute(node, registry.Linked, &hashes[0]), compute(bare, registry.Waiting, nil)},
			},
			registry.New(registry.Params{}).Aggregate(),
		},
		"CoreNodeDetails":    {coreDetails, client.NodeDetails{Name: text}},
		"ComputeNodeDetails": {computeDetails, client.NodeDetails{Type: "compute"}},
		"Authorization": {
			client.Grant{Address: text},
			client.Grant{
				Address: text, Chain: "ETH", Channels: []string{text}, Types: []message.Type{message.TypePost}, PostTypes: []string{text}, AggregateKeys: []string{text},
			},
		},
		"DomainTarget": {
			client.Domain{Message: hash, Target: client.DomainIPFS},
			client.Domain{Message: hash, Target: client.DomainProgram, Program: client.DomainProgram, Updated: 1, Options: json.RawMessage(`{"catch_all_path":"/404.html"}`)},
			client.Domain{Message: hash, Target: client.DomainInstance, Options: json.RawMessage("null")},
		},
		"PortUse":        {client.Port{TCP: true}},
		"ForwardedPorts": {map[string]any{"ports": map[string]client.Port{"22": {TCP: true}}}},
		"Website":        {site},
	} {
		for _, value := range values {
			raw, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.check(name, raw); err != nil {
				t.Errorf("%s: %s does not fit: %v", name, raw, err)
			}
		}
	}
}
