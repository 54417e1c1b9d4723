package api

import (
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"strings"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

func (a *API) aboutRoutes() routes {
	return routes{
		"GET /":                           plain(a.index),
		"GET /api/v0/channels/list.json":  plain(a.listChannels),
		"GET /api/v0/info/public.json":    plain(a.getInfo),
		"GET /version":                    plain(a.getVersion),
		"GET /api/v0/version":             plain(a.getVersion),
		"GET /api/v0/programs/on/message": query(a.listSubscribed),
	}
}

// listChannels lists the channels of all live messages (ccn-api §12.1).
func (a *API) listChannels(w http.ResponseWriter, r *http.Request) error {
	channels := []string{}
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) error {
		list, err := rd.Channels("")
		channels = append(channels, list...)
		return err
	})
	if err != nil {
		return err
	}
	raw, err := json.Marshal(map[string]any{"channels": channels})
	if err != nil {
		return err
	}
	return replyCompressed(w, r, raw)
}

func (a *API) getInfo(w http.ResponseWriter, _ *http.Request) error {
	addresses := a.cfg.Addresses()
	if addresses == nil {
		addresses = []string{}
	}
	return reply(w, http.StatusOK, map[string]any{"node_multi_addresses": addresses})
}

func (a *API) getVersion(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, map[string]string{"version": a.cfg.Version})
}

// listSubscribed lists the programs that messages start (ccn-api §12.4).
func (a *API) listSubscribed(w http.ResponseWriter, r *http.Request, q *arguments) error {
	for name := range q.values {
		if name != "sort_order" {
			q.refuse("extra_forbidden", name, "Extra inputs are not permitted", q.values.Get(name))
		}
	}
	f := store.MessageFilter{Types: []string{string(message.TypeProgram)}, Descending: !q.ascending("sort_order")}
	var refusal *fault
	if errors.As(q.err, &refusal) {
		raw, err := json.Marshal(refusal.text) // a text that holds the array: so clients know it
		if err != nil {
			return err
		}
		return &fault{status: http.StatusBadRequest, text: string(raw), json: true}
	}
	if q.err != nil {
		return q.err
	}
	var rows []store.MessageRow
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		rows, err = rd.ListMessages(f)
		return err
	})
	if err != nil {
		return err
	}
	raw := []byte{'['}
	for i := range rows {
		var content struct {
			On map[string]json.RawMessage `json:"on"`
		}
		if json.Unmarshal(rows[i].Content, &content) != nil || content.On["message"] == nil {
			continue
		}
		if len(raw) > 1 {
			raw = append(raw, ',')
		}
		raw = appendText(append(raw, `{"item_hash":`...), rows[i].Message.ItemHash)
		raw = append(append(append(raw, `,"content":{"on":{"message":`...), content.On["message"]...), "}}}"...)
	}
	return replyCompressed(w, r, append(raw, ']'))
}

var indexPage = template.Must(template.New("index").Parse(strings.TrimSpace(`
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Aleph.im core channel node</title>
<h1>Aleph.im core channel node</h1>
<p>Version {{.}}. <a href="/api/v0/info/public.json">Addresses</a>, <a href="/metrics">metrics</a>, <a href="/api/docs/">API</a>.</p>
</html>
`)))

// index is the page for who opens the node in a browser (ccn-api §15).
func (a *API) index(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	return indexPage.Execute(w, a.cfg.Version)
}
