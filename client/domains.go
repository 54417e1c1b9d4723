package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// DomainTarget is what a domain leads to.
type DomainTarget string

const (
	DomainIPFS     DomainTarget = "ipfs"
	DomainProgram  DomainTarget = "program"
	DomainInstance DomainTarget = "instance"
)

// Domain is what a name of an owner's own leads to (sdk-cli §4.8).
type Domain struct {
	Message message.Hash    `json:"message_id"` // the program or instance, or the STORE message of a folder; "" when detached
	Target  DomainTarget    `json:"type"`
	Program DomainTarget    `json:"programType,omitempty"` // as Target; older readers look here
	Updated float64         `json:"updated_at,omitempty"`  // Unix seconds
	Options json.RawMessage `json:"options,omitempty"`     // such as {"catch_all_path": "/404.html"}
}

const (
	domainsKey  = "domains"
	websitesKey = "websites"
)

// Domains returns the names of an owner.
func (c *Client) Domains(ctx context.Context, owner string) (map[string]Domain, error) {
	var all map[string]*Domain
	if err := c.Aggregate(ctx, owner, domainsKey, &all); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	domains := map[string]Domain{}
	for name, d := range all {
		if d != nil { // null is a name that was removed
			domains[name] = *d
		}
	}
	return domains, nil
}

// AttachDomain has a name lead to something. The records of the name must say so too; see [Domain].
func (c *Client) AttachDomain(ctx context.Context, by Account, name string, d Domain, o SendOptions) (*Sent, error) {
	switch d.Target {
	case DomainIPFS, DomainProgram, DomainInstance:
	default:
		return nil, fmt.Errorf("attach %s: the target %q is not ipfs, program or instance", name, d.Target)
	}
	d.Program, d.Updated = d.Target, float64(time.Now().Unix())
	if d.Options == nil {
		d.Options = json.RawMessage("null")
	}
	return c.SetAggregate(ctx, by, domainsKey, map[string]Domain{name: d}, o)
}

// DetachDomain has a name lead to nothing.
func (c *Client) DetachDomain(ctx context.Context, by Account, name string, o SendOptions) (*Sent, error) {
	return c.UnsetAggregate(ctx, by, domainsKey, []string{name}, o)
}

// Website is a folder that is served under a name of the owner's choice (sdk-cli §4.15). Times are Unix seconds.
type Website struct {
	Metadata struct {
		Name      string   `json:"name"`
		Tags      []string `json:"tags"`
		Framework string   `json:"framework"` // "none" when it is not known
	} `json:"metadata"`
	Payment *message.Payment        `json:"payment,omitempty"`
	Version int                     `json:"version"`   // counts up from 1
	Volume  message.Hash            `json:"volume_id"` // the STORE message of the folder
	History map[string]message.Hash `json:"history"`   // volumes by earlier versions
	ENS     []string                `json:"ens"`
	Created float64                 `json:"created_at"`
	Updated float64                 `json:"updated_at"`
}

// Websites returns the websites of an owner by their names.
func (c *Client) Websites(ctx context.Context, owner string) (map[string]Website, error) {
	var all map[string]*Website
	if err := c.Aggregate(ctx, owner, websitesKey, &all); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	sites := map[string]Website{}
	for name, w := range all {
		if w != nil {
			sites[name] = *w
		}
	}
	return sites, nil
}

// PublishWebsite has a name mean the folder that a STORE message keeps. A website that exists becomes a new version of itself.
func (c *Client) PublishWebsite(ctx context.Context, by Account, name string, volume message.Hash, payment *message.Payment, o SendOptions) (*Sent, error) {
	sites, err := c.Websites(ctx, ownerOf(by, o))
	if err != nil {
		return nil, err
	}
	now := float64(time.Now().Unix())
	site, exists := sites[name]
	if exists {
		if site.History == nil {
			site.History = map[string]message.Hash{}
		}
		site.History[fmt.Sprint(site.Version)] = site.Volume
	} else {
		site.Metadata.Name, site.Metadata.Tags, site.Metadata.Framework = name, []string{}, "none"
		site.History, site.ENS, site.Created = map[string]message.Hash{}, []string{}, now
	}
	site.Version++
	site.Volume, site.Updated = volume, now
	if payment != nil {
		site.Payment = payment
	}
	return c.SetAggregate(ctx, by, websitesKey, map[string]Website{name: site}, o)
}

// UnpublishWebsite has a name mean nothing. The folder stays until its STORE message is forgotten.
func (c *Client) UnpublishWebsite(ctx context.Context, by Account, name string, o SendOptions) (*Sent, error) {
	return c.UnsetAggregate(ctx, by, websitesKey, []string{name}, o)
}
