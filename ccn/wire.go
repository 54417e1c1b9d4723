package ccn

import (
	"net/http"

	"github.com/aleph-im/aleph-go/ccn/api"
)

// wire adds what stands on the node's core: the services that read and publish, and the API.
func (n *Node) wire() error {
	if err := n.addServices(); err != nil {
		return err
	}
	handler := api.New(api.Config{
		Params: n.cfg.Params, Store: n.store, Files: n.files, IPFS: n.ipfs, Intake: n.intake, Publish: n.publish, Addresses: n.p2p.Addrs,
		Version: n.cfg.Version, Extra: n.scheduler.Routes(), Logger: n.cfg.Logger.With("part", "api"),
	})
	n.handler = handler
	if n.cfg.Role == RoleWorker {
		mux := http.NewServeMux()
		for _, path := range []string{"/metrics", "/metrics.json", "/health", "/ready"} {
			mux.Handle("GET "+path, handler)
		}
		n.handler = mux
	}
	return nil
}
