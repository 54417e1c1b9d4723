package guestapi

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
)

// maxUpload bounds a file that a program stores on the network, in bytes.
const maxUpload = 32 << 20

// read passes a question to the core node. Only what the reference lets through goes either way: path and query there, status,
// type and body back.
func (p *program) read(w http.ResponseWriter, r *http.Request) {
	p.forward(w, r, http.NoBody, 0, "")
}

// upload passes a file to the core node, which asks for a signed message where it wants one.
func (p *program) upload(w http.ResponseWriter, r *http.Request) {
	if !p.maySend(w) {
		return
	}
	if r.ContentLength > maxUpload {
		refuseBody(w, &http.MaxBytesError{Limit: maxUpload})
		return
	}
	p.forward(w, r, http.MaxBytesReader(w, r.Body, maxUpload), r.ContentLength, r.Header.Get("Content-Type"))
}

// sendMessage publishes a message, signing it for the program when nobody has.
func (p *program) sendMessage(w http.ResponseWriter, r *http.Request) {
	body, ok := p.body(w, r)
	if !ok {
		return
	}
	var envelope map[string]json.RawMessage
	if json.Unmarshal(body["message"], &envelope) != nil || envelope == nil {
		refuse(w, http.StatusUnprocessableEntity, "message: a message in JSON is required")
		return
	}
	if body["message"], ok = p.signed(w, r, envelope); ok {
		p.send(w, r, body)
	}
}

// sendLegacy publishes a message in the form of a broker, in which it is a text.
func (p *program) sendLegacy(w http.ResponseWriter, r *http.Request) {
	body, ok := p.body(w, r)
	if !ok {
		return
	}
	var envelope map[string]json.RawMessage
	if json.Unmarshal([]byte(text(body["data"])), &envelope) != nil || envelope == nil {
		refuse(w, http.StatusUnprocessableEntity, "data: a message in JSON, as a text, is required")
		return
	}
	raw, ok := p.signed(w, r, envelope)
	if ok {
		body["data"] = quote(string(raw))
		p.send(w, r, body)
	}
}

// body reads the object that a message is sent in.
func (p *program) body(w http.ResponseWriter, r *http.Request) (body map[string]json.RawMessage, ok bool) {
	if !p.maySend(w) {
		return nil, false
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	if err != nil {
		refuseBody(w, err)
		return nil, false
	}
	if json.Unmarshal(raw, &body) != nil || body == nil {
		refuse(w, http.StatusBadRequest, "The body is not an object in JSON")
		return nil, false
	}
	return body, true
}

// signed returns the message with a signature. One that is signed already is passed as it is: everybody may publish it.
func (p *program) signed(w http.ResponseWriter, r *http.Request, envelope map[string]json.RawMessage) (raw json.RawMessage, ok bool) {
	if text(envelope["signature"]) == "" {
		if err := p.signEnvelope(r, envelope); err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return nil, false
		}
	}
	raw, err := json.Marshal(envelope)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return nil, false
	}
	return raw, true
}

func (p *program) send(w http.ResponseWriter, r *http.Request, body map[string]json.RawMessage) {
	raw, err := json.Marshal(body)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	p.forward(w, r, bytes.NewReader(raw), int64(len(raw)), "application/json")
}

func (p *program) maySend(w http.ResponseWriter) bool {
	if p.sending.take() {
		return true
	}
	w.Header().Set("Retry-After", "1")
	refuse(w, http.StatusTooManyRequests, "This program sends too much to the network")
	return false
}

// forward sends a request to the same path of the core node and its answer back.
func (p *program) forward(w http.ResponseWriter, r *http.Request, body io.Reader, size int64, contentType string) {
	if slices.Contains(strings.Split(r.URL.Path, "/"), "..") {
		refuse(w, http.StatusBadRequest, "The path leads upwards")
		return
	}
	target := *p.api.core
	target.Path, target.RawPath = target.Path+r.URL.Path, ""
	if r.URL.RawPath != "" {
		target.RawPath = p.api.core.EscapedPath() + r.URL.RawPath
	}
	target.RawQuery = r.URL.RawQuery
	select {
	case p.asking <- struct{}{}:
		defer func() { <-p.asking }()
	case <-r.Context().Done():
		return
	}
	request, err := http.NewRequestWithContext(r.Context(), r.Method, target.String(), body)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	request.ContentLength = size
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := p.api.http.Do(request)
	if err != nil {
		p.api.cfg.Log.Debug("request of a program failed", "hash", p.hash, "path", r.URL.Path, "error", err)
		refuse(w, http.StatusBadGateway, "The core node does not answer")
		return
	}
	defer response.Body.Close()
	if t := response.Header.Get("Content-Type"); t != "" {
		w.Header().Set("Content-Type", t)
	}
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body)
}
