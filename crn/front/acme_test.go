package front

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority issues certificates by ACME (RFC 8555) for names that answer a challenge of TLS-ALPN-01 (RFC 8737) at an address. It
// does not check signatures of requests.
type authority struct {
	*issuer
	*httptest.Server
	address string // where names are proved

	mu         sync.Mutex
	thumbprint string          // of the account's key
	proven     map[string]bool // names
	issued     map[string][]byte
	orders     []string // names that were asked for, in order
}

func newAuthority(t *testing.T) *authority {
	a := &authority{issuer: newIssuer(t), proven: map[string]bool{}, issued: map[string][]byte{}}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Server.Close)
	return a
}

// ServeHTTP implements [http.Handler]. Paths are /order/<name>, /proof/<name> and so on.
func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Replay-Nonce", "nonce")
	step, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	url := func(step string) string { return a.URL + "/" + step + "/" + name }
	order := func(status int) {
		state := map[string]any{"status": "pending", "identifiers": []any{map[string]string{"type": "dns", "value": name}}, "authorizations": []string{url("proof")}, "finalize": url("finalize")}
		if a.proven[name] {
			state["status"] = "ready"
		}
		if a.issued[name] != nil {
			state["status"], state["certificate"] = "valid", url("certificate")
		}
		w.Header().Set("Location", url("order"))
		say(w, status, state)
	}
	var request struct{ Protected, Payload string }
	_ = json.NewDecoder(r.Body).Decode(&request)
	payload, _ := base64.RawURLEncoding.DecodeString(request.Payload)
	switch step {
	case "directory":
		say(w, 200, map[string]string{"newNonce": a.URL + "/nonce", "newAccount": a.URL + "/account", "newOrder": a.URL + "/new"})
	case "account":
		var header struct {
			JWK struct{ Crv, Kty, X, Y string }
		}
		protected, _ := base64.RawURLEncoding.DecodeString(request.Protected)
		_ = json.Unmarshal(protected, &header)
		k := header.JWK
		sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":%q,"kty":%q,"x":%q,"y":%q}`, k.Crv, k.Kty, k.X, k.Y))
		a.thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
		w.Header().Set("Location", a.URL+"/account/1")
		say(w, 201, map[string]string{"status": "valid"})
	case "new":
		var wanted struct{ Identifiers []struct{ Value string } }
		_ = json.Unmarshal(payload, &wanted)
		name = wanted.Identifiers[0].Value
		a.orders = append(a.orders, name)
		order(201)
	case "order":
		order(200)
	case "proof":
		status := "pending"
		if a.proven[name] {
			status = "valid"
		}
		say(w, 200, map[string]any{"status": status, "identifier": map[string]string{"type": "dns", "value": name}, "challenges": []any{a.challenge(name, status)}})
	case "challenge":
		if err := a.prove(r.Context(), name); err != nil {
			say(w, 403, map[string]string{"type": "urn:ietf:params:acme:error:unauthorized", "detail": err.Error()})
			return
		}
		a.proven[name] = true
		say(w, 200, a.challenge(name, "valid"))
	case "finalize":
		var wanted struct{ CSR string }
		_ = json.Unmarshal(payload, &wanted)
		raw, _ := base64.RawURLEncoding.DecodeString(wanted.CSR)
		csr, err := x509.ParseCertificateRequest(raw)
		if err != nil || !slices.Equal(csr.DNSNames, []string{name}) || !a.proven[name] {
			say(w, 403, map[string]string{"type": "urn:ietf:params:acme:error:badCSR"})
			return
		}
		if a.issued[name], err = a.issue(csr.PublicKey, name); err != nil {
			say(w, 500, err.Error())
			return
		}
		order(200)
	case "certificate":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: a.issued[name]})
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: a.issuer.certificate.Raw})
	}
}

func (a *authority) challenge(name, status string) map[string]string {
	return map[string]string{"type": "tls-alpn-01", "url": a.URL + "/challenge/" + name, "token": "token-" + name, "status": status}
}

// prove asks the address for the proof that the account has the name.
func (a *authority) prove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := (&tls.Dialer{Config: &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"acme-tls/1"}}}).DialContext(ctx, "tcp", a.address)
	if err != nil {
		return err
	}
	defer c.Close()
	shown := c.(*tls.Conn).ConnectionState().PeerCertificates[0]
	want := sha256.Sum256([]byte("token-" + name + "." + a.thumbprint))
	for _, e := range shown.Extensions {
		var got []byte
		if _, err := asn1.Unmarshal(e.Value, &got); err == nil && e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) &&
			slices.Equal(got, want[:]) && slices.Equal(shown.DNSNames, []string{name}) {
			return nil
		}
	}
	return fmt.Errorf("no proof for %s", name)
}

func say(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func TestAnAuthorityIssuesCertificatesForNamesOfTheNode(t *testing.T) {
	a, theirs := newAuthority(t), newIssuer(t)
	dir := t.TempDir()
	cfg := CertificateConfig{
		Directory: a.URL + "/directory", Dir: dir, DomainName: "node.test",
		Leads: func(_ context.Context, name string) bool {
			return name == "program.test" || strings.HasSuffix(name, ".node.test")
		},
	}
	front := func() *Front {
		c, err := NewCertificates(cfg)
		if err != nil {
			t.Fatal(err)
		}
		address := guest(t, theirs, "shop.test")
		f := run(t, c, func(c *Config) {
			c.Guest = func(_ context.Context, name string) (netip.AddrPort, bool) { return address, name == "shop.test" }
		})
		a.mu.Lock()
		defer a.mu.Unlock()
		a.address = f.Addr().String()
		return f
	}
	f := front()
	for range 2 {
		for _, name := range []string{"node.test", "program.test"} {
			if got, err := get(f, a.pool, name); err != nil || got != name+" HTTP/2.0 true" {
				t.Fatalf("%s: %q, %v", name, got, err)
			}
		}
	}
	for _, name := range []string{"other.test", "made-up.node.test"} {
		if got, err := get(f, a.pool, name); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
	if c, err := tls.Dial("tcp", f.Addr().String(), &tls.Config{ServerName: "shop.test", RootCAs: theirs.pool}); err != nil {
		t.Errorf("the name of a guest: %v", err)
	} else {
		c.Close()
	}
	// The next node has what this one was given.
	if got, err := get(front(), a.pool, "node.test"); err != nil || got == "" {
		t.Errorf("the next node: %q, %v", got, err)
	}
	if want := []string{"node.test", "program.test"}; !slices.Equal(a.orders, want) {
		t.Errorf("asked for %v, want %v", a.orders, want)
	}
	kept, err := os.ReadDir(dir)
	if err != nil || len(kept) < 3 {
		t.Errorf("kept: %v, %v", kept, err)
	}
	for _, entry := range kept {
		if info, err := entry.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s may be read by others: %v, %v", entry.Name(), info, err)
		}
	}
}

func TestWithoutNameOrCertificateTheNodeSaysWhatIsMissing(t *testing.T) {
	for want, cfg := range map[string]CertificateConfig{
		"name files":          {DomainName: "node.test"},
		"its domain name":     {DomainName: "localhost", Directory: "https://acme.test/directory"},
		"the chain and its k": {DomainName: "node.test", Files: []string{"acme_test.go"}},
	} {
		if _, err := NewCertificates(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
