package instance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aleph-im/aleph-go/crn/vm/qemu"
	"github.com/aleph-im/aleph-go/message"
)

// A confidential instance is made ready and then waits for its owner (decision 0039): its machine is loaded with a session that the
// owner makes for this one start, and runs once the owner has checked what was loaded and sent a secret. Whatever ends the machine,
// it waits again. A plan of the scheduler finds it as it is to be.

// Errors of the steps that start a confidential instance.
var (
	ErrNotConfidential = errors.New("the instance is not confidential")
	ErrRunning         = errors.New("the instance runs already")
	// ErrConfidential: what is asked for cannot be done with a confidential instance.
	ErrConfidential = errors.New("the instance is confidential: it cannot move")
)

// session is what an owner starts a machine with, once.
type session struct{ launch, owner []byte } // both in base64

// Names beside rootFile, as the reference has them (spec/crn.md §2.9).
const (
	sessionFile = "vm_session.b64"
	ownerFile   = "vm_godh.b64"
)

// defaultFirmware is what a confidential machine boots when its message names nothing else (spec/crn.md §4.4).
const defaultFirmware message.Hash = "ba5bb13f3abca960b101a759be162b229e2b7e93ecad9d1307e54de887f177ff"

// maxFirmware bounds it, in bytes: what is mapped below 4 GiB.
const maxFirmware = 16 << 20

// awaits reports whether the instance waits for its owner. pool.mu is held.
func (x *instance) awaits() bool {
	return x.rec.confidential() && x.runs() && x.machine == nil && x.session == nil && x.prepared
}

// movable refuses what cannot come here from another node.
func (p *Pool) movable(m *message.Instance) error {
	if m.Environment.TrustedExecution != nil {
		return ErrConfidential
	}
	return p.offered(m)
}

// Initialize starts a confidential instance with the session and the certificate of its owner, both in base64. It returns when the
// machine is loaded and waits for its secret. The error is ErrNotConfidential, or ErrRunning when there is a machine.
func (p *Pool) Initialize(ctx context.Context, hash message.Hash, launch, owner []byte) error {
	return p.order(ctx, hash, func(x *instance) error {
		switch {
		case x.machine != nil:
			return fmt.Errorf("instance %s: %w", hash, ErrRunning)
		case !x.rec.confidential():
			return fmt.Errorf("instance %s: %w", hash, ErrNotConfidential)
		case p.cfg.SEV == nil:
			return fmt.Errorf("instance %s: %w", hash, p.cfg.NoSEV)
		}
		if err := p.admit(&x.rec); err != nil {
			return err
		}
		if err := x.want(wantedRunning); err != nil {
			return err
		}
		x.session = &session{launch, owner}
		return nil
	})
}

// Measurement is what the processor measured of a confidential machine. The error is ErrNotRunning when there is none.
func (p *Pool) Measurement(ctx context.Context, hash message.Hash) (*qemu.Measurement, error) {
	m, err := p.confidentialMachine(hash)
	if err != nil {
		return nil, err
	}
	answer, err := m.Measurement(ctx)
	if err != nil {
		return nil, fmt.Errorf("measurement of instance %s: %w", hash, err)
	}
	return answer, nil
}

// InjectSecret gives a confidential machine what its owner sealed for it, header and secret in base64, and lets it run. It returns
// QEMU's word on its state.
func (p *Pool) InjectSecret(ctx context.Context, hash message.Hash, header, secret string) (json.RawMessage, error) {
	m, err := p.confidentialMachine(hash)
	if err != nil {
		return nil, err
	}
	state, err := m.InjectSecret(ctx, header, secret)
	if err != nil {
		return nil, fmt.Errorf("secret of instance %s: %w", hash, err)
	}
	return state, nil
}

func (p *Pool) confidentialMachine(hash message.Hash) (Machine, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, err := p.machineOf(hash)
	if err == nil && !p.instances[hash].rec.confidential() {
		err = fmt.Errorf("instance %s: %w", hash, ErrNotConfidential)
	}
	return m, err
}

// prepareLaunch adds to a spec what makes its machine a confidential one. Without a session it makes sure of all the rest.
func (p *Pool) prepareLaunch(ctx context.Context, spec *qemu.InstanceSpec, m *message.Instance, s *session) error {
	t := m.Environment.TrustedExecution
	ref := defaultFirmware
	if t.Firmware != nil {
		ref = *t.Firmware
	}
	// Never a later version: the owner has the hash of this one.
	firmware, err := p.cfg.Network.File(ctx, ref, false, maxFirmware)
	if err != nil {
		return fmt.Errorf("firmware: %w: %w", ErrResource, err)
	}
	if s == nil {
		return nil
	}
	l := &qemu.Launch{Processor: *p.cfg.SEV, Policy: uint32(t.Policy), Firmware: firmware.Path}
	for _, f := range []struct {
		path    *string
		name    string
		content []byte
	}{{&l.Session, sessionFile, s.launch}, {&l.Owner, ownerFile, s.owner}} {
		*f.path = filepath.Join(p.disks(message.Hash(spec.ID)), f.name)
		if err := os.WriteFile(*f.path, f.content, 0o600); err != nil {
			return err
		}
	}
	spec.Launch = l
	return nil
}
