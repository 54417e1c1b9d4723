// Package client is the Go SDK: the calls of a core node's HTTP and WebSocket API and of the compute nodes that run
// programs, typed. The aleph command, the devnet and the compute node use it.
//
// Every call takes a context first. Calls that can be repeated without harm are, after a connection that failed or an
// answer that says "try later"; publishing is one of them, because a message is known by its hash.
package client

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
)

// Account signs messages. The accounts of package signature are such.
type Account interface {
	Chain() message.Chain
	Address() string
	Sign(ctx context.Context, payload []byte) (string, error)
}

// Config says which nodes to talk to and how. Zero values stand for the defaults.
type Config struct {
	BaseURL string // of a core node, such as http://127.0.0.1:4024

	// BaseURLs are further core nodes. With more than one, the quickest that is well is asked first and others when it fails;
	// what follows a write goes to the node that took it.
	BaseURLs []string

	Scheduler  string        // base URL of who says where workloads run; default the core nodes, as every one of ours knows
	HTTPClient *http.Client  // default: a client of its own with bounded dialling
	Timeout    time.Duration // of one attempt of a call that is not a file transfer; default 45 s, above the node's own 30 s
	Attempts   int           // of a repeatable call, the first included; default 4, and at least one a node
	Backoff    time.Duration // before the second attempt, doubled for each further one; default 100 ms
	UserAgent  string        // default "aleph-go"

	// TrustNode takes what nodes return as it is: messages whose hashes and signatures were not checked, files whose bytes
	// were not. It is for who runs the node.
	TrustNode bool
	// SkipSignatures leaves out the signatures of messages alone; hashes are checked still.
	SkipSignatures bool
}

// Client talks to core nodes and to compute nodes. It is safe for concurrent use.
type Client struct {
	pool       *pool
	http       *http.Client
	cfg        Config
	signatures *signature.Registry
}

// New returns a client of the nodes that cfg names.
func New(cfg Config) *Client {
	cfg.Timeout = cmp.Or(cfg.Timeout, 45*time.Second)
	cfg.Attempts = cmp.Or(cfg.Attempts, 4)
	cfg.Backoff = cmp.Or(cfg.Backoff, 100*time.Millisecond)
	cfg.UserAgent = cmp.Or(cfg.UserAgent, "aleph-go")
	if cfg.HTTPClient == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost = 16
		cfg.HTTPClient = &http.Client{Transport: transport}
	}
	cfg.Scheduler = strings.TrimRight(cfg.Scheduler, "/")
	return &Client{
		pool: newPool(append([]string{cfg.BaseURL}, cfg.BaseURLs...)), http: cfg.HTTPClient, cfg: cfg, signatures: signature.Default(),
	}
}

// BaseURL returns the address of the core node that is asked next, without a slash at its end.
func (c *Client) BaseURL() string { return c.pool.first() }

// Version returns what the node says it runs.
func (c *Client) Version(ctx context.Context) (string, error) {
	var v struct {
		Version string `json:"version"`
	}
	err := c.get(ctx, "/api/v0/version", nil, &v)
	return v.Version, err
}

// PublicAddresses returns the peer-to-peer addresses under which the node can be reached, as multiaddrs.
func (c *Client) PublicAddresses(ctx context.Context) ([]string, error) {
	var v struct {
		Addresses []string `json:"node_multi_addresses"`
	}
	err := c.get(ctx, "/api/v0/info/public.json", nil, &v)
	return v.Addresses, err
}
