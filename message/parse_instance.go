package message

func (o object) instance() *Instance {
	inst := &Instance{Executable: o.executable()}
	inst.Environment = required(o, "environment", readInstanceEnvironment)
	inst.Volumes = withDefault(o, "volumes", []Volume{}, readList(maxEntries, readVolume))
	inst.Rootfs = required(o, "rootfs", readRootfs)
	o.onlyExecutable("rootfs")
	if len(o.errs) == 0 {
		if reason := inst.contradiction(); reason != "" {
			o.whole("%s", reason)
		}
	}
	return inst
}

func readRootfs(d *decoder, i int32) (r Rootfs) {
	o, ok := d.readObject(i)
	if !ok {
		return r
	}
	r.Parent = required(o, "parent", readParent)
	r.Persistence = required(o, "persistence", readOneOf("host", "store"))
	r.SizeMiB = required(o, "size_mib", readStrictInt(1, maxPersistentMiB))
	r.ForgottenBy = optionalZero(o, "forgotten_by", readList(noLimit, readText))
	return r
}

// contradiction names a rule between members that an instance breaks, or "". As on the reference node the rules hold only
// when requirements is there, be it empty (spec/messages.md §5.7).
func (inst *Instance) contradiction() string {
	r := inst.Requirements
	if r == nil {
		return ""
	}
	hasNode := r.Node != nil && r.Node.NodeHash != nil
	paidToNode := inst.PaymentType() != PaymentHold
	switch {
	case paidToNode && !hasNode:
		return "requirements.node.node_hash is required for payments by superfluid or credit"
	case len(r.GPU) > 0 && !hasNode:
		return "requirements.node.node_hash is required for GPUs"
	case len(r.GPU) > 0 && !isText(inst.Environment.Hypervisor, "qemu"):
		return "GPUs need the hypervisor 'qemu'"
	case r.Node == nil || r.Node.TermsAndConditions == nil:
		return ""
	case !hasNode:
		return "requirements.node.node_hash is required with terms_and_conditions"
	case !paidToNode && inst.Environment.TrustedExecution == nil:
		return "terms_and_conditions are only for payments by superfluid or credit and for confidential instances"
	}
	return ""
}
