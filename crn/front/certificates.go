package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// CertificateConfig says where certificates come from: files, an authority, or both. Where a file has one for a name, that is taken.
type CertificateConfig struct {
	// Files are PEM, each a chain and its key, as HAProxy has them. They are read again when they change.
	Files []string
	// Directory is the URL of an authority that issues certificates by ACME (RFC 8555); none when empty. It proves names by TLS-ALPN-01
	// (RFC 8737), through the front itself, which it must therefore reach on port 443.
	Directory string
	Email     string // told to the authority; may be empty
	Dir       string // keeps what it issued, and the account's key
	// DomainName is the node's own, which clients get that name none.
	DomainName string
	// Leads reports whether a name other than the node's own is one that the node answers for. No others are asked for.
	Leads func(ctx context.Context, name string) bool
	HTTP  *http.Client // to the authority; one with deadlines when nil
	Log   *slog.Logger // discarded when nil
}

// Certificates of the names that a node answers for. Safe for concurrent use.
type Certificates struct {
	cfg       CertificateConfig
	authority *autocert.Manager // nil for none
	asked     pace

	mu     sync.Mutex
	files  []file
	looked time.Time // at the files
}

// file is a certificate as it was last read.
type file struct {
	path    string
	changed time.Time
	pair    *tls.Certificate
}

// lookEvery is how often files are looked at for changes, at most.
const lookEvery = 10 * time.Second

// orderTimeout bounds one request to the authority.
const orderTimeout = time.Minute

// NewCertificates reads the files. Names are first asked of the authority when a client wants them.
func NewCertificates(cfg CertificateConfig) (*Certificates, error) {
	if len(cfg.Files) == 0 && cfg.Directory == "" {
		return nil, errors.New("TLS needs certificates: name files with them, or an authority that issues them")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Certificates{cfg: cfg}
	for _, path := range cfg.Files {
		f, err := readFile(path)
		if err != nil {
			return nil, err
		}
		c.files = append(c.files, f)
	}
	c.looked = time.Now()
	if cfg.Directory == "" {
		return c, nil
	}
	if !strings.Contains(cfg.DomainName, ".") {
		return nil, fmt.Errorf("no authority issues a certificate for %q: give the node its domain name", cfg.DomainName)
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Timeout: orderTimeout}
	}
	c.authority = &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(cfg.Dir), Email: cfg.Email, HostPolicy: c.mayHave,
		Client: &acme.Client{DirectoryURL: cfg.Directory, HTTPClient: cfg.HTTP, UserAgent: "alephd"},
	}
	return c, nil
}

func readFile(path string) (file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return file{}, fmt.Errorf("certificate: %w", err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return file{}, fmt.Errorf("certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(raw, raw)
	if err != nil {
		return file{}, fmt.Errorf("certificate %s: %w: the file must hold the chain and its key", path, err)
	}
	return file{path, info.ModTime(), &pair}, nil
}

// config is that of the server.
func (c *Certificates) config() *tls.Config {
	protocols := []string{"h2", "http/1.1"}
	if c.authority != nil {
		protocols = append(protocols, acme.ALPNProto)
	}
	return &tls.Config{GetCertificate: c.get, NextProtos: protocols, MinVersion: tls.VersionTLS12}
}

// get finds the certificate that a client asks for.
func (c *Certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello.ServerName == "" {
		hello.ServerName = c.cfg.DomainName
	}
	proof := len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acme.ALPNProto
	files := c.current()
	if !proof {
		for _, f := range files {
			if hello.SupportsCertificate(f.pair) == nil {
				return f.pair, nil
			}
		}
	}
	if c.authority == nil {
		return files[0].pair, nil // the client says what it thinks of it
	}
	pair, err := c.authority.GetCertificate(hello)
	if err != nil {
		c.cfg.Log.Debug("no certificate", "name", hello.ServerName, "error", err)
	}
	return pair, err
}

// mayHave is asked before a name is asked of the authority, which does not do that for ever: names below the node's own, of which
// everybody can make up any number, are those of files.
func (c *Certificates) mayHave(ctx context.Context, name string) error {
	if strings.EqualFold(name, c.cfg.DomainName) {
		return nil
	}
	if strings.HasSuffix(name, "."+strings.ToLower(c.cfg.DomainName)) || !c.cfg.Leads(ctx, name) {
		return fmt.Errorf("the name %s is not this node's", name)
	}
	ok, first := c.asked.take(name)
	if first {
		c.cfg.Log.Warn("more names are led here than an authority is asked for; they have their turn later", "name", name, "at_once", namesAtOnce, "every", nameEvery)
	}
	if !ok {
		return fmt.Errorf("the authority is asked for no more names just now, %s is asked for later", name)
	}
	return nil
}

// current returns the certificates of files as they are now. One that cannot be read stays what it was.
func (c *Certificates) current() []file {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < lookEvery {
		return c.files
	}
	c.looked = time.Now()
	files := append([]file(nil), c.files...)
	for i, f := range files {
		info, err := os.Stat(f.path)
		if err == nil && info.ModTime().Equal(f.changed) {
			continue
		}
		if err == nil {
			f, err = readFile(f.path)
		}
		if err != nil {
			c.cfg.Log.Warn("a certificate has changed and stays what it was", "error", err)
			continue
		}
		files[i] = f
	}
	c.files = files
	return files
}
