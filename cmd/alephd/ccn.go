package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/aleph-im/aleph-go/ccn"
	"github.com/aleph-im/aleph-go/ccn/backup"
	"github.com/aleph-im/aleph-go/internal/build"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

type ccnOptions struct {
	DataDir      string        `name:"data-dir" doc:"folder of everything the node keeps"`
	Network      string        `name:"network" doc:"mainnet, devnet, or the path of a parameter file"`
	Store        string        `name:"store" doc:"database: sqlite:<path>, or postgres://user@host/database, with the password in PGPASSWORD; in the data folder when empty"`
	Role         string        `name:"role" doc:"share of the work on a PostgreSQL database: all, api or worker"`
	Files        string        `name:"files" doc:"where files are: disk, in the folder of files, or s3://bucket/prefix?endpoint=https://host with keys from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"`
	FilesDir     string        `name:"files-dir" doc:"folder of files/ and ipfs/ that the processes on one PostgreSQL database share; the data folder when empty"`
	HTTPListen   string        `name:"http-listen" doc:"host:port of the API"`
	P2PListen    []string      `name:"p2p-listen" doc:"multiaddresses of the gossip port"`
	Peers        []string      `name:"peers" doc:"multiaddresses of core nodes to stay connected to; those of the network when empty"`
	HTTPPeers    []string      `name:"http-peers" doc:"base URLs of core nodes to fetch missing files and messages from"`
	PublicURL    string        `name:"public-url" doc:"base URL of the API as others reach it, announced to them"`
	PublicP2P    []string      `name:"public-p2p" doc:"multiaddresses as others reach them, announced to them"`
	KeyFile      string        `name:"key-file" doc:"Ethereum private key of the operator, in hex; the file's mode must be 0600"`
	AuthorityKey string        `name:"authority-key-file" doc:"Ethereum private key of the account that the network trusts; on one node of a private network"`
	EthereumRPC  string        `name:"ethereum-rpc" doc:"URL of an Ethereum node, to read token balances; needs authority-key-file"`
	Token        string        `name:"token" doc:"address of the ALEPH token, when it is not the network's"`
	MaxSockets   int           `name:"max-sockets" doc:"WebSockets of messages that are open at once at most; a tenth as many of the metrics"`
	Drain        time.Duration `name:"drain" doc:"how long requests are still taken after the signal to stop, while /ready answers 503"`
	LogLevel     string        `name:"log-level" doc:"debug, info, warn or error"`
	LogFormat    string        `name:"log-format" doc:"text or json"`
	PprofListen  string        `name:"pprof-listen" doc:"host:port to serve profiles on; keep it private"`
}

func defaultCCN() *ccnOptions {
	return &ccnOptions{
		DataDir:    "aleph-data",
		Role:       "all",
		Files:      "disk",
		Network:    "mainnet",
		HTTPListen: "0.0.0.0:4024",
		P2PListen:  []string{"/ip4/0.0.0.0/tcp/4025"},
		MaxSockets: 10_000,
		LogLevel:   "info",
		LogFormat:  "text",
	}
}

// check refuses what would make sense to nobody and be noticed late: a node that asks nobody for files, or announces what leads nowhere.
func (o *ccnOptions) check() error {
	for _, peer := range o.HTTPPeers {
		if !isBaseURL(peer) {
			return fmt.Errorf("http-peers: %q is no base URL: want http://host:port or https://host", peer)
		}
	}
	switch {
	case o.PublicURL != "" && !isBaseURL(o.PublicURL):
		return fmt.Errorf("public-url: %q is no base URL: want http://host:port or https://host", o.PublicURL)
	case o.Token != "" && !common.IsHexAddress(o.Token):
		return fmt.Errorf("token: %q is no address: want 0x and 40 hex digits", o.Token)
	case o.Drain < 0:
		return fmt.Errorf("drain: %s is before the signal to stop: want 0s or more", o.Drain)
	case o.MaxSockets < 1:
		return fmt.Errorf("max-sockets: %d leaves no WebSocket to anybody: want 1 or more", o.MaxSockets)
	}
	return nil
}

func isBaseURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

func runCCN(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := defaultCCN()
	if done, err := load("alephd ccn", o, args, stdout); done || err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	log, err := newLogger(stderr, o.LogLevel, o.LogFormat)
	if err != nil {
		return err
	}
	cfg := ccn.Config{
		DataDir: o.DataDir, Store: o.Store, Role: ccn.Role(o.Role), Files: o.Files, FilesDir: o.FilesDir, HTTPListen: o.HTTPListen, P2PListen: o.P2PListen, Peers: o.Peers, HTTPPeers: o.HTTPPeers,
		PublicURL: o.PublicURL, PublicP2P: o.PublicP2P, EthereumRPC: o.EthereumRPC, Drain: o.Drain, MaxSockets: o.MaxSockets, Version: build.Version(), Logger: log,
	}
	if cfg.Params, err = params.Load(o.Network); err != nil {
		return err
	}
	if o.Token != "" {
		cfg.Params.Token.Contract = o.Token
	}
	if o.EthereumRPC != "" && o.AuthorityKey == "" {
		return errors.New("ethereum-rpc needs authority-key-file: only the network's authority publishes balances")
	}
	if cfg.Account, err = readAccount(o.KeyFile); err != nil {
		return fmt.Errorf("key-file: %w", err)
	}
	if cfg.Authority, err = readAccount(o.AuthorityKey); err != nil {
		return fmt.Errorf("authority-key-file: %w", err)
	}
	if err := backup.Unfinished(o.DataDir); err != nil {
		return err
	}
	stop, err := servePprof(o.PprofListen, log)
	if err != nil {
		return err
	}
	defer stop()
	node, err := ccn.New(ctx, cfg)
	if err != nil {
		return err
	}
	return node.Run(ctx)
}

// readAccount reads an Ethereum private key. An empty path gives no account.
func readAccount(path string) (signature.Account, error) {
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("others can read the private key (mode %04o): run chmod 600 %s", mode, filepath.Clean(path))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	account, err := ethereum.FromHex(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return account, nil
}
