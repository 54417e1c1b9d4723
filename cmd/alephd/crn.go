package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/aleph-im/aleph-go/crn"
	"github.com/aleph-im/aleph-go/crn/api"
	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/params"
)

type crnOptions struct {
	DataDir           string        `name:"data-dir" doc:"folder of everything the node keeps"`
	HTTPListen        string        `name:"http-listen" doc:"host:port of the API, which has TLS from a reverse proxy in front or at https-listen"`
	HTTPSListen       string        `name:"https-listen" doc:"host:port for TLS, as :443, where no reverse proxy in front does it; none when empty"`
	TLSCertificates   []string      `name:"tls-certificates" doc:"PEM files of a chain and its key each, for https-listen"`
	ACMEDirectory     string        `name:"acme-directory" doc:"URL of an authority that issues certificates by ACME, whose terms you accept; none when empty"`
	ACMEEmail         string        `name:"acme-email" doc:"where that authority may write to"`
	CCN               string        `name:"ccn" doc:"base URL of the core node that messages and files come from"`
	Network           string        `name:"network" doc:"mainnet, devnet, or the path of a parameter file"`
	DomainName        string        `name:"domain-name" doc:"host name that users reach the node by"`
	PublicURL         string        `name:"public-url" doc:"base URL that the node is registered under; https://<domain-name> when empty"`
	Owner             string        `name:"owner" doc:"address of the operator, under which the node is registered"`
	NodeHash          string        `name:"node-hash" doc:"hash of the message that registered the node; looked up in the registry when empty and owner is set"`
	Receiver          string        `name:"payment-receiver" doc:"address that streams of payment go to; owner when empty"`
	AllocationSigners []string      `name:"allocation-signers" doc:"addresses whose allocations the node follows; those that the network names when empty"`
	AllocationToken   string        `name:"allocation-token-hash" doc:"SHA-256, in hex, of a token that is accepted instead of a signature; none when empty"`
	IPv6Pool          string        `name:"ipv6-pool" doc:"prefix of at most 64 bits that addresses of machines derive from"`
	NetworkInterface  string        `name:"network-interface" doc:"interface that leads to the world: its address is told to clients, and neighbours there are answered for instances; all of the host, and that of the IPv6 default route, when empty"`
	HostIPv4          string        `name:"host-ipv4" doc:"IPv4 address that clients are told; the interface's first that is not private, or else its first, when empty"`
	GuestDir          string        `name:"guest-dir" doc:"folder of the guest kernel; <data-dir>/guest when empty"`
	QEMU              string        `name:"qemu" doc:"program that runs machines; qemu-system-x86_64 from PATH when empty"`
	Accelerator       string        `name:"accelerator" doc:"kvm or tcg; found out by booting a machine, once, when empty"`
	SEVCtl            string        `name:"sevctl" doc:"program that exports the certificates of a secure processor; QEMU says them when empty"`
	GPUs              []string      `name:"gpus" doc:"places on the bus, like 01:00.0, of graphics cards that are taken from the host while a machine has them; those bound to vfio-pci are given to machines as well"`
	MemoryMiB         int           `name:"memory-mib" doc:"memory of the machines of programs together; half of the host's when 0"`
	InstanceMemoryMiB int           `name:"instance-memory-mib" doc:"memory of instances together; when 0, what programs leave of the host's but for 2 GiB"`
	ReplicaMiB        int           `name:"replica-mib" doc:"disk that replicas of other nodes' instances may take; none are held when 0"`
	VCPUs             int           `name:"vcpus" doc:"processors of programs together, and as many of instances; four times the host's when 0"`
	StopTimeout       time.Duration `name:"instance-stop-timeout" doc:"how long an instance may take to turn itself off before it is ended"`
	EndWithin         time.Duration `name:"end-instances-within" doc:"end instances when the node stops, and start them with the next: so long they may take to turn themselves off; 0s lets them run on for the next node"`
	DiskMiB           int           `name:"disk-mib" doc:"scratch disks and volumes of all machines together; half of the filesystem when 0"`
	NetworkMbit       int           `name:"machine-network-mbit" doc:"megabits a second that each machine may send to the internet, and get from there; not bounded when 0"`
	DiskRateMiB       int           `name:"machine-disk-mib" doc:"MiB a second that each machine may read and write of its disks, all together; not bounded when 0"`
	DiskOperations    int           `name:"machine-disk-iops" doc:"reads and writes a second of them; not bounded when 0"`
	MachineUsers      string        `name:"machine-users" doc:"ids of users that machines run as, first-last; 1900000000-1900004095 when empty"`
	RequireIsolation  bool          `name:"require-isolation" doc:"do not start where the host does not allow to confine machines in every way"`
	Nameservers       []string      `name:"nameservers" doc:"name servers of instances and programs; those of the host when empty"`
	StartTimeout      time.Duration `name:"program-start-timeout" doc:"how long a program may take from the start of its machine until it listens; when 0, 20 s, and 100 s where machines are emulated"`
	ReuseTimeout      time.Duration `name:"reuse-timeout" doc:"how long an idle machine waits for its next call; 0 stops it at once"`
	CacheMiB          int           `name:"cache-mib" doc:"disk for files of the network that are kept for the next machine; 20480 when 0"`
	SnapshotMiB       int           `name:"snapshot-mib" doc:"disk for the state of programs that were started once, which their next start copies; 0 keeps none and boots always"`
	LogLevel          string        `name:"log-level" doc:"debug, info, warn or error"`
	LogFormat         string        `name:"log-format" doc:"text or json"`
	PprofListen       string        `name:"pprof-listen" doc:"host:port to serve profiles on; keep it private"`
}

func defaultCRN() *crnOptions {
	return &crnOptions{
		DataDir:      "aleph-crn-data",
		HTTPListen:   "127.0.0.1:4020",
		CCN:          "http://127.0.0.1:4024",
		Network:      "mainnet",
		DomainName:   "localhost",
		IPv6Pool:     "fc00:1:2:3::/64",
		StopTimeout:  50 * time.Second,
		ReuseTimeout: time.Hour,
		CacheMiB:     20480,
		SnapshotMiB:  8192,
		LogLevel:     "info",
		LogFormat:    "text",
	}
}

func runCRN(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := defaultCRN()
	if done, err := load("alephd crn", o, args, stdout); done || err != nil {
		return err
	}
	if o.ReuseTimeout <= 0 {
		o.ReuseTimeout = -1 // zero would mean the default
	}
	snapshots := int64(o.SnapshotMiB) << 20
	if snapshots <= 0 {
		snapshots = -1 // likewise
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
	network, err := params.Load(o.Network)
	if err != nil {
		return err
	}
	node, err := crn.New(crn.Config{
		Listen: o.HTTPListen, TLSListen: o.HTTPSListen, TLSCertificates: o.TLSCertificates, ACMEDirectory: o.ACMEDirectory, ACMEEmail: o.ACMEEmail,
		DataDir: o.DataDir, CoreNode: o.CCN, Network: network, DomainName: o.DomainName, PublicURL: o.PublicURL,
		Owner: o.Owner, NodeHash: o.NodeHash, Receiver: o.Receiver, AllocationSigners: o.AllocationSigners,
		AllocationTokenHash: o.AllocationToken, IPv6Pool: o.IPv6Pool, NetworkInterface: o.NetworkInterface, HostIPv4: o.HostIPv4, GuestDir: o.GuestDir, QEMU: o.QEMU,
		Accelerator: o.Accelerator, SEVCtl: o.SEVCtl, GPUs: o.GPUs, MemoryMiB: o.MemoryMiB, InstanceMemoryMiB: o.InstanceMemoryMiB, InstanceStopTimeout: o.StopTimeout, EndInstancesWithin: o.EndWithin, Nameservers: nameservers, ReplicaBytes: int64(o.ReplicaMiB) << 20, VCPUs: o.VCPUs, DiskMiB: int64(o.DiskMiB),
		NetworkRate: int64(o.NetworkMbit) * 1e6 / 8, DiskRate: qemu.Rate{Bytes: int64(o.DiskRateMiB) << 20, Operations: int64(o.DiskOperations)}, MachineUsers: o.MachineUsers, RequireIsolation: o.RequireIsolation, InitTimeout: o.StartTimeout, ReuseTimeout: o.ReuseTimeout, CacheLimit: int64(o.CacheMiB) << 20, SnapshotLimit: snapshots,
		Connectivity: connectivity(), Log: log,
	})
	if err != nil {
		return err
	}
	return node.Run(ctx)
}

// connectivity is what the node reaches for when it is asked whether it is on the Internet (spec/crn.md §8).
func connectivity() api.Connectivity {
	return api.Connectivity{
		IPv4URL: "https://1.1.1.1/", IPv6URL: "https://[2606:4700:4700::1111]/", HostName: "example.org",
		HTTPURLs: []string{
			"http://detectportal.firefox.com/", "http://connectivity-check.ubuntu.com/", "http://www.gstatic.com/generate_204",
		},
	}
}
