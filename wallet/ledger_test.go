package wallet

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// emulated is a Ledger with its Ethereum application open, as the published protocol describes it. It is reached in packets, as over
// USB.
type emulated struct {
	t       *testing.T
	account *ethereum.Account
	status  uint16 // with which every command is answered, unless 0
	path    []byte
	text    []byte
	open    int
}

func (e *emulated) connect(context.Context) (Transport, error) { e.open++; return e, nil }
func (e *emulated) Close() error                               { e.open--; return nil }

func (e *emulated) Exchange(_ context.Context, command []byte) ([]byte, error) {
	var wire bytes.Buffer
	for _, p := range hidPackets(command) {
		if len(p) != hidPacket {
			e.t.Errorf("a packet of %d bytes", len(p))
		}
		wire.Write(p)
	}
	received, err := hidAnswer(&wire)
	if err != nil || !bytes.Equal(received, command) {
		e.t.Errorf("the device heard %x, %v", received, err)
	}
	wire.Reset()
	for _, p := range hidPackets(e.answer(command)) {
		wire.Write(p)
	}
	return hidAnswer(&wire)
}

func (e *emulated) answer(c []byte) []byte {
	if e.status != 0 {
		return binary.BigEndian.AppendUint16(nil, e.status)
	}
	data := c[5:]
	if c[0] != 0xe0 || c[3] != 0 || int(c[4]) != len(data) {
		return []byte{0x6e, 0}
	}
	if c[2] == ledgerFirst {
		n := 1 + 4*int(data[0])
		e.path, e.text, data = data[:n], nil, data[n:]
	}
	e.text = append(e.text, data...)
	switch c[1] {
	case ledgerGetAddress:
		answer := append([]byte{65}, make([]byte, 65)...)
		answer = append(append(answer, 40), e.account.Address()[2:]...)
		return append(answer, 0x90, 0)
	case ledgerSignMessage:
		if len(e.text)-4 < int(binary.BigEndian.Uint32(e.text)) {
			return []byte{0x90, 0} // more is to come
		}
		text, err := e.account.Sign(context.Background(), e.text[4:])
		if err != nil {
			e.t.Error(err)
		}
		raw, _ := hex.DecodeString(text[2:])
		return append(append([]byte{raw[64]}, raw[:64]...), 0x90, 0)
	}
	if c[1] == ledgerSignTx {
		if len(e.text) < 300 {
			return []byte{0x90, 0} // more is to come
		}
		sig, err := e.account.SignTransaction(context.Background(), e.text)
		if err != nil {
			e.t.Error(err)
		}
		return append(append([]byte{sig[64]}, sig[:64]...), 0x90, 0)
	}
	return []byte{0x6d, 0}
}

func TestLedgerSigns(t *testing.T) {
	account, err := ethereum.FromHex(strings.Repeat("5a", 32))
	if err != nil {
		t.Fatal(err)
	}
	device := &emulated{t: t, account: account}
	c := config(t)
	c.Ledger = device.connect
	w := open(t, c)
	if paths, addresses, err := w.LedgerAddresses(t.Context(), 2); err != nil || paths[1] != "44'/60'/0'/0/1" || addresses[0] != account.Address() {
		t.Errorf("%v, %v, %v", paths, addresses, err)
	}
	e, err := w.AddLedger(t.Context(), "nano", message.ChainETH, LedgerPath)
	if err != nil || e.Address != account.Address() {
		t.Fatal(e, err)
	}
	signer, err := open(t, c).Account(t.Context(), "nano")
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 100, 230, 231, 1000} {
		payload := bytes.Repeat([]byte("x"), size)
		text, err := signer.Sign(t.Context(), payload)
		if by, wrong := ethereum.RecoverPersonal(payload, text); err != nil || wrong != nil || by != account.Address() {
			t.Errorf("%d bytes: %v, %v", size, err, wrong)
		}
	}
	if want := "058000002c8000003c800000000000000000000000"; hex.EncodeToString(device.path) != want {
		t.Errorf("path %x", device.path)
	}
	unsigned := append([]byte{2}, bytes.Repeat([]byte{7}, 299)...)
	want, err := account.SignTransaction(t.Context(), unsigned)
	if err != nil {
		t.Fatal(err)
	}
	sender := signer.(interface {
		SignTransaction(context.Context, []byte) ([65]byte, error)
	})
	if got, err := sender.SignTransaction(t.Context(), unsigned); err != nil || got != want {
		t.Errorf("transaction: %x, %v", got, err)
	}
	for status, want := range map[uint16]string{0x6985: "refused", 0x5515: "PIN", 0x6d00: "open the Ethereum application", 0x6f42: "6f42"} {
		device.status = status
		if _, err := signer.Sign(t.Context(), []byte("x")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("status %x: %v", status, err)
		}
	}
	device.status = 0
	if device.account, err = ethereum.Generate(); err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Sign(t.Context(), []byte("x")); err == nil || !strings.Contains(err.Error(), "not the one") {
		t.Errorf("another device: %v", err)
	}
	if device.open != 0 {
		t.Errorf("%d connections are left open", device.open)
	}
	if _, err := w.AddLedger(t.Context(), "sol", message.ChainSOL, LedgerPath); err == nil {
		t.Error("a Ledger has an account of Solana")
	}
	if _, err := w.Key(t.Context(), "nano"); err == nil {
		t.Error("a Ledger gives its key away")
	}
}

// A command and its answer as the transport protocol shows them: the question for the version of the application.
func TestPacketsAreThoseOfTheProtocol(t *testing.T) {
	got := hidPackets([]byte{0xe0, 0x06, 0, 0, 0})
	if want := "0101050000" + "0005" + "e006000000"; len(got) != 1 || hex.EncodeToString(got[0]) != want+strings.Repeat("00", 52) {
		t.Errorf("%x", got)
	}
	long := hidPackets(bytes.Repeat([]byte{7}, 100))
	if len(long) != 2 || !bytes.Equal(long[1][:6], []byte{1, 1, 5, 0, 1, 7}) {
		t.Errorf("%x", long)
	}
	answer, err := hex.DecodeString("0101050000" + "0006" + "01010a029000" + strings.Repeat("00", 51))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := hidAnswer(bytes.NewReader(answer)); err != nil || !bytes.Equal(got, []byte{1, 1, 10, 2, 0x90, 0}) {
		t.Errorf("%x, %v", got, err)
	}
	for name, raw := range map[string][]byte{
		"cut short": answer[:30], "another channel": slices.Concat([]byte{2}, answer[1:]), "endless": slices.Concat(answer[:5], []byte{0xff, 0xff}, answer[7:]),
	} {
		if got, err := hidAnswer(bytes.NewReader(raw)); err == nil {
			t.Errorf("%s: %x", name, got)
		}
	}
	if _, err := hidAnswer(bytes.NewReader(nil)); !errors.Is(err, io.EOF) {
		t.Errorf("nothing: %v", err)
	}
}

func TestPathsAreEncoded(t *testing.T) {
	for _, bad := range []string{"", "x", "44'/", "44''", "99999999999", strings.Repeat("0/", 20) + "0"} {
		if got, err := encodePath(bad); err == nil {
			t.Errorf("%q: %x", bad, got)
		}
	}
}

// Linux alone has /sys.
func TestLedgerIsFoundAmongDevices(t *testing.T) {
	device := func(id string, report string) map[string]*fstest.MapFile {
		return map[string]*fstest.MapFile{"uevent": {Data: []byte("DRIVER=hid-generic\nHID_ID=0003:" + id + ":00001011\n")}, "report_descriptor": {Data: []byte(report)}}
	}
	sys := fstest.MapFS{}
	for name, files := range map[string]map[string]*fstest.MapFile{
		"hidraw0": device("0000046D", "\x06\xa0\xff"), "hidraw1": device("00002C97", "\x06\xd0\xf1"), "hidraw2": device("00002C97", "\x06\xa0\xff\x09"),
	} {
		for file, content := range files {
			sys[name+"/device/"+file] = content
		}
	}
	if name, err := findHID(sys); err != nil || name != "hidraw2" {
		t.Errorf("%q, %v", name, err)
	}
	if _, err := findHID(fstest.MapFS{}); err == nil {
		t.Error("a Ledger among no devices")
	}
}
