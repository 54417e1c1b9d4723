package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/sev"
	"github.com/aleph-im/aleph-go/message"
)

// The firmware that compute nodes load when an instance names none (sdk-cli §1.1).
const (
	usualFirmware       message.Hash = "ba5bb13f3abca960b101a759be162b229e2b7e93ecad9d1307e54de887f177ff"
	usualFirmwareSHA256 string       = "89b76b0e64fe9015084fbffdf8ac98185bafc688bfe7a0b398585c392d03c7ee"
)

// trustedExecution is what an instance asks of a secure processor; nil when it asks for none.
func (f *createFlags) trustedExecution() (*message.TrustedExecution, error) {
	if !f.confidential {
		if f.firmware != "" {
			return nil, usageError{errors.New("--firmware is that of a confidential instance: add --confidential")}
		}
		return nil, nil
	}
	if f.node == "" && f.payment != streamPayment {
		return nil, usageError{errors.New("a confidential instance runs on a node that its owner chose: name it with --node; aleph node compute lists them")}
	}
	t := &message.TrustedExecution{Firmware: new(usualFirmware), Policy: uint64(f.policy)}
	if f.firmware != "" {
		hash, err := message.ParseHash(f.firmware)
		if err != nil {
			return nil, usageError{fmt.Errorf("--firmware: %w", err)}
		}
		t.Firmware = &hash
	}
	return t, nil
}

// namedNode finds the compute node that the user names.
func (a *app) namedNode(ctx context.Context, wanted string) (*client.ComputeNode, error) {
	nodes, err := a.nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for compute nodes: %w", err)
	}
	for _, n := range nodes.Compute {
		if isNamed(n, wanted) {
			return &n, nil
		}
	}
	return nil, unknownNode(wanted)
}

// confidentialMachine is a confidential instance where it is to run, and what its owner wants of it.
type confidentialMachine struct {
	computeNode
	policy   sev.Policy
	firmware message.Hash
	kept     string // file of the session
}

// keptSession is what is kept between the two steps: enough to go on, and to read what is sent. It goes once the secret is sent.
type keptSession struct {
	Node string `json:"node"`
	sev.Session
}

func (a *app) confidentialMachine(ctx context.Context, argument string) (*confidentialMachine, error) {
	api, account, hash, place, err := a.placed(ctx, argument)
	if err != nil {
		return nil, err
	}
	instance, err := instanceOf(ctx, api, hash)
	if err != nil {
		return nil, err
	}
	wanted := instance.Environment.TrustedExecution
	switch {
	case wanted == nil:
		return nil, usageError{fmt.Errorf("instance %s is not confidential: make one with: aleph instance create --confidential", hash)}
	case wanted.Mode != nil && *wanted.Mode != "sev":
		return nil, usageError{fmt.Errorf("instance %s wants %s, of which this tool knows nothing: it does SEV and SEV-ES", hash, *wanted.Mode)}
	case wanted.Policy>>32 != 0:
		return nil, usageError{fmt.Errorf("instance %s has the policy %#x, which is none of SEV", hash, wanted.Policy)}
	}
	m := &confidentialMachine{computeNode: computeNode{api, account, place.Node.URL, hash}, policy: sev.Policy(wanted.Policy), firmware: usualFirmware}
	if wanted.Firmware != nil {
		m.firmware = *wanted.Firmware
	}
	folder, err := a.walletFolder()
	m.kept = filepath.Join(folder, "confidential", string(hash)+".json")
	return m, err
}

// initialize has a machine loaded with a new session, and keeps that. It returns the name of the authority that vouches for the
// processor.
func (a *app) initialize(ctx context.Context, m *confidentialMachine, f confidentialFlags) (*keptSession, string, error) {
	known, err := sev.Authorities()
	if err != nil {
		return nil, "", err
	}
	if f.roots != "" {
		raw, err := os.ReadFile(f.roots)
		if err != nil {
			return nil, "", usageError{fmt.Errorf("--amd-roots: %w", err)}
		}
		more, err := sev.ParseAuthority(filepath.Base(f.roots), raw)
		if err != nil {
			return nil, "", usageError{fmt.Errorf("--amd-roots %s: %w", f.roots, err)}
		}
		known = append(known, more)
	}
	a.say("Asking %s to prepare it", m.url)
	if err := m.api.NotifyAllocation(ctx, m.url, m.hash); err != nil {
		return nil, "", err
	}
	raw, err := m.api.Certificates(ctx, m.url)
	if err != nil {
		return nil, "", err
	}
	chain, err := sev.ParseChain(raw)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", m.url, err)
	}
	authority, err := chain.Verify(known)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w; nothing was sent to it", m.url, err)
	}
	session, err := sev.NewSession(chain, m.policy)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", m.url, err)
	}
	s := &keptSession{m.url, *session}
	return s, authority.Name, m.load(ctx, s)
}

// load sends a session. It is on disk before, and takes the place of the one before unless the node refuses it: then the machine may
// have been loaded with that one.
func (m *confidentialMachine) load(ctx context.Context, s *keptSession) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.kept), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(m.kept), ".aleph-*") // readable by nobody else
	if err != nil {
		return err
	}
	_, err = file.Write(raw)
	if err = errors.Join(err, file.Sync()); err != nil {
		return place(file, m.kept, 0o600, err)
	}
	text := base64.StdEncoding.EncodeToString
	sent := m.api.InitializeConfidential(ctx, m.account, m.url, m.hash, text(s.Launch), text(s.Owner))
	var refused *client.HTTPError
	if errors.As(sent, &refused) && refused.Status < http.StatusInternalServerError {
		return place(file, m.kept, 0o600, sent)
	}
	return errors.Join(sent, place(file, m.kept, 0o600, nil))
}

// resume returns the session that a machine was loaded with at the node where it is; nil when there is none.
func (m *confidentialMachine) resume() (*keptSession, error) {
	raw, err := os.ReadFile(m.kept)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	s := &keptSession{}
	if err == nil {
		err = json.Unmarshal(raw, s)
	}
	if err != nil {
		return nil, fmt.Errorf("session of %s in %s: %w; remove it, stop the instance and begin anew", m.hash, m.kept, err)
	}
	if s.Node != m.url || s.Policy != m.policy {
		return nil, nil
	}
	return s, nil
}

// startConfidential waits until a machine is loaded, checks it and sends the secret. The session goes with it.
func (a *app) startConfidential(ctx context.Context, m *confidentialMachine, s *keptSession, launch [sha256.Size]byte, secret []byte) (running bool, err error) {
	a.say("Waiting until %s is loaded", m.hash)
	measured, err := m.api.MeasureConfidential(ctx, m.account, m.url, m.hash)
	for errors.Is(err, client.ErrNotLoaded) {
		if ended := pause(ctx); ended != nil {
			return false, pendingError{fmt.Errorf("%w: %w; load it anew with: aleph instance confidential init %s", err, ended, m.hash)}
		}
		measured, err = m.api.MeasureConfidential(ctx, m.account, m.url, m.hash)
	}
	if err != nil {
		return false, err
	}
	info := measured.SEV
	checked, err := s.Check(sev.Build{Major: info.Major, Minor: info.Minor, Build: info.Build}, launch, measured.Answer)
	if err != nil {
		return false, fmt.Errorf("instance %s: %w; no secret was sent. %s", m.hash, err, m.suspicion(sev.Policy(info.Policy)))
	}
	header, packet, err := checked.Seal(secret)
	if err != nil {
		return false, err
	}
	running, err = m.api.InjectSecret(ctx, m.account, m.url, m.hash, header, packet)
	if err != nil {
		return false, err
	}
	return running, os.Remove(m.kept)
}

// suspicion says what may be behind a measurement that is wrong.
func (m *confidentialMachine) suspicion(policy sev.Policy) string {
	if policy != m.policy {
		return fmt.Sprintf("The node says that it loaded it with the policy %#x, not %#x: it may know no other", uint32(policy), uint32(m.policy))
	}
	return "The node may have loaded another firmware: compare with --firmware or --firmware-hash. Or it loaded it with keys that were made " +
		"elsewhere: stop the instance, then: aleph instance confidential init " + string(m.hash)
}
