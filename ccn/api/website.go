package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/ccn/files/ipfs"
	"github.com/aleph-im/aleph-go/message"
)

// A folder of the node's IPFS is served as a website: under <cid>.ipfs.<any name of the node>, which gives each site an origin
// of its own, or under /ipfs/<cid>/. There it has none, so that it can neither read nor change what other pages of the node's
// origin keep in a browser.
const sandbox = "sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads"

// page is what a request asks of a website.
type page struct {
	root message.Hash
	path string // in the folder; ends with a slash, or is empty, when a folder is asked for
	own  bool   // the site has a host of its own
}

// pageOf tells which page of a website a request asks for.
func pageOf(r *http.Request) (p page, ok bool) {
	if label, rest, _ := strings.Cut(r.Host, "."); strings.HasPrefix(rest, "ipfs.") && ipfs.IsCID(message.Hash(label)) {
		return page{message.Hash(label), strings.TrimPrefix(r.URL.Path, "/"), true}, true
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/ipfs/")
	if !ok {
		return page{}, false
	}
	root, inside, _ := strings.Cut(rest, "/")
	return page{message.Hash(root), inside, false}, root != ""
}

// serveWebsite answers with a file of a folder, or with the index.html of a folder in it.
func (a *API) serveWebsite(w http.ResponseWriter, r *http.Request) error {
	p, _ := pageOf(r)
	missing := refuse(http.StatusNotFound, "404: this node has no /%s in %s", p.path, p.root)
	if a.cfg.IPFS == nil {
		return missing
	}
	if p.path == "" && r.URL.Query().Get("format") == "raw" {
		return a.serveBlock(w, r, p.root)
	}
	hash, err := a.cfg.IPFS.Lookup(r.Context(), p.root, p.path)
	var info files.Info
	if err == nil {
		info, err = a.cfg.IPFS.Describe(r.Context(), hash)
	}
	if absent(err) {
		return missing
	} else if err != nil {
		return fmt.Errorf("look for /%s of website %s: %w", p.path, p.root, err)
	}
	name := path.Base(p.path)
	if info.Dir {
		if !strings.HasSuffix(r.URL.Path, "/") { // the links of its pages are relative to it
			w.Header().Set("Location", (&url.URL{Path: path.Base(r.URL.Path) + "/", RawQuery: r.URL.RawQuery}).String())
			w.WriteHeader(http.StatusMovedPermanently)
			return nil
		}
		name = "index.html"
		if hash, err = a.cfg.IPFS.Lookup(r.Context(), hash, name); absent(err) {
			return refuse(http.StatusNotFound, "404: /%s in %s has no index.html", p.path, p.root)
		} else if err != nil {
			return err
		}
	}
	f, _, err := a.cfg.IPFS.Open(r.Context(), hash)
	if absent(err) || errors.Is(err, files.ErrFolder) {
		return missing
	} else if err != nil {
		return fmt.Errorf("open /%s of website %s: %w", p.path, p.root, err)
	}
	defer f.Close()
	h := w.Header()
	h.Set("Etag", `"`+string(hash)+`"`)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("X-Content-Type-Options", "nosniff")
	if !p.own {
		h.Set("Content-Security-Policy", sandbox)
	}
	serveContent(w, r, name, f)
	return nil
}

// absent reports whether a website lacks what is asked for: nobody has it, or it is neither file nor folder.
func absent(err error) bool {
	return errors.Is(err, files.ErrNotFound) || errors.Is(err, ipfs.ErrMalformed)
}

// maxRanges is how many parts of a file one request may ask for. It is given all of it when it asks for more: each costs reading and
// checking a block.
const maxRanges = 16

// serveContent serves a file, or the part of it that is asked for.
func serveContent(w http.ResponseWriter, r *http.Request, name string, f io.ReadSeeker) {
	if strings.Count(r.Header.Get("Range"), ",") >= maxRanges {
		r.Header.Del("Range")
	}
	http.ServeContent(w, r, name, time.Time{}, f)
}

// serveBlock answers with one block, as trustless gateways do: other core nodes put folders together of them, whose parts have no other
// name.
func (a *API) serveBlock(w http.ResponseWriter, r *http.Request, root message.Hash) error {
	raw, err := a.cfg.IPFS.Block(r.Context(), root)
	if errors.Is(err, files.ErrNotFound) {
		return refuse(http.StatusNotFound, "404: this node has no block %s", root)
	} else if err != nil {
		return fmt.Errorf("read block %s: %w", root, err)
	}
	h := w.Header()
	h.Set("Content-Type", ipfs.BlockType)
	h.Set("Content-Disposition", `attachment; filename="`+string(root)+`.bin"`)
	h.Set("Etag", `"`+string(root)+`.raw"`)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("X-Content-Type-Options", "nosniff")
	serveContent(w, r, "", bytes.NewReader(raw))
	return nil
}
