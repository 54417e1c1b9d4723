package api

import (
	"context"
	"crypto/subtle"
	"fmt"
	"html/template"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

var indexPage = template.Must(template.New("index").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Aleph compute node</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}code{background:#eee;padding:0 .3em}</style>
<h1>Aleph compute node</h1>
<p>This machine runs programs of the Aleph network at <code>/vm/&lt;hash&gt;/</code>.</p>
<ul><li>name: {{.Name}}</li><li>version: {{.Version}}</li><li>machines: {{.Driver}} with {{.Accelerator}}</li><li>running now: {{.Running}}</li></ul>
<p><a href="/about/executions/list">what runs</a> · <a href="/about/usage/system">system</a> · <a href="/status/config">configuration</a></p>
`))

func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = indexPage.Execute(w, map[string]any{
		"Name": s.cfg.DomainName, "Version": Version, "Driver": s.cfg.Fingerprint.Driver, "Accelerator": s.cfg.Fingerprint.Accelerator,
		"Running": len(s.cfg.Pool.List()),
	})
}

// login gives who knows the operator's token a cookie (scheme K of spec/crn.md §2.1.4). Scoring measures latency on the refusal.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	token := r.URL.Query().Get("token")
	if !s.isOperator(token) {
		answer(w, http.StatusUnauthorized, map[string]bool{"success": false})
		return
	}
	// Pages of other origins may read answers here, but not with this cookie.
	http.SetCookie(w, &http.Cookie{Name: "token", Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	http.Redirect(w, r, "/about/config", http.StatusFound)
}

func (s *Server) isOperator(token string) bool {
	return s.cfg.LoginToken != "" && subtle.ConstantTimeCompare([]byte(token), []byte(s.cfg.LoginToken)) == 1
}

// operator lets only requests with the operator's cookie pass.
func (s *Server) operator(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("token")
		if err != nil || !s.isOperator(cookie.Value) {
			fail(w, http.StatusUnauthorized, "401 Invalid token")
			return
		}
		next(w, r)
	}
}

// options answers GET /about/config: what the node was started with.
func (s *Server) options(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, s.cfg.Options)
}

// noConfidential is what a node without a secure processor tells who asks for its certificates.
const noConfidential = "Confidential computing setting not enabled on that server"

// certificates answers GET /about/certificates: those of the host's secure processor, as QEMU read them or exported by sevctl when
// they are first asked for.
func (s *Server) certificates(w http.ResponseWriter, r *http.Request) {
	if s.cfg.SEVCtl == "" {
		if s.cfg.Certificates == nil {
			fail(w, http.StatusServiceUnavailable, noConfidential)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(s.cfg.Certificates)
		return
	}
	s.exporting.Lock()
	err := s.exportCertificates(r.Context())
	s.exporting.Unlock()
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	http.ServeFile(w, r, s.cfg.CertificateFile)
}

// exportTimeout bounds a run of sevctl.
const exportTimeout = time.Minute

func (s *Server) exportCertificates(ctx context.Context) error {
	if _, err := os.Stat(s.cfg.CertificateFile); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(s.cfg.CertificateFile), 0o700); err != nil {
		return fmt.Errorf("export certificates: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, exportTimeout)
	defer cancel()
	part := s.cfg.CertificateFile + ".part"
	defer os.Remove(part)
	if out, err := exec.CommandContext(ctx, s.cfg.SEVCtl, "export", part).CombinedOutput(); err != nil {
		return fmt.Errorf("export certificates: %w: %.300s", err, out)
	}
	return os.Rename(part, s.cfg.CertificateFile)
}
