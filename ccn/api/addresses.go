package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

func (a *API) addressRoutes() routes {
	return routes{
		"GET /api/v0/addresses/stats.json":           query(a.allStats),
		"GET /api/v1/addresses/stats.json":           query(a.listStats),
		"GET /api/v0/addresses/{address}/files":      query(a.listFiles),
		"GET /api/v0/addresses/{address}/post_types": plain(a.listPostTypes),
		"GET /api/v0/addresses/{address}/channels":   plain(a.listAddressChannels),
	}
}

// statistics is an object with a member for each address, in the order of the list.
type statistics []store.AddressStats

func (s statistics) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, row := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		address, err := json.Marshal(row.Address)
		if err != nil {
			return nil, err
		}
		b.Write(address)
		fmt.Fprintf(&b, `:{"messages":%d,"aggregate":%d,"forget":%d,"instance":%d,"post":%d,"program":%d,"store":%d}`,
			row.Total, row.Aggregate, row.Forget, row.Instance, row.Post, row.Program, row.FileStore)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// allStats counts the messages of the addresses that are asked for, or of all (ccn-api §9.1).
func (a *API) allStats(w http.ResponseWriter, r *http.Request, q *arguments) error {
	addresses := q.repeated("addresses[]")
	if q.err != nil {
		return q.err
	}
	var list []store.AddressStats
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		list, err = rd.ListStats(store.StatsFilter{Addresses: addresses, Ascending: true})
		return err
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{"data": statistics(list)})
}

// maxAddress is the length of the longest address.
const maxAddress = 66

// listStats lists addresses by how much they sent (ccn-api §9.2).
func (a *API) listStats(w http.ResponseWriter, r *http.Request, q *arguments) error {
	f := store.StatsFilter{Sort: q.choice("total", store.StatColumns(), "sortBy"), Ascending: q.ascending("sortOrder")}
	f.Contains, _ = q.text("addressContains")
	if len(f.Contains) > maxAddress {
		q.refuse("string_too_long", "addressContains", "String should have at most 66 characters", f.Contains)
	}
	p := q.paging(defaultPage, 0, maxInt)
	if q.err != nil {
		return q.err
	}
	if p.after != "" {
		var after struct {
			Address *string `json:"a"`
			Value   *int64  `json:"v"`
		}
		if err := readPosition(p.after, &after); err != nil {
			return err
		}
		if after.Address == nil || after.Value == nil {
			return refuse(http.StatusUnprocessableEntity, "Invalid cursor: it lacks a or v")
		}
		f.AfterAddress, f.AfterValue = *after.Address, *after.Value
	}
	f.Limit, f.Offset = p.limit(), p.offset()
	list, more, total, err := readPage(r.Context(), a, p, func(rd *store.Reader) ([]store.AddressStats, error) { return rd.ListStats(f) }, counted{
		count: func(rd *store.Reader, _ int) (int64, error) { return rd.CountStats(f) },
	})
	if err != nil {
		return err
	}
	answer := map[string]any{"data": statistics(list)}
	if !p.cursor {
		answer["pagination_item"] = "addresses"
	}
	var next any
	if more {
		last := &list[len(list)-1]
		next = position(map[string]any{"a": last.Address, "v": last.Sorted(f.Sort)})
	}
	p.addTo(answer, total, next)
	return reply(w, http.StatusOK, answer)
}

// ownedFile is a file in the list of an address. Created changes its type between page and cursor mode (ccn-api §9.3).
type ownedFile struct {
	FileHash message.Hash `json:"file_hash"`
	Size     int64        `json:"size"`
	Type     string       `json:"type"`
	Created  any          `json:"created"`
	ItemHash message.Hash `json:"item_hash"`
}

const filePage = 100

// listFiles lists the files that STORE messages of an address keep (ccn-api §9.3).
func (a *API) listFiles(w http.ResponseWriter, r *http.Request, q *arguments) error {
	f := store.OwnedFileFilter{Owner: r.PathValue("address"), Ascending: q.ascending("sort_order")}
	file, given := q.text("file_hash")
	f.File = file
	p := q.paging(filePage, 0, maxInt)
	if q.err != nil {
		return q.err
	}
	if given && file == "" {
		return &fault{status: http.StatusNotFound}
	}
	if p.after != "" {
		var after struct {
			Hash message.Hash `json:"h"`
			Time string       `json:"t"`
		}
		if err := readPosition(p.after, &after); err != nil {
			return err
		}
		t, err := readPositionTime(after.Time)
		if err != nil {
			return err
		}
		if after.Hash == "" {
			return refuse(http.StatusUnprocessableEntity, "Invalid cursor: it lacks h")
		}
		f.After, f.AfterTime = after.Hash, t.Seconds()
	}
	f.Limit, f.Offset = p.limit(), p.offset()
	var rows []store.OwnedFile
	var total, size int64
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) (err error) {
		if total, size, err = rd.OwnedTotal(f.Owner); err != nil {
			return err
		}
		rows, err = rd.OwnedFiles(f)
		return err
	})
	if err != nil {
		return err
	}
	rows, more := cut(p, rows)
	if len(rows) == 0 {
		return &fault{status: http.StatusNotFound}
	}
	list := make([]ownedFile, len(rows))
	for i, row := range rows {
		created := message.TimeFromSeconds(row.Created)
		list[i] = ownedFile{FileHash: row.File, Size: row.Size, Type: row.Type, Created: created.RFC3339(), ItemHash: row.Message}
		if p.cursor {
			list[i].Created = created
		}
	}
	answer := map[string]any{"address": f.Owner, "files": list, "total_size": size}
	var next any
	if p.cursor {
		answer["total_size"] = double(float64(size))
	}
	if more {
		last := rows[len(rows)-1]
		next = position(map[string]any{"h": last.Message, "t": positionTime(message.TimeFromSeconds(last.Created))})
	}
	p.addTo(answer, total, next)
	return reply(w, http.StatusOK, answer)
}

// listPostTypes lists the types of the posts that an address sent (ccn-api §9.4).
func (a *API) listPostTypes(w http.ResponseWriter, r *http.Request) error {
	return a.terms(w, r, "post_types", (*store.Reader).PostTypes)
}

// listAddressChannels lists the channels that an address sent to (ccn-api §9.4).
func (a *API) listAddressChannels(w http.ResponseWriter, r *http.Request) error {
	return a.terms(w, r, "channels", (*store.Reader).Channels)
}

func (a *API) terms(w http.ResponseWriter, r *http.Request, member string, read func(*store.Reader, string) ([]string, error)) error {
	address := r.PathValue("address")
	list := []string{}
	err := a.cfg.Store.Read(r.Context(), func(rd *store.Reader) error {
		terms, err := read(rd, address)
		list = append(list, terms...)
		return err
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{"address": address, member: list})
}
