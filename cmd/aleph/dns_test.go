package main

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// dnsServer answers with the records that a test gave it, by name and type, and with nothing to other questions.
func dnsServer(t *testing.T, records map[string]string) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		packet := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			if raw, err := answer(packet[:n], records); err == nil {
				_, _ = conn.WriteTo(raw, from)
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return conn.LocalAddr().String()
}

func answer(packet []byte, records map[string]string) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(packet); err != nil {
		return nil, err
	}
	q := m.Questions[0]
	m.Response = true
	header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
	value, ok := records[q.Type.String()+" "+strings.TrimSuffix(q.Name.String(), ".")]
	switch {
	case !ok:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeTXT:
		m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.TXTResource{TXT: []string{value}}}}
	default:
		m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(value + ".")}}}
	}
	return m.Pack()
}

func TestDomainCheckTellsWhatIsMissing(t *testing.T) {
	_, u, _ := funded(t)
	var program deployed
	u.result(&program, "program", "deploy", fastAPI(t))
	var added struct {
		Type    string
		Records []record
	}
	u.result(&added, "domain", "add", "WWW.Example.org", "--to", string(program.ItemHash))
	if len(added.Records) != 2 || added.Type != "program" {
		t.Fatalf("added %+v", added)
	}
	if code, _, errOut := u.run("domain", "add", "www.example.org", "--to", string(program.ItemHash)); code == 0 || !strings.Contains(errOut, "domain attach") {
		t.Errorf("added twice: exit code %d: %s", code, errOut)
	}
	there := map[string]string{"TypeCNAME www.example.org": "elsewhere.example.net"}
	server := dnsServer(t, there)
	code, out, _ := u.run("-o", "json", "domain", "check", "www.example.org", "--resolver", server)
	var records []record
	if err := json.Unmarshal([]byte(out), &records); err != nil || code != exitPending {
		t.Fatalf("exit code %d, %v: %s", code, err, out)
	}
	if records[0].Right || records[0].Found != "elsewhere.example.net" || records[1].Found != "nothing" {
		t.Errorf("found %+v", records)
	}
	right := map[string]string{}
	for _, r := range added.Records {
		right["Type"+r.Type+" "+r.Name] = r.Value
	}
	if code, out, errOut := u.run("domain", "check", "www.example.org", "--resolver", dnsServer(t, right)); code != 0 {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	u.result(nil, "domain", "detach", "www.example.org")
	if code, _, _ := u.run("domain", "check", "www.example.org"); code != exitNotFound {
		t.Errorf("after it was detached: exit code %d", code)
	}
}

func TestDomainNamesAreChecked(t *testing.T) {
	for _, bad := range []string{"", "localhost", "a..b", "a b.c", "bücher.example", strings.Repeat("a", 64) + ".org"} {
		if name, err := domainName(bad); err == nil {
			t.Errorf("%q is taken for %q", bad, name)
		}
	}
	if records := recordsOf("www.example.org", "ipfs", "0x1"); len(records) != 3 || records[1].Name != "_dnslink.www.example.org" {
		t.Errorf("records of a website: %+v", records)
	}
}
