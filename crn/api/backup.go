package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/crn/backup"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/message"
)

// backupView is a backup as owners see it.
type backupView struct {
	ID       string           `json:"backup_id"`
	Size     int64            `json:"size"` // bytes
	Volumes  []string         `json:"volumes"`
	Expires  string           `json:"expires_at"`
	Checksum string           `json:"checksum,omitempty"`
	Sources  map[string]int64 `json:"source_sizes,omitempty"` // bytes
	URL      string           `json:"download_url"`
}

func backupPath(id string) string {
	hash, _, _ := strings.Cut(id, "-")
	return "/control/machine/" + hash + "/backup/" + id
}

// makeBackup answers POST …/backup (spec/crn.md §2.8).
func (s *Server) makeBackup(w http.ResponseWriter, r *http.Request, on Operations, hash message.Hash) {
	if _, ok := on.(Instances); !ok {
		fail(w, http.StatusBadRequest, "Backup only supported for QEMU VMs")
		return
	}
	query := r.URL.Query()
	b, err := s.cfg.Backups.Make(r.Context(), hash, backup.Options{
		Volumes: query.Get("include_volumes") == "true", SkipFreeze: query.Get("skip_fsfreeze") == "true",
	})
	s.answerBackup(w, b, err)
}

// showBackup answers GET …/backup.
func (s *Server) showBackup(w http.ResponseWriter, _ *http.Request, on Operations, hash message.Hash) {
	if _, ok := on.(Instances); !ok {
		s.answerBackup(w, nil, backup.ErrNone)
		return
	}
	b, err := s.cfg.Backups.Latest(hash)
	s.answerBackup(w, b, err)
}

func (s *Server) answerBackup(w http.ResponseWriter, b *backup.Backup, err error) {
	var failed *backup.FailedError
	switch {
	case errors.As(err, &failed):
		plain(w, http.StatusInternalServerError, "Backup failed: "+failed.Error())
		return
	case errors.Is(err, backup.ErrInProgress):
		answer(w, http.StatusAccepted, map[string]string{"status": "in_progress"})
		return
	case errors.Is(err, backup.ErrNone):
		fail(w, http.StatusNotFound, "No backup found for this VM")
		return
	case errors.Is(err, instance.ErrNotRunning):
		fail(w, http.StatusBadRequest, "VM must be running to create backup")
		return
	case errors.Is(err, instance.ErrNoRoom):
		plain(w, http.StatusInsufficientStorage, err.Error())
		return
	case err != nil:
		s.failed(w, err)
		return
	}
	v := backupView{
		ID: b.ID, Size: b.Size, Volumes: b.Volumes, Expires: b.Expires.UTC().Format(time.RFC3339), Sources: b.Sources,
		URL: strings.TrimRight(s.cfg.PublicURL, "/") + backupPath(b.ID) + "?" + s.cfg.Backups.Link(b).Encode(),
	}
	if b.Checksum != "" {
		v.Checksum = "sha256:" + b.Checksum
	}
	answer(w, http.StatusOK, v)
}

// backupOf reads the id in the path, and answers when it is no backup of the instance.
func (s *Server) backupOf(w http.ResponseWriter, r *http.Request, hash message.Hash) (id string, ok bool) {
	id = r.PathValue("id")
	switch {
	case strings.ContainsAny(id, `/\`) || strings.Contains(id, ".."):
		fail(w, http.StatusBadRequest, "Invalid backup_id")
	case !strings.HasPrefix(id, string(hash)+"-"):
		fail(w, http.StatusForbidden, "The backup is not one of this VM")
	case s.cfg.Backups == nil:
		fail(w, http.StatusNotFound, "Backup "+id+" not found")
	default:
		return id, true
	}
	return "", false
}

// downloadBackup answers GET …/backup/{id}, to whoever has the link: the archive, or the part of it that is asked for.
func (s *Server) downloadBackup(w http.ResponseWriter, r *http.Request) {
	hash, ok := refOf(w, r)
	if !ok {
		return
	}
	id, ok := s.backupOf(w, r, hash)
	if !ok {
		return
	}
	query := r.URL.Query()
	signature, expires := query.Get("signature"), query.Get("expires")
	if signature == "" || expires == "" {
		fail(w, http.StatusForbidden, "Missing signature or expires parameter")
		return
	}
	until, err := strconv.ParseInt(expires, 10, 64)
	switch {
	case err != nil:
		fail(w, http.StatusBadRequest, "Invalid expires parameter")
		return
	case s.cfg.Backups.Expired(time.Unix(until, 0)):
		fail(w, http.StatusForbidden, "Download link has expired")
		return
	case !s.cfg.Backups.Signed(id, hash, signature, expires):
		fail(w, http.StatusForbidden, "Invalid signature")
		return
	}
	f, b, err := s.cfg.Backups.Open(id)
	if err != nil {
		s.noBackup(w, id, err)
		return
	}
	defer f.Close()
	h := w.Header()
	h.Set("Content-Type", "application/x-tar")
	h.Set("Content-Disposition", `attachment; filename="`+id+`.tar"`)
	h.Set("Cache-Control", "private")
	if b.Checksum != "" {
		h.Set("X-Backup-Checksum", "sha256:"+b.Checksum)
		h.Set("ETag", `"`+b.Checksum+`"`)
	}
	if n := b.SourceBytes(); n > 0 {
		h.Set("X-Source-Size", strconv.FormatInt(n, 10))
	}
	http.ServeContent(w, r, "", time.Time{}, f)
}

// deleteBackup answers DELETE …/backup/{id}.
func (s *Server) deleteBackup(w http.ResponseWriter, r *http.Request, _ Operations, hash message.Hash) {
	id, ok := s.backupOf(w, r, hash)
	if !ok {
		return
	}
	if err := s.cfg.Backups.Delete(id); err != nil {
		s.noBackup(w, id, err)
		return
	}
	plain(w, http.StatusOK, "Deleted backup "+id)
}

func (s *Server) noBackup(w http.ResponseWriter, id string, err error) {
	if errors.Is(err, backup.ErrNone) {
		fail(w, http.StatusNotFound, "Backup "+id+" not found")
		return
	}
	s.failed(w, err)
}

// restore answers POST …/restore: the root disk begins anew from an image that is uploaded or kept in the network.
func (s *Server) restore(w http.ResponseWriter, r *http.Request, on Operations, hash message.Hash) {
	instances, ok := on.(Instances)
	if !ok {
		fail(w, http.StatusBadRequest, "Restore only supported for QEMU VMs")
		return
	}
	var err error
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); strings.HasPrefix(kind, "multipart/") {
		var image io.Reader
		if image, ok = uploaded(w, r, "rootfs"); ok {
			err = instances.RestoreFile(r.Context(), hash, image, r.ContentLength)
		}
	} else {
		var ref message.Hash
		if ref, ok = volumeRef(w, r); ok {
			err = instances.RestoreVolume(r.Context(), hash, ref)
		}
	}
	switch {
	case !ok: // answered
	case err == nil:
		answer(w, http.StatusOK, map[string]any{"status": "restored", "vm_hash": hash})
	case errors.Is(err, instance.ErrImage):
		answer(w, http.StatusBadRequest, map[string]string{"error": "Uploaded file is not a valid QCOW2 disk image", "reason": err.Error()})
	case errors.Is(err, instance.ErrTooLong):
		fail(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, instance.ErrTooLarge):
		fail(w, http.StatusRequestEntityTooLarge, err.Error())
	case errors.Is(err, instance.ErrNoRoom):
		plain(w, http.StatusInsufficientStorage, err.Error())
	default:
		status, text := refusal(err)
		if status == http.StatusInternalServerError {
			text = "Restore failed: " + text
		}
		fail(w, status, text)
	}
}

// uploaded finds a file in a multipart body, and answers when there is none.
func uploaded(w http.ResponseWriter, r *http.Request, name string) (io.Reader, bool) {
	var part *multipart.Part
	parts, err := r.MultipartReader()
	for err == nil {
		if part, err = parts.NextPart(); err == nil && part.FormName() == name {
			return part, true
		}
	}
	fail(w, http.StatusBadRequest, "Missing '"+name+"' field in multipart upload")
	return nil, false
}

// volumeRef reads the hash of a STORE message from the body, and answers when there is none.
func volumeRef(w http.ResponseWriter, r *http.Request) (message.Hash, bool) {
	var order struct {
		Ref string `json:"volume_ref"`
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil || json.Unmarshal(body, &order) != nil {
		fail(w, http.StatusBadRequest, "Body is neither a multipart upload nor JSON with a volume_ref")
		return "", false
	}
	if order.Ref == "" {
		fail(w, http.StatusBadRequest, "Missing volume_ref in JSON body")
		return "", false
	}
	ref, err := message.ParseHash(order.Ref)
	if err != nil || string(ref) != order.Ref || ref.Kind() != message.ItemStorage {
		fail(w, http.StatusBadRequest, "Invalid volume_ref format")
		return "", false
	}
	return ref, true
}
