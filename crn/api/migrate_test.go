package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aleph-im/aleph-go/crn/corenode"
	"github.com/aleph-im/aleph-go/crn/corenode/corenodetest"
	"github.com/aleph-im/aleph-go/crn/instance"
	"github.com/aleph-im/aleph-go/message"
)

// movers is a fake of instances that move: it answers what the test wants, and keeps what was asked.
type movers struct {
	Instances
	left    instance.Leaving
	leftErr error
	here    instance.Arriving
	hereErr error
	fetched instance.Ahead
	err     error // of everything else
	file    string
	arrived *instance.Arrival
}

func (m *movers) Leave(message.Hash) (instance.Leaving, bool, error) { return m.left, true, m.err }
func (m *movers) Left(message.Hash) (instance.Leaving, error)        { return m.left, m.leftErr }
func (m *movers) HandOver(_ message.Hash, token, claim string) error { return m.err }
func (m *movers) Expect(context.Context, message.Hash) error         { return m.err }
func (m *movers) Offer(message.Hash) (instance.Offered, error) {
	return instance.Offered{Token: "secret", Parent: "parent", Files: []instance.MovedFile{{Name: "data.x", Size: 5, Extents: [][2]int64{{0, 5}}}}}, m.err
}
func (m *movers) Pieces(context.Context, message.Hash, string, string) ([]byte, error) {
	return []byte(`"sums"`), m.err
}
func (m *movers) SendMemory(_ context.Context, _ message.Hash, token string, to instance.Line) error {
	if m.err != nil {
		return m.err
	}
	_, err := io.WriteString(to, `"memory for `+token+`"`)
	return errors.Join(err, errors.New("nobody asked for it"))
}
func (m *movers) Ahead(message.Hash) (instance.Ahead, error) { return m.fetched, m.hereErr }
func (m *movers) FetchAhead(_ context.Context, _ message.Hash, a instance.Arrival) error {
	m.arrived = &a
	return m.err
}
func (m *movers) Forget(context.Context, message.Hash) error      { return m.err }
func (m *movers) Arrived(message.Hash) (instance.Arriving, error) { return m.here, m.hereErr }
func (m *movers) Disk(message.Hash, string, string) (*os.File, error) {
	if m.err != nil {
		return nil, m.err
	}
	return os.Open(m.file)
}

func (m *movers) Arrive(_ context.Context, _ message.Hash, a instance.Arrival) (bool, error) {
	m.arrived = &a
	return true, m.err
}

const tokenOfTests = "test"

// moversOn makes a server of such instances in a network with one other node.
func moversOn(t *testing.T, m *movers) *Server {
	t.Helper()
	core := corenodetest.New(t)
	core.Aggregate("0xRegistry", map[string]any{"corechannel": map[string]any{"resource_nodes": []any{
		map[string]any{"hash": message.HashBytes([]byte("other")), "owner": "0xOwner", "address": "https://other.test/"}, "nonsense",
		map[string]any{"hash": message.HashBytes([]byte("plain")), "owner": "0xOwner", "address": "http://127.0.0.1:4020"},
	}}})
	sum := sha256.Sum256([]byte(tokenOfTests))
	return serverOn(t, core, func(c *Config) {
		c.Instances, c.AllocationTokenHash = m, hex.EncodeToString(sum[:])
		var err error
		c.Identity, err = corenode.NewIdentity(c.Network, corenode.IdentityConfig{File: filepath.Join(t.TempDir(), "node-hash"), Registry: "0xRegistry"})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestOrdersToMoveAreTheSchedulers(t *testing.T) {
	hash := message.HashBytes([]byte("instance"))
	m := &movers{}
	s := moversOn(t, m)
	for _, order := range []string{
		"POST /control/machine/%s/migration/export", "GET /control/machine/%s/migration/export/status", "POST /control/machine/%s/migration/cleanup",
		"POST /control/migrate", "GET /control/migrate/%s/status", "GET /control/migrate/%s/room",
		"POST /control/machine/%s/migration/ahead", "POST /control/migrate/%s/ahead", "GET /control/migrate/%s/ahead",
	} {
		method, path, _ := strings.Cut(order, " ")
		path = strings.Replace(path, "%s", string(hash), 1)
		for _, header := range [][]string{nil, {"X-Auth-Signature", "wrong"}, {"Authorization", "Aleph-EIP191-V1 sig=00,payload=00", "X-Auth-Signature", tokenOfTests}} {
			if w := s.do(method, path, "", header...); w.Code != 401 || m.arrived != nil {
				t.Errorf("%s with %v: %d %s", order, header, w.Code, w.Body)
			}
		}
	}
	// A node that is not registered is nowhere to fetch from, a cloud's metadata service least of all.
	for _, source := range []struct {
		host string
		port int
		want string // empty when it is refused
	}{
		{"other.test", 443, "https://other.test"}, {"OTHER.test", 443, "https://other.test"}, {"127.0.0.1", 4020, "http://127.0.0.1:4020"},
		{"other.test", 8443, ""}, {"169.254.169.254", 80, ""}, {"127.0.0.1", 22, ""}, {"other.test@127.0.0.1", 443, ""}, {"", 443, ""},
	} {
		m.arrived = nil
		body := fmt.Sprintf(`{"vm_hash":%q,"source_host":%q,"source_port":%d,"export_token":"secret","disk_files":[{"name":"rootfs.qcow2","size_bytes":5,"sha256":"aa","download_path":"/etc/passwd"}]}`, hash, source.host, source.port)
		w := s.do("POST", "/control/migrate", body, "X-Auth-Signature", tokenOfTests)
		if source.want == "" {
			if w.Code != 400 || m.arrived != nil {
				t.Errorf("%+v: %d %s", source, w.Code, w.Body)
			}
			continue
		}
		if w.Code != 202 || m.arrived == nil || m.arrived.Source != source.want || m.arrived.Token != "secret" || len(m.arrived.Files) != 1 || m.arrived.Files[0].Size != 5 {
			t.Errorf("%+v: %d %s, %+v", source, w.Code, w.Body, m.arrived)
		}
	}
}

func TestAnswersToMovesAreThoseOfTheReference(t *testing.T) {
	hash := message.HashBytes([]byte("instance"))
	begun := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	ready := instance.Leaving{Begun: begun, Ready: true, Token: "secret", Files: []instance.MovedFile{{Name: "rootfs.qcow2", Size: 5, SHA256: "aa", Extents: [][2]int64{{0, 5}}}}}
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, []byte("bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	machine, unknown := "/control/machine/"+string(hash)+"/migration/", fmt.Errorf("instance: %w", instance.ErrUnknown)
	const started = `"started_at":"2025-01-02T03:04:05Z"`
	for name, test := range map[string]struct {
		movers             movers
		method, path, body string
		status             int
		want               string // part of the body
	}{
		"export":                   {movers{left: instance.Leaving{Begun: begun}}, "POST", machine + "export", "", 202, started + `,"state":"exporting","status_url":"` + machine + `export/status"`},
		"export once more":         {movers{left: ready}, "POST", machine + "export", "", 409, `"state":"exported"`},
		"export that failed":       {movers{left: instance.Leaving{Failure: errors.New("no disk")}}, "POST", machine + "export", "", 202, `"error":"no disk"`},
		"export of what is not":    {movers{err: unknown}, "POST", machine + "export", "", 404, "error"},
		"export of what arrives":   {movers{err: instance.ErrMoving}, "POST", machine + "export", "", 409, "error"},
		"status of an export":      {movers{left: ready}, "GET", machine + "export/status", "", 200, `"disk_files":[{"name":"rootfs.qcow2","size_bytes":5,"sha256":"aa","extents":[[0,5]],"download_path":"` + machine + `disk/rootfs.qcow2"}],"error":null,"export_token":"secret"`},
		"status of one under way":  {movers{}, "GET", machine + "export/status", "", 200, `"disk_files":null,"error":null,"export_token":null`},
		"status of none":           {movers{leftErr: unknown}, "GET", machine + "export/status", "", 404, `{"error":"No export job"}`},
		"disk":                     {movers{file: file}, "GET", machine + "disk/rootfs.qcow2?token=secret", "", 200, "bytes"},
		"disk without token":       {movers{err: unknown}, "GET", machine + "disk/rootfs.qcow2", "", 401, `{"error":"Invalid or missing export token"}`},
		"disk that is none":        {movers{err: os.ErrNotExist}, "GET", machine + "disk/x?token=secret", "", 404, `{"error":"Disk file not found: x"}`},
		"handover":                 {movers{}, "POST", machine + "handover", `{"token":"a","claim":"b"}`, 200, "handed over"},
		"handover to another":      {movers{err: instance.ErrMoving}, "POST", machine + "handover", `{"token":"a","claim":"b"}`, 409, "error"},
		"handover that is none":    {movers{}, "POST", machine + "handover", "x", 400, "error"},
		"cleanup":                  {movers{}, "POST", machine + "cleanup", "", 200, `{"status":"completed","vm_hash":"` + string(hash) + `"}`},
		"cleanup before it left":   {movers{err: instance.ErrMoving}, "POST", machine + "cleanup", "", 409, "error"},
		"cleanup of none":          {movers{err: unknown}, "POST", machine + "cleanup", "", 409, "error"},
		"room":                     {movers{}, "GET", "/control/migrate/" + string(hash) + "/room", "", 200, `{"state":"expected","vm_hash":"` + string(hash) + `"}`},
		"no room":                  {movers{err: instance.ErrNoRoom}, "GET", "/control/migrate/" + string(hash) + "/room", "", 503, "error"},
		"offer":                    {movers{}, "POST", machine + "ahead", "", 200, `"disk_files":[{"name":"data.x","size_bytes":5,"sha256":"","extents":[[0,5]],"download_path":"` + machine + `disk/data.x"}],"export_token":"secret","parent":"parent"`},
		"offer of what is stopped": {movers{err: instance.ErrBusy}, "POST", machine + "ahead", "", 409, "error"},
		"pieces":                   {movers{}, "GET", machine + "pieces/data.x?token=secret", "", 200, "sums"},
		"pieces without token":     {movers{err: unknown}, "GET", machine + "pieces/data.x", "", 401, `{"error":"Invalid or missing export token"}`},
		"memory":                   {movers{}, "POST", machine + "memory", `{"token":"a"}`, 200, "memory for a"},
		"memory without token":     {movers{err: unknown}, "POST", machine + "memory", `{}`, 401, `{"error":"Invalid or missing export token"}`},
		"memory of what is busy":   {movers{err: instance.ErrBusy}, "POST", machine + "memory", `{"token":"a"}`, 409, "error"},
		"memory without JSON":      {movers{}, "POST", machine + "memory", `x`, 400, "error"},
		"why it comes without":     {movers{fetched: instance.Ahead{Done: true, Cold: errors.New("another QEMU")}}, "GET", "/control/migrate/" + string(hash) + "/ahead", "", 200, `"cold":"another QEMU"`},
		"ahead":                    {movers{}, "POST", "/control/migrate/" + string(hash) + "/ahead", `{"vm_hash":"` + string(hash) + `","source_host":"other.test","export_token":"t","disk_files":[]}`, 202, `"state":"fetching"`},
		"ahead once more":          {movers{err: os.ErrExist}, "POST", "/control/migrate/" + string(hash) + "/ahead", `{"vm_hash":"` + string(hash) + `","source_host":"other.test","export_token":"t","disk_files":[]}`, 202, `"state":"fetching"`},
		"ahead from nowhere":       {movers{}, "POST", "/control/migrate/" + string(hash) + "/ahead", `{"vm_hash":"` + string(hash) + `","source_host":"169.254.169.254","export_token":"t","disk_files":[]}`, 400, "no registered node"},
		"ahead of another":         {movers{}, "POST", "/control/migrate/" + string(hash) + "/ahead", `{"vm_hash":"` + string(message.HashBytes(nil)) + `","source_host":"other.test","export_token":"t","disk_files":[]}`, 400, "error"},
		"status of what is ahead":  {movers{fetched: instance.Ahead{Fetched: 3, Total: 5}}, "GET", "/control/migrate/" + string(hash) + "/ahead", "", 200, `"bytes_downloaded":3,"error":null,"state":"fetching"`},
		"all is ahead":             {movers{fetched: instance.Ahead{Done: true}}, "GET", "/control/migrate/" + string(hash) + "/ahead", "", 200, `"state":"fetched"`},
		"ahead that failed":        {movers{fetched: instance.Ahead{Done: true, Failure: errors.New("cut")}}, "GET", "/control/migrate/" + string(hash) + "/ahead", "", 200, `"state":"failed"`},
		"nothing is ahead":         {movers{hereErr: unknown}, "GET", "/control/migrate/" + string(hash) + "/ahead", "", 404, "error"},
		"import of what runs here": {movers{err: os.ErrExist}, "POST", "/control/migrate", `{"vm_hash":"` + string(hash) + `","source_host":"other.test","export_token":"t","disk_files":[]}`, 409, `{"error":"VM already running on this host"}`},
		"import of nothing":        {movers{}, "POST", "/control/migrate", `{}`, 400, "error"},
		"import without JSON":      {movers{}, "POST", "/control/migrate", `x`, 400, "error"},
		"status of an import":      {movers{here: instance.Arriving{Fetched: 3, Total: 5}}, "GET", "/control/migrate/" + string(hash) + "/status", "", 200, `"bytes_downloaded":3,"current_step":"downloading_disks","error":null`},
		"status of one that is in": {movers{here: instance.Arriving{Here: true}}, "GET", "/control/migrate/" + string(hash) + "/status", "", 200, `"state":"imported"`},
		"status of one that fails": {movers{here: instance.Arriving{Failure: errors.New("cut")}}, "GET", "/control/migrate/" + string(hash) + "/status", "", 200, `"state":"import_failed"`},
		"status of no import":      {movers{hereErr: unknown}, "GET", "/control/migrate/" + string(hash) + "/status", "", 404, `{"error":"No import job"}`},
	} {
		w := moversOn(t, &test.movers).do(test.method, test.path, test.body, "X-Auth-Signature", tokenOfTests)
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.want) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if w.Body.String() != "bytes" && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: no JSON: %s", name, w.Body)
		}
	}
}
