package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/message"
)

// mover takes instances to other nodes and from them (decision 0025).
type mover interface {
	// Leave stops an instance for another node to fetch, and reports whether that is news.
	Leave(hash message.Hash) (l instance.Leaving, begun bool, err error)
	Left(hash message.Hash) (instance.Leaving, error)
	// Offer lets another node fetch the disks of one that runs ahead.
	Offer(hash message.Hash) (instance.Offered, error)
	// Disk opens a file of one that leaves, or that is offered.
	Disk(hash message.Hash, name, token string) (*os.File, error)
	// Pieces returns the hashes of the pieces of a file of one that leaves.
	Pieces(ctx context.Context, hash message.Hash, name, token string) ([]byte, error)
	// SendMemory writes the memory of one that is offered.
	SendMemory(ctx context.Context, hash message.Hash, token string, to instance.Line) error
	// HandOver gives it away for good.
	HandOver(hash message.Hash, token, claim string) error
	// Forget removes what is left of it.
	Forget(ctx context.Context, hash message.Hash) error
	// Expect reports whether an instance that is elsewhere could come here now.
	Expect(ctx context.Context, hash message.Hash) error
	// FetchAhead begins to fetch the disks of one that runs elsewhere.
	FetchAhead(ctx context.Context, hash message.Hash, a instance.Arrival) error
	Ahead(hash message.Hash) (instance.Ahead, error)
	// Arrive has an instance come with its disks, and reports whether that is news.
	Arrive(ctx context.Context, hash message.Hash, a instance.Arrival) (begun bool, err error)
	Arrived(hash message.Hash) (instance.Arriving, error)
}

// ordered makes the handler of an order that only the scheduler may give. It gets the body.
func (s *Server) ordered(act func(w http.ResponseWriter, r *http.Request, body []byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxAllocation+1))
		if err != nil || !s.allocated.allows(r, body) {
			fail(w, http.StatusUnauthorized, "Authentication token received is invalid")
			return
		}
		act(w, r, body)
	}
}

// moving reads the hash in the path, and answers when it is no instance's.
func (s *Server) moving(w http.ResponseWriter, r *http.Request) (hash message.Hash, ok bool) {
	if hash, ok = refOf(w, r); !ok {
		return "", false
	}
	if _, program := s.cfg.Pool.Find(hash); program {
		fail(w, http.StatusBadRequest, "Migration only supported for QEMU instances")
		return "", false
	}
	if s.cfg.Instances == nil {
		fail(w, http.StatusNotFound, "No virtual machine with ref "+string(hash))
		return "", false
	}
	return hash, true
}

// leave answers POST …/migration/export (spec/crn.md §2.10). Unlike on the reference, what is stopped can leave as well.
func (s *Server) leave(w http.ResponseWriter, r *http.Request, _ []byte) {
	hash, ok := s.moving(w, r)
	if !ok {
		return
	}
	l, _, err := s.cfg.Instances.Leave(hash)
	if errors.Is(err, instance.ErrConfidential) {
		fail(w, http.StatusBadRequest, "Migration is not supported for confidential VMs")
		return
	}
	if err != nil {
		s.failed(w, err)
		return
	}
	status := http.StatusAccepted
	if l.Ready {
		status = http.StatusConflict
	}
	descriptor := map[string]any{
		"state": exportState(l), "vm_hash": hash, "started_at": l.Begun.UTC().Format(time.RFC3339),
		"status_url": "/control/machine/" + string(hash) + "/migration/export/status",
	}
	if l.Failure != nil {
		descriptor["error"] = l.Failure.Error()
	}
	answer(w, status, descriptor)
}

func exportState(l instance.Leaving) string {
	switch {
	case l.Ready:
		return "exported"
	case l.Failure != nil:
		return "export_failed" // and tried again
	}
	return "exporting"
}

// movedDisk is a file of an instance that moves, as both nodes and the scheduler write it.
type movedDisk struct {
	instance.MovedFile
	Path string `json:"download_path"`
}

// left answers GET …/migration/export/status. Members beside the reference's: parent, stopped, and extents of files.
func (s *Server) left(w http.ResponseWriter, r *http.Request, _ []byte) {
	hash, ok := s.moving(w, r)
	if !ok {
		return
	}
	l, err := s.cfg.Instances.Left(hash)
	if err != nil {
		fail(w, http.StatusNotFound, "No export job")
		return
	}
	body := map[string]any{
		"vm_hash": hash, "state": exportState(l), "started_at": l.Begun.UTC().Format(time.RFC3339), "finished_at": nil, "error": nil,
		"disk_files": nil, "export_token": nil, "parent": l.Parent, "stopped": l.Stopped,
	}
	if l.Failure != nil {
		body["error"] = l.Failure.Error()
	}
	if l.Ready {
		body["disk_files"], body["export_token"] = movedDisks(hash, l.Files), l.Token
	}
	answer(w, http.StatusOK, body)
}

// disk answers GET …/migration/disk/{name}?token=: the bytes of a file, or the part that is asked for.
func (s *Server) disk(w http.ResponseWriter, r *http.Request) {
	hash, ok := s.moving(w, r)
	if !ok {
		return
	}
	name := r.PathValue("name")
	f, err := s.cfg.Instances.Disk(hash, name, r.URL.Query().Get("token"))
	if err != nil {
		s.noDisk(w, name, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, f)
}

func (s *Server) noDisk(w http.ResponseWriter, name string, err error) {
	switch {
	case errors.Is(err, instance.ErrUnknown):
		fail(w, http.StatusUnauthorized, "Invalid or missing export token")
	case errors.Is(err, os.ErrNotExist):
		fail(w, http.StatusNotFound, "Disk file not found: "+name)
	default:
		s.failed(w, err)
	}
}

// pieces answers GET …/migration/pieces/{name}?token=, which is ours: the SHA-256 of each piece of a file, one after the other.
func (s *Server) pieces(w http.ResponseWriter, r *http.Request) {
	hash, ok := s.moving(w, r)
	if !ok {
		return
	}
	name := r.PathValue("name")
	sums, err := s.cfg.Instances.Pieces(r.Context(), hash, name, r.URL.Query().Get("token"))
	if err != nil {
		s.noDisk(w, name, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(sums) // the other node is gone; it asks again
}

// offer answers POST …/migration/ahead, which is ours: the disks of an instance that runs may be fetched.
func (s *Server) offer(w http.ResponseWriter, r *http.Request, _ []byte) {
	hash, ok := s.moving(w, r)
	if !ok {
		return
	}
	o, err := s.cfg.Instances.Offer(hash)
	if err != nil {
		s.failed(w, err)
		return
	}
	body := map[string]any{"vm_hash": hash, "disk_files": movedDisks(hash, o.Files), "export_token": o.Token, "parent": o.Parent}
	if o.Live != nil {
		body["live"] = o.Live
	}
	answer(w, http.StatusOK, body)
}

// memory answers POST …/migration/memory, which is ours: the memory of an instance that is offered, for who has the token, and then for
// as long as its guest stands still a sign of life now and then. See crn/instance for what it is made of.
func (s *Server) memory(w http.ResponseWriter, r *http.Request) {
	hash, ok := s.moving(w, r)
	if !ok {
		return
	}
	var order struct{ Token string }
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil || json.Unmarshal(body, &order) != nil {
		fail(w, http.StatusBadRequest, "Body is not valid JSON")
		return
	}
	out := &unheld{w: w, ResponseController: http.NewResponseController(w)}
	err = s.cfg.Instances.SendMemory(r.Context(), hash, order.Token, out)
	switch {
	case out.begun: // it breaks off
	case errors.Is(err, instance.ErrUnknown):
		fail(w, http.StatusUnauthorized, "Invalid or missing export token")
	case err != nil:
		s.failed(w, err)
	}
}

// unheld passes on at once what is written.
type unheld struct {
	*http.ResponseController
	w     http.ResponseWriter
	begun bool
}

func (u *unheld) Write(b []byte) (int, error) {
	if !u.begun {
		u.begun = true
		u.w.Header().Set("Content-Type", "application/octet-stream")
		u.w.Header().Set("X-Accel-Buffering", "no") // a proxy in front is not to hold it back either
		u.w.Header().Set("Connection", "close")     // it has a deadline that is of this answer
	}
	n, err := u.w.Write(b)
	return n, errors.Join(err, u.Flush())
}

func movedDisks(hash message.Hash, files []instance.MovedFile) []movedDisk {
	disks := []movedDisk{}
	for _, f := range files {
		disks = append(disks, movedDisk{f, "/control/machine/" + string(hash) + "/migration/disk/" + f.Name})
	}
	return disks
}

// handOver answers POST …/migration/handover, which is ours: the node that has all disks asks for the instance. The token in the
// body says that it may.
func (s *Server) handOver(w http.ResponseWriter, r *http.Request) {
	hash, ok := s.moving(w, r)
	if !ok {
		return
	}
	var order struct{ Token, Claim string }
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil || json.Unmarshal(body, &order) != nil {
		fail(w, http.StatusBadRequest, "Body is not valid JSON")
		return
	}
	if err := s.cfg.Instances.HandOver(hash, order.Token, order.Claim); err != nil {
		s.failed(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"status": "handed over", "vm_hash": hash})
}

// forget answers POST …/migration/cleanup.
func (s *Server) forget(w http.ResponseWriter, r *http.Request, _ []byte) {
	hash, ok := s.moving(w, r)
	if !ok {
		return
	}
	err := s.cfg.Instances.Forget(r.Context(), hash)
	switch {
	case errors.Is(err, instance.ErrUnknown):
		fail(w, http.StatusConflict, "No exported job: "+err.Error())
	case err != nil:
		s.failed(w, err)
	default:
		answer(w, http.StatusOK, map[string]any{"status": "completed", "vm_hash": hash})
	}
}

// arriving reads an order about an instance that is to come here from another node, and answers when it makes no sense. The reference
// refuses some addresses of that node; here it must be a registered one's.
func (s *Server) arriving(w http.ResponseWriter, r *http.Request, body []byte) (hash message.Hash, a instance.Arrival, ok bool) {
	order := struct {
		Hash    string         `json:"vm_hash"`
		Host    string         `json:"source_host"`
		Port    int            `json:"source_port"`
		Token   string         `json:"export_token"`
		Files   []movedDisk    `json:"disk_files"`
		Parent  message.Hash   `json:"parent"`
		Stopped bool           `json:"stopped"`
		Live    *instance.Live `json:"live"`
	}{Port: 443}
	if err := json.Unmarshal(body, &order); err != nil {
		fail(w, http.StatusBadRequest, "Body is not valid JSON: "+err.Error())
		return "", a, false
	}
	hash, err := message.ParseHash(order.Hash)
	if err != nil || order.Token == "" || order.Host == "" {
		fail(w, http.StatusBadRequest, "vm_hash, source_host and export_token are needed")
		return "", a, false
	}
	if s.cfg.Instances == nil {
		fail(w, http.StatusServiceUnavailable, "This CRN cannot host the requested instance at this time.")
		return "", a, false
	}
	source, err := s.cfg.Identity.Registered(r.Context(), order.Host, strconv.Itoa(order.Port))
	if errors.Is(err, corenode.ErrNotFound) {
		fail(w, http.StatusBadRequest, "source_host is no registered node: "+err.Error())
		return "", a, false
	}
	if err != nil {
		s.failed(w, err)
		return "", a, false
	}
	a = instance.Arrival{Source: source, Token: order.Token, Parent: order.Parent, Stopped: order.Stopped, Live: order.Live}
	for _, f := range order.Files {
		a.Files = append(a.Files, f.MovedFile)
	}
	return hash, a, true
}

// arrive answers POST /control/migrate: an instance is to come here.
func (s *Server) arrive(w http.ResponseWriter, r *http.Request, body []byte) {
	hash, a, ok := s.arriving(w, r, body)
	if !ok {
		return
	}
	_, err := s.cfg.Instances.Arrive(r.Context(), hash, a)
	switch {
	case errors.Is(err, os.ErrExist):
		fail(w, http.StatusConflict, "VM already running on this host")
	case err != nil:
		s.failed(w, err)
	default:
		answer(w, http.StatusAccepted, map[string]any{
			"state": "importing", "vm_hash": hash, "status_url": "/control/migrate/" + string(hash) + "/status",
		})
	}
}

// room answers GET /control/migrate/{ref}/room, which is ours: could the instance come here? It is asked before that is stopped.
func (s *Server) room(w http.ResponseWriter, r *http.Request, _ []byte) {
	hash, ok := refOf(w, r)
	if !ok {
		return
	}
	if s.cfg.Instances == nil {
		fail(w, http.StatusServiceUnavailable, "This CRN cannot host the requested instance at this time.")
		return
	}
	if err := s.cfg.Instances.Expect(r.Context(), hash); err != nil {
		s.failed(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"state": "expected", "vm_hash": hash})
}

// fetchAhead answers POST /control/migrate/{ref}/ahead, which is ours: the disks of an instance that is to come here are fetched while
// it runs.
func (s *Server) fetchAhead(w http.ResponseWriter, r *http.Request, body []byte) {
	hash, a, ok := s.arriving(w, r, body)
	if !ok {
		return
	}
	if string(hash) != r.PathValue("ref") {
		fail(w, http.StatusBadRequest, "vm_hash is another one than in the path")
		return
	}
	if err := s.cfg.Instances.FetchAhead(r.Context(), hash, a); err != nil && !errors.Is(err, os.ErrExist) {
		s.failed(w, err)
		return
	}
	answer(w, http.StatusAccepted, map[string]any{"state": "fetching", "vm_hash": hash})
}

// ahead answers GET /control/migrate/{ref}/ahead.
func (s *Server) ahead(w http.ResponseWriter, r *http.Request, _ []byte) {
	hash, ok := s.moving(w, r)
	if !ok {
		return
	}
	a, err := s.cfg.Instances.Ahead(hash)
	if err != nil {
		fail(w, http.StatusNotFound, "Nothing is fetched ahead")
		return
	}
	body := map[string]any{
		"vm_hash": hash, "state": "fetching", "error": nil, "bytes_downloaded": a.Fetched, "total_bytes_expected": a.Total,
	}
	switch {
	case a.Failure != nil:
		body["state"], body["error"] = "failed", a.Failure.Error()
	case a.Done:
		body["state"] = "fetched"
	}
	if a.Cold != nil {
		body["cold"] = a.Cold.Error()
	}
	answer(w, http.StatusOK, body)
}

// arrived answers GET /control/migrate/{ref}/status. What is here counts as imported, however it came.
func (s *Server) arrived(w http.ResponseWriter, r *http.Request, _ []byte) {
	hash, ok := s.moving(w, r)
	if !ok {
		return
	}
	a, err := s.cfg.Instances.Arrived(hash)
	if err != nil {
		fail(w, http.StatusNotFound, "No import job")
		return
	}
	body := map[string]any{
		"vm_hash": hash, "state": "importing", "started_at": a.Begun.UTC().Format(time.RFC3339), "finished_at": nil, "error": nil,
		"bytes_downloaded": a.Fetched, "total_bytes_expected": a.Total, "current_step": "downloading_disks", "transfer_time_ms": nil,
	}
	switch {
	case a.Here:
		body["state"], body["current_step"] = "imported", nil
	case a.Failure != nil:
		body["state"], body["error"] = "import_failed", a.Failure.Error() // and tried again
	}
	answer(w, http.StatusOK, body)
}
