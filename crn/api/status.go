package api

import (
	"net/http"

	"github.com/aleph-im/aleph-go/params"
)

// chainStatus is a chain on which streams pay, as the public configuration shows it.
type chainStatus struct {
	ChainID    int64   `json:"chain_id"`
	RPC        string  `json:"rpc"`
	Token      *string `json:"standard_token"` // always null: streams are of a super token
	SuperToken string  `json:"super_token"`
	Testnet    bool    `json:"testnet"`
	Active     bool    `json:"active"`
}

func chainStatuses(chains []params.StreamChain) map[string]chainStatus {
	list := map[string]chainStatus{}
	for _, c := range chains {
		list["Chain."+c.Chain] = chainStatus{ChainID: c.ChainID, RPC: c.RPC, SuperToken: c.Token, Testnet: c.Testnet, Active: true}
	}
	return list
}

// status is the public configuration, under the reference's keys and with its spellings of names (spec/crn.md §2.5.2). What is
// false there does not exist here.
func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	instances := s.cfg.Instances != nil
	answer(w, http.StatusOK, map[string]any{
		"DOMAIN_NAME": s.cfg.DomainName, "node_hash": orNull(string(s.cfg.Identity.Hash())), "version": Version,
		"references": map[string]any{
			"API_SERVER": s.cfg.CoreNode, "CHECK_FASTAPI_VM_ID": s.cfg.Diagnostics, "CONNECTOR_URL": s.cfg.CoreNode,
		},
		"security": map[string]bool{
			"USE_JAILER": false, "PRINT_SYSTEM_LOGS": true, "WATCH_FOR_UPDATES": true, "ALLOW_VM_NETWORKING": instances,
			"USE_DEVELOPER_SSH_KEYS": false,
		},
		"networking": map[string]any{
			"IPV6_ADDRESS_POOL": s.cfg.IPv6Pool.String(), "IPV6_ALLOCATION_POLICY": "IPv6AllocationPolicy.static",
			"IPV6_SUBNET_PREFIX": 124, "IPV6_FORWARDING_ENABLED": instances, "USE_NDP_PROXY": s.cfg.NeighbourProxy,
		},
		// Ours: how the processes of machines are confined, and what of that this host does not allow.
		"isolation": map[string][]string{"in_force": s.cfg.Fingerprint.Isolation.InForce, "missing": s.cfg.Fingerprint.Isolation.Missing},
		"debug":     map[string]bool{"SENTRY_DSN_CONFIGURED": false, "DEBUG_ASYNCIO": false, "EXECUTION_LOG_ENABLED": false},
		"payment": map[string]any{
			"PAYMENT_RECEIVER_ADDRESS": orNull(s.cfg.Receiver), "AVAILABLE_PAYMENTS": chainStatuses(s.cfg.Streams),
			"PAYMENT_MONITOR_INTERVAL": s.cfg.PaymentInterval.Seconds(),
		},
		"computing": map[string]any{
			"ENABLE_QEMU_SUPPORT": true, "INSTANCE_DEFAULT_HYPERVISOR": "qemu", "ENABLE_CONFIDENTIAL_COMPUTING": s.cfg.SEVCtl != "" || s.cfg.Certificates != nil,
			"ENABLE_GPU_SUPPORT": s.hasCards(),
		},
	})
}

// orNull is null for what is not known.
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
