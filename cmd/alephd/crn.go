package main

import (
	"context"
	"io"
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
	MemoryMiB         int           `name:"memory-mib" doc:"memory of all machines together; half of the host's when 0"`
	VCPUs             int           `name:"vcpus" doc:"processors of all machines together; four times the host's when 0"`
	DiskMiB           int           `name:"disk-mib" doc:"scratch disks and volumes of all machines together; half of the filesystem when 0"`
	MachineUsers      string        `name:"machine-users" doc:"ids of users that machines run as, first-last; 1900000000-1900004095 when empty"`
	RequireIsolation  bool          `name:"require-isolation" doc:"do not start where the host does not allow to confine machines in every way"`
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
	node, err := crn.New(crn.Config{
		Listen: o.HTTPListen, DataDir: o.DataDir, CoreNode: o.CCN, DomainName: o.DomainName, NodeHash: o.NodeHash,
		AllocationSigners: o.AllocationSigners, GuestDir: o.GuestDir, QEMU: o.QEMU, Accelerator: o.Accelerator,
		MemoryMiB: o.MemoryMiB, VCPUs: o.VCPUs, DiskMiB: int64(o.DiskMiB), MachineUsers: o.MachineUsers,
		RequireIsolation: o.RequireIsolation, ReuseTimeout: o.ReuseTimeout, Log: log,
	})
	if err != nil {
		return err
	}
	return node.Run(ctx)
}
