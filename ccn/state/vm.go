package state

import (
	"slices"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// Types of rows of VMs.
const (
	vmProgram  = "program"
	vmInstance = "instance"
	vmVerified = "v-program"
)

// reference is a file that a VM needs.
type reference struct {
	ref    message.Hash
	latest bool
}

// child is a writable disk that starts from a file, which must fit.
type child struct {
	name    *string
	parent  reference
	sizeMiB int64
}

// program decides on a PROGRAM (spec/ccn-core.md §3.4).
func (s *State) program(r *reader, it *Item, c *message.Program) (*change, error) {
	if c.Extended() && !s.params.ExtendedPrograms {
		return nil, message.Errorf(message.ErrInvalidFormat, "the program has a form that this network does not know")
	}
	needs := []reference{{c.Code.Ref, c.Code.UseLatest}, {c.Runtime.Ref, c.Runtime.UseLatest}}
	if c.Data != nil {
		needs = append(needs, reference{c.Data.Ref, c.Data.UseLatest != nil && *c.Data.UseLatest})
	}
	ch, err := s.executable(r, it, &c.Executable, vmProgram, c.Persistent(), needs, nil)
	if err != nil {
		return nil, err
	}
	ch.columns.Type = &c.ProgramType
	return ch, nil
}

func (s *State) instance(r *reader, it *Item, c *message.Instance) (*change, error) {
	parent := reference{c.Rootfs.Parent.Ref, c.Rootfs.Parent.UseLatest}
	name := "rootfs"
	disks := []child{{&name, parent, c.Rootfs.SizeMiB}}
	return s.executable(r, it, &c.Executable, vmInstance, true, []reference{parent}, disks)
}

// executable decides on what programs and instances share. What needs lists cannot be forgotten while the VM is there;
// neither can immutable volumes.
func (s *State) executable(r *reader, it *Item, e *message.Executable, kind string, persistent bool, needs []reference, disks []child) (*change, error) {
	if err := s.permit(r, it); err != nil {
		return nil, err
	}
	for _, v := range e.Volumes {
		if v.Kind == message.VolumeImmutable {
			needs = append(needs, reference{v.Ref, v.UseLatest})
		}
	}
	row := &store.VMRow{
		Hash: it.Message.ItemHash, Type: kind, Owner: e.Address, AllowAmend: e.AllowAmend, Replaces: e.Replaces,
		Persistent: persistent, PaymentType: e.PaymentType(), ContentTime: e.Time,
	}
	for _, n := range needs {
		row.Refs = append(row.Refs, n.ref)
	}
	if e.Requirements != nil && e.Requirements.Node != nil {
		row.NodeHash = (*string)(e.Requirements.Node.NodeHash)
	}
	for _, v := range e.Volumes {
		if v.Kind == message.VolumePersistent && v.Parent != nil {
			parent := reference{v.Parent.Ref, v.Parent.UseLatest}
			needs, disks = append(needs, parent), append(disks, child{v.Name, parent, v.SizeMiB})
			row.Parents = append(row.Parents, parent.ref)
		}
	}
	if err := it.waive(checkReferences(r.Reader, needs)); err != nil {
		return nil, err
	}
	if err := it.waive(checkSizes(sizesAt{r.Reader, placeOf(it)}, disks)); err != nil {
		return nil, err
	}
	if err := it.waive(checkReplaces(r.Reader, e)); err != nil {
		return nil, err
	}
	var messages []message.Hash
	for _, n := range needs {
		messages = append(messages, n.ref)
	}
	if e.Replaces != nil {
		messages = append(messages, message.Hash(*e.Replaces))
	}
	charge, err := s.charge(r.Reader, it, false, false, messages...)
	if err != nil {
		for _, n := range needs { // other versions of its files have other sizes
			if n.latest {
				err = waitingFor(err, message.WaitTag(string(n.ref)))
			}
		}
		return nil, err
	}
	return &change{payment: e.Payment, charge: charge, write: func(w *work) error { return w.tx.InsertVM(row) }}, nil
}

func checkReferences(r *store.Reader, needs []reference) error {
	refusal := &message.Error{Code: message.ErrVMVolumeNotFound}
	for _, n := range needs {
		var missing bool
		var wait message.WaitKey
		if n.latest {
			tag, err := r.Tag(string(n.ref))
			if err != nil {
				return err
			}
			missing, wait = tag == nil, message.WaitTag(string(n.ref))
		} else {
			pin, err := r.Pin(n.ref, store.PinMessage)
			if err != nil {
				return err
			}
			missing, wait = pin == nil, message.WaitMessage(n.ref)
		}
		if missing && !slices.Contains(refusal.Errors, any(string(n.ref))) {
			refusal.Errors = append(refusal.Errors, string(n.ref))
			refusal.WaitsFor = append(refusal.WaitsFor, wait)
		}
	}
	if len(refusal.Errors) > 0 {
		return refusal
	}
	return nil
}

// tooSmall is the detail of a refusal; sizes are in bytes.
type tooSmall struct {
	Volume     *string      `json:"volume_name"`
	ParentRef  message.Hash `json:"parent_ref"`
	ParentFile message.Hash `json:"parent_file"`
	ParentSize int64        `json:"parent_size"`
	VolumeSize int64        `json:"volume_size"`
}

func checkSizes(r sizesAt, disks []child) error {
	for _, d := range disks {
		file, size, ok, err := r.ReferencedFile(d.parent.ref, d.parent.latest)
		if err != nil {
			return err
		}
		if has := d.sizeMiB << 20; ok && has < size {
			return &message.Error{
				Code: message.ErrVMVolumeTooSmall, Errors: []any{tooSmall{d.name, d.parent.ref, file, size, has}},
				WaitsFor: []message.WaitKey{message.WaitTag(string(d.parent.ref))},
			}
		}
	}
	return nil
}

// checkReplaces decides by the original, which every node has, and not by the newest version it happens to know. One that
// was forgotten or removed can still be replaced.
func checkReplaces(r *store.Reader, e *message.Executable) error {
	if e.Replaces == nil || *e.Replaces == "" {
		return nil
	}
	h := message.Hash(*e.Replaces)
	original, err := originalProgram(r, h)
	switch {
	case err != nil:
		return err
	case original == nil:
		return &message.Error{Code: message.ErrVMRefNotFound, Errors: []any{string(h)}, WaitsFor: []message.WaitKey{message.WaitMessage(h)}}
	case original.Owner != e.Address:
		return waitingFor(message.Errorf(message.ErrPermissionDenied, "only %s can replace program %s", original.Owner, h), message.WaitGone(h))
	case original.Replaces != nil:
		return waitingFor(&message.Error{Code: message.ErrVMUpdateUpdate}, message.WaitGone(h))
	case !original.AllowAmend:
		return waitingFor(&message.Error{Code: message.ErrVMAmendNotAllowed}, message.WaitGone(h))
	}
	return nil
}

// originalProgram returns a program that is applied, or was; nil when there is none.
func originalProgram(r *store.Reader, h message.Hash) (*store.VMRow, error) {
	vm, err := r.VM(h)
	if err != nil || vm != nil {
		if vm != nil && vm.Type != vmProgram {
			vm = nil
		}
		return vm, err
	}
	forgotten, err := r.Forgotten(h)
	if err != nil {
		return nil, err
	}
	if forgotten != nil {
		if forgotten.Message.Type != message.TypeProgram {
			return nil, nil
		}
		return &store.VMRow{Owner: forgotten.Owner, Replaces: forgotten.ContentRef, AllowAmend: forgotten.AllowAmend}, nil
	}
	removed, err := r.Removed(h)
	if err != nil || removed == nil || removed.Message.Type != message.TypeProgram {
		return nil, err
	}
	return &store.VMRow{Owner: removed.Owner, Replaces: removed.ContentRef, AllowAmend: removed.AllowAmend}, nil
}

// vprogram decides on a V-PROGRAM (spec/ccn-core.md §3.5): its files are pinned by hash and need not be there.
func (s *State) vprogram(r *reader, it *Item, c *message.VProgram) (*change, error) {
	if err := s.permit(r, it); err != nil {
		return nil, err
	}
	charge, err := s.charge(r.Reader, it, false, false)
	if err != nil {
		return nil, err
	}
	row := &store.VMRow{
		Hash: it.Message.ItemHash, Type: vmVerified, Owner: c.Address, Persistent: true, PaymentType: c.PaymentType(), ContentTime: c.Time,
		Refs: []message.Hash{c.Runtime.Ref, c.Workload.Ref, c.Workload.HashTree},
	}
	for _, v := range c.Verified {
		row.Refs = append(row.Refs, v.Ref, v.HashTree)
	}
	if c.Requirements != nil && c.Requirements.Node != nil {
		row.NodeHash = (*string)(c.Requirements.Node.NodeHash)
	}
	return &change{payment: c.Payment, charge: charge, write: func(w *work) error { return w.tx.InsertVM(row) }}, nil
}

// eraseVM deletes a VM. The files that it used can be forgotten from now on.
func (w *work) eraseVM(h message.Hash) error {
	refs, err := w.tx.VMRefs(h)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		w.wake(message.WaitUnused(ref))
	}
	return w.tx.DeleteVM(h)
}
