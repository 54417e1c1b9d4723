package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/internal/config"
)

type crnOptions struct {
	DataDir           string        `name:"data-dir" doc:"folder of everything the node keeps"`
	HTTPListen        string        `name:"http-listen" doc:"host:port of the API; a reverse proxy in front gives it TLS"`
	CCN               string        `name:"ccn" doc:"base URL of the core node that messages and files come from"`
	DomainName        string        `name:"domain-name" doc:"host name that users reach the node by"`
	NodeHash          string        `name:"node-hash" doc:"hash of the message that registered the node"`
	AllocationSigners []string      `name:"allocation-signers" doc:"addresses whose allocations the node follows"`
	GuestDir          string        `name:"guest-dir" doc:"folder of the guest kernel; <data-dir>/guest when empty"`
	QEMU              string        `name:"qemu" doc:"program that runs machines; qemu-system-x86_64 from PATH when empty"`
	Accelerator       string        `name:"accelerator" doc:"kvm or tcg; found out by booting a machine, once, when empty"`
	MemoryMiB         int           `name:"memory-mib" doc:"memory of the machines of programs together; half of the host's when 0"`
	InstanceMemoryMiB int           `name:"instance-memory-mib" doc:"memory of instances together; when 0, what programs leave of the host's but for 2 GiB"`
	IPv6Pool          string        `name:"ipv6-pool" doc:"prefix, at most /64, that addresses of instances derive from"`
	HostIPv4          string        `name:"host-ipv4" doc:"address at which forwarded ports are reached; the host's first when empty"`
	Nameservers       []string      `name:"nameservers" doc:"addresses told to instances; those of the host when empty"`
	ReuseTimeout      time.Duration `name:"reuse-timeout" doc:"how long an idle machine waits for its next call; 0 stops it at once"`
	LogLevel          string        `name:"log-level" doc:"debug, info, warn or error"`
	LogFormat         string        `name:"log-format" doc:"text or json"`
	PprofListen       string        `name:"pprof-listen" doc:"host:port to serve profiles on; keep it private"`
}

func defaultCRN() *crnOptions {
	return &crnOptions{
		DataDir:      "aleph-crn-data",
		HTTPListen:   "127.0.0.1:4020",
		CCN:          "http://127.0.0.1:4024",
		DomainName:   "localhost",
		IPv6Pool:     "fc00:1:2:3::/64",
		ReuseTimeout: time.Hour,
		LogLevel:     "info",
		LogFormat:    "text",
	}
}

func runCRN(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := defaultCRN()
	set := config.New("alephd crn", "ALEPHD", o)
	show := len(args) > 0 && args[0] == "config"
	if show {
		args = args[1:]
	}
	if err := set.Load(args, os.LookupEnv, stdout); err != nil {
		return err
	}
	if show {
		return set.Print(stdout)
	}
	if o.ReuseTimeout <= 0 {
		o.ReuseTimeout = -1 // zero would mean the default
	}
	log, err := newLogger(stderr, o.LogLevel, o.LogFormat)
	if err != nil {
		return err
	}
	stop, err := servePprof(o.PprofListen, log)
	if err != nil {
		return err
	}
	defer stop()
	var nameservers []netip.Addr
	for _, text := range o.Nameservers {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("nameservers: %w", err)
		}
		nameservers = append(nameservers, a)
	}
	node, err := crn.New(crn.Config{
		Listen: o.HTTPListen, DataDir: o.DataDir, CoreNode: o.CCN, DomainName: o.DomainName, NodeHash: o.NodeHash,
		AllocationSigners: o.AllocationSigners, GuestDir: o.GuestDir, QEMU: o.QEMU, Accelerator: o.Accelerator,
		MemoryMiB: o.MemoryMiB, InstanceMemoryMiB: o.InstanceMemoryMiB, IPv6Pool: o.IPv6Pool, HostIPv4: o.HostIPv4, Nameservers: nameservers,
		ReuseTimeout: o.ReuseTimeout, Log: log,
	})
	if err != nil {
		return err
	}
	return node.Run(ctx)
}
