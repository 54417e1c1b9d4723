package ccn

import "github.com/aleph-im/aleph-go/ccn/api"

// wire adds what stands on the node's core: the services that read and publish, and the API.
func (n *Node) wire() error {
	if err := n.addServices(); err != nil {
		return err
	}
	handler := api.New(api.Config{
		Params: n.cfg.Params, Store: n.store, Files: n.files, IPFS: n.ipfs, Intake: n.intake, Publish: n.publish, Addresses: n.p2p.Addrs,
		Version: n.cfg.Version, Extra: n.scheduler.Routes(), Logger: n.cfg.Logger.With("part", "api"),
	})
	if n.cfg.Role == RoleWorker {
		for _, path := range []string{"/metrics", "/metrics.json", "/health", "/ready"} {
			n.mux.Handle("GET "+path, handler)
		}
		return nil
	}
	n.mux.Handle("/", handler)
	return nil
}
