package api

import (
	"fmt"
	"net/http"

	"github.com/aleph-im/aleph-go/ccn/store"
)

// counts reads what operators and the network's scoring look at (ccn-api §13.1).
func (a *API) counts(r *http.Request) (map[string]int64, error) {
	c := map[string]int64{"pyaleph_processing_pending_messages_tasks_total": 0, "pyaleph_status_sync_pending_txs_total": 0}
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) error {
		for name, table := range map[string]string{
			"pyaleph_status_peers_total": "peers", "pyaleph_status_sync_messages_total": "messages",
			"pyaleph_status_sync_permanent_files_total": "file_pins", "pyaleph_status_sync_pending_messages_total": "pending_messages",
		} {
			n, err := rd.CountRows(table)
			if err != nil {
				return err
			}
			c[name] = n
		}
		return nil
	})
	return c, err
}

func (a *API) metrics(w http.ResponseWriter, r *http.Request) error {
	counts, err := a.counts(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "# TYPE pyaleph_build_info gauge\npyaleph_build_info{python_version=\"none\",version=%q} 1\n", a.cfg.Version)
	for name, n := range counts {
		fmt.Fprintf(w, "# TYPE %s gauge\n%s %d\n", name, name, n)
	}
	return nil
}

func (a *API) metricsJSON(w http.ResponseWriter, r *http.Request) error {
	counts, err := a.counts(r)
	if err != nil {
		return err
	}
	answer := map[string]any{"pyaleph_build_info": map[string]string{"python_version": "none", "version": a.cfg.Version}}
	for name, n := range counts {
		answer[name] = n
	}
	return reply(w, http.StatusOK, answer)
}
