package front

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// issuer makes certificates.
type issuer struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pool        *x509.CertPool
	serial      int64
}

func newIssuer(t testing.TB) *issuer {
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{certificate, key, x509.NewCertPool(), 1}
	i.pool.AddCert(certificate)
	return i
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue returns a certificate for names, in DER.
func (i *issuer) issue(key any, names ...string) ([]byte, error) {
	i.serial++
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(i.serial), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, i.certificate, key, i.key)
}

// write writes a chain and its key to a file.
func (i *issuer) write(t testing.TB, path string, names ...string) {
	t.Helper()
	key := newKey(t)
	raw, err := i.issue(&key.PublicKey, names...)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// guest is what is behind a name: TLS with a key that the front does not have, and a server that echoes.
func guest(t *testing.T, i *issuer, name string) netip.AddrPort {
	path := filepath.Join(t.TempDir(), "pem")
	i.write(t, path, name)
	pair, err := readFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*pair.pair}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// One after the other, until the other side has said all that it has to.
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// run runs a front until the test ends. It answers http requests with the name and the protocol.
func run(t *testing.T, c *Certificates, change func(*Config)) *Front {
	t.Helper()
	cfg := Config{
		Listen: "127.0.0.1:0", Certificates: c,
		Guest: func(context.Context, string) (netip.AddrPort, bool) { return netip.AddrPort{}, false },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s %s %v", r.Host, r.Proto, r.TLS != nil)
		}),
	}
	if change != nil {
		change(&cfg)
	}
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- f.Run() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		f.Shutdown(ctx)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f
}

// get asks for a page under a name, from clients that believe an issuer.
func get(f *Front, pool *x509.CertPool, name string) (string, error) {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, f.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true,
	}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Get("https://" + name + "/")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	return string(raw), err
}

func certificates(t *testing.T, i *issuer, names ...string) *Certificates {
	t.Helper()
	path := filepath.Join(t.TempDir(), "own.pem")
	i.write(t, path, names...)
	c, err := NewCertificates(CertificateConfig{Files: []string{path}, DomainName: names[0]})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNamesOfInstancesGoToThemAsTheyAre(t *testing.T) {
	own, theirs := newIssuer(t), newIssuer(t)
	address := guest(t, theirs, "shop.test")
	f := run(t, certificates(t, own, "node.test", "*.node.test"), func(c *Config) {
		c.Guest = func(_ context.Context, name string) (netip.AddrPort, bool) { return address, name == "shop.test" }
	})
	for _, name := range []string{"shop.test", "SHOP.test"} {
		// Only the guest has a certificate that these clients believe.
		c, err := tls.Dial("tcp", f.Addr().String(), &tls.Config{ServerName: name, RootCAs: theirs.pool})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		said := strings.Repeat("all of it ", 100_000)
		go func() { _, _ = io.WriteString(c, said); _ = c.CloseWrite() }()
		if got, err := io.ReadAll(c); err != nil || string(got) != said {
			t.Errorf("%s: %d bytes came back, %v", name, len(got), err)
		}
		c.Close()
	}
	for _, name := range []string{"node.test", "program.node.test"} {
		if got, err := get(f, own.pool, name); err != nil || got != name+" HTTP/2.0 true" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := get(f, own.pool, "other.test"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a name that is nobody's: %v", err)
	}
}

func TestAGuestThatDoesNotListenIsNoOnesBurden(t *testing.T) {
	own := newIssuer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	f := run(t, certificates(t, own, "node.test"), func(c *Config) {
		c.Guest = func(_ context.Context, name string) (netip.AddrPort, bool) { return address, name == "shop.test" }
	})
	if c, err := tls.Dial("tcp", f.Addr().String(), &tls.Config{ServerName: "shop.test", RootCAs: own.pool}); err == nil {
		c.Close()
		t.Error("somebody else answers for it")
	}
	if got, err := get(f, own.pool, "node.test"); err != nil || got == "" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWhatIsNoTLSIsGivenUp(t *testing.T) {
	f := run(t, certificates(t, newIssuer(t), "node.test"), func(c *Config) { c.HelloTimeout = 100 * time.Millisecond })
	record := append([]byte{22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff}, make([]byte, 1<<16)...) // begins a message that never ends
	for name, said := range map[string][]byte{
		"nothing": nil, "half a record": {22, 3, 1, 2}, "HTTP": []byte("GET / HTTP/1.1\r\nHost: node.test\r\n\r\n"), "noise": []byte(strings.Repeat("\xff", 1<<16)), "endless": record,
	} {
		c, err := net.Dial("tcp", f.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = c.Write(said)
		if n, err := c.Read(make([]byte, 1)); n > 0 {
			t.Errorf("%s: it answers", name)
		} else if late, ok := err.(net.Error); ok && late.Timeout() {
			t.Errorf("%s: it waits", name)
		}
		c.Close()
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	own := newIssuer(t)
	f := run(t, certificates(t, own, "node.test"), func(c *Config) { c.ConnectionsEach = 3 })
	var held []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", f.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	more, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = more.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := more.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a fourth one: %v", err)
	}
	more.Close()
	for _, c := range held {
		c.Close()
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		got, err := get(f, own.pool, "node.test")
		if err == nil && got != "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("when they are gone: %v", err)
		}
	}
}

func TestSourcesAreCountedByWhoHasThem(t *testing.T) {
	c := newCounter(4, 2)
	from := func(text string) netip.Prefix { return sourceOf(&net.TCPAddr{IP: net.ParseIP(text)}) }
	for _, step := range []struct {
		source string
		want   bool
	}{
		{"192.0.2.1", true}, {"192.0.2.1", true}, {"192.0.2.1", false}, {"2001:db8::1", true}, {"2001:db8::2", true}, {"2001:db8::3", false}, {"192.0.2.2", false},
	} {
		if got := c.enter(from(step.source)); got != step.want {
			t.Errorf("%s: %v", step.source, got)
		}
	}
	c.leave(from("2001:db8::9"))
	if !c.enter(from("192.0.2.2")) {
		t.Error("what has left still counts")
	}
	if len(c.from) != 3 {
		t.Errorf("remembered: %v", c.from)
	}
}

func TestAConnectionIsCarriedWhileEitherSideSpeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = time.Minute
		a, ours := net.Pipe()
		theirs, b := net.Pipe()
		begin := time.Now()
		done := make(chan time.Duration)
		go func() { carry(ours, theirs, idle); done <- time.Since(begin) }()
		go func() {
			for range 5 { // one side alone, at most 50 s apart
				time.Sleep(50 * time.Second)
				_, _ = b.Write([]byte("x"))
			}
		}()
		if got, err := io.ReadAll(a); len(got) != 5 || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if took := <-done; took != 250*time.Second+idle {
			t.Errorf("it ended after %v", took)
		}
	})
}

func TestCertificatesOfFilesAreReadAgain(t *testing.T) {
	first, second := newIssuer(t), newIssuer(t)
	path := filepath.Join(t.TempDir(), "own.pem")
	first.write(t, path, "node.test")
	c, err := NewCertificates(CertificateConfig{Files: []string{path}, DomainName: "node.test"})
	if err != nil {
		t.Fatal(err)
	}
	serves := func(i *issuer) bool {
		pair, err := c.get(&tls.ClientHelloInfo{ServerName: "node.test", SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}})
		if err != nil {
			t.Fatal(err)
		}
		return slices.Equal(pair.Leaf.RawIssuer, i.certificate.RawSubject) && pair.Leaf.CheckSignatureFrom(i.certificate) == nil
	}
	later := func() { c.looked = c.looked.Add(-lookEvery) }
	second.write(t, path, "node.test")
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if !serves(first) {
		t.Error("the file is read at each connection")
	}
	if later(); !serves(second) {
		t.Error("the file is not read again")
	}
	if err := os.WriteFile(path, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if later(); !serves(second) {
		t.Error("a broken file takes the certificate away")
	}
	if _, err := NewCertificates(CertificateConfig{Files: []string{path}}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a broken file at the start: %v", err)
	}
}

func FuzzTheFirstMessageOfAClient(f *testing.F) {
	client, server := net.Pipe()
	go func() { _ = tls.Client(client, &tls.Config{ServerName: "shop.test"}).Handshake() }()
	hello := make([]byte, 1<<14)
	n, err := server.Read(hello)
	if err != nil {
		f.Fatal(err)
	}
	server.Close()
	f.Add(hello[:n])
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		name, replay, err := readHello(strings.NewReader(string(said)))
		if err == nil && (!strings.HasPrefix(string(said), string(replay)) || name != strings.ToLower(name)) {
			t.Errorf("name %q, read %q of %q", name, replay, said)
		}
	})
}
