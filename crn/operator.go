package crn

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/aleph-im/aleph-go/params"
)

// discoveryInterval is how long the node waits before it looks for its registration again.
const discoveryInterval = 5 * time.Minute

// secretFile returns a secret of the node in a file that only its operator can read, made with the node: what the operator shows to
// see more than others, and what links are signed with.
func secretFile(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err == nil && len(raw) > 0 {
		return string(raw), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("secret of the node: %w", err)
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	token := hex.EncodeToString(secret)
	os.Remove(path) // one that a crash left empty cannot be written to
	if err := os.WriteFile(path, []byte(token), 0o400); err != nil {
		return "", fmt.Errorf("secret of the node: %w", err)
	}
	return token, nil
}

// shown is the configuration as its operator sees it in /about/config. Secrets are left out.
func (c *Config) shown() map[string]any {
	return map[string]any{
		"listen": c.Listen, "data_dir": c.DataDir, "core_node": c.CoreNode, "domain_name": c.DomainName, "network": c.Network.Name,
		"node_hash": c.NodeHash, "owner": c.Owner, "public_url": c.PublicURL, "receiver": c.Receiver, "allocation_signers": c.AllocationSigners,
		"guest_dir": c.GuestDir, "qemu": c.QEMU, "accelerator": c.Accelerator, "memory_mib": c.MemoryMiB,
		"reuse_timeout_seconds": c.ReuseTimeout.Seconds(), "init_timeout_seconds": c.InitTimeout.Seconds(),
		"drain_timeout_seconds": c.DrainTimeout.Seconds(), "payment_interval_seconds": c.PaymentInterval.Seconds(),
		"cache_limit_bytes": c.CacheLimit, "ipv6_pool": c.IPv6Pool, "host_ipv4": c.HostIPv4,
		"network_interface": c.NetworkInterface, "tls_listen": c.TLSListen, "tls_certificates": c.TLSCertificates, "acme_directory": c.ACMEDirectory,
		"diagnostics": c.Diagnostics, "legacy_diagnostics": c.LegacyDiagnostics, "connectivity": c.Connectivity,
	}
}

// publisher is the address whose aggregate of a kind counts; empty when the network has none.
func publisher(p params.Publisher) string {
	if len(p.Addresses) == 0 {
		return ""
	}
	return p.Addresses[0]
}
