package message

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/dlclark/regexp2"
)

// Limits of the shared members of programs and instances (spec/messages.md §5.5).
const (
	maxEntries       = 256
	maxLabel         = 256
	maxEphemeralMiB  = 1000
	maxPersistentMiB = 1953125 // 2048 · 10⁹ bytes, rounded up to MiB
)

// executableMembers are the members that programs, instances and verifiable programs share.
var executableMembers = []string{
	"address", "time", "allow_amend", "metadata", "authorized_keys", "variables", "environment", "resources", "payment",
	"requirements", "volumes", "replaces",
}

// executable reads the shared members but environment and volumes, whose shapes differ.
func (o object) executable() Executable {
	return Executable{
		BaseContent:    o.baseContent(),
		AllowAmend:     o.allowAmend(),
		Metadata:       optionalZero(o, "metadata", readDict(maxEntries)),
		AuthorizedKeys: optionalZero(o, "authorized_keys", readList(maxEntries, readTextMax(8192))),
		Variables:      optionalZero(o, "variables", readVariables),
		Resources:      required(o, "resources", readResources),
		Payment:        optional(o, "payment", readPayment),
		Requirements:   optional(o, "requirements", readRequirements),
		Replaces:       optional(o, "replaces", readTextMax(128)),
	}
}

// allowAmend reads a member that only price estimates may leave out.
func (o object) allowAmend() bool {
	if o.draft {
		return withDefault(o, "allow_amend", false, readBool)
	}
	return required(o, "allow_amend", readBool)
}

func (o object) onlyExecutable(names ...string) {
	o.only(append(names, executableMembers...)...)
}

func readVariables(d *decoder, i int32) map[string]string {
	if readDict(maxEntries)(d, i) == nil {
		return nil
	}
	variables := make(map[string]string, d.nodes[i].count)
	tooLong := readTextMax(128)
	for name, v := range d.members(i) {
		tooLong(d, v-1)
		variables[name] = readTextMax(4096)(d, v)
	}
	return variables
}

func readResources(d *decoder, i int32) (r Resources) {
	o, ok := d.readObject(i)
	if !ok {
		return r
	}
	r.VCPUs = int(withDefault(o, "vcpus", 1, readInt(1, 256)))
	r.MemoryMiB = int(withDefault(o, "memory", 128, readInt(1, 1<<20)))
	r.Seconds = int(withDefault(o, "seconds", 1, readInt(1, 315360000)))
	r.PublishedPorts = optionalZero(o, "published_ports", readList(noLimit, readPort))
	return r
}

func readPort(d *decoder, i int32) (p Port) {
	o, ok := d.readObject(i)
	if !ok {
		return p
	}
	p.Protocol = withDefault(o, "protocol", "tcp", readOneOf("tcp", "udp"))
	p.Port = int(required(o, "port", readInt(1, 65535)))
	return p
}

func readRequirements(d *decoder, i int32) (r Requirements) {
	o, ok := d.readObject(i)
	if !ok {
		return r
	}
	r.CPU = optional(o, "cpu", func(d *decoder, i int32) (c CPURequirements) {
		o, ok := d.readObject(i)
		if !ok {
			return c
		}
		c.Architecture = optional(o, "architecture", readOneOf("x86_64", "arm64"))
		c.Vendor = optional(o, "vendor", readText)
		c.Features = optionalZero(o, "features", readList(noLimit, readText))
		o.only("architecture", "vendor", "features")
		return c
	})
	r.Node = optional(o, "node", func(d *decoder, i int32) (n NodeRequirements) {
		o, ok := d.readObject(i)
		if !ok {
			return n
		}
		n.Owner = optional(o, "owner", readText)
		n.AddressRegex = optional(o, "address_regex", readPattern)
		n.NodeHash = optional(o, "node_hash", readHash)
		n.TermsAndConditions = optional(o, "terms_and_conditions", readHash)
		o.only("owner", "address_regex", "node_hash", "terms_and_conditions")
		return n
	})
	r.GPU = optionalZero(o, "gpu", readList(noLimit, func(d *decoder, i int32) (g GPURequirement) {
		o, ok := d.readObject(i)
		if !ok {
			return g
		}
		g.Vendor = required(o, "vendor", readText)
		g.DeviceName = required(o, "device_name", readText)
		g.DeviceClass = required(o, "device_class", readOneOf("0300", "0302"))
		g.DeviceID = required(o, "device_id", readText)
		o.only("vendor", "device_name", "device_class", "device_id")
		return g
	}))
	o.only("cpu", "node", "gpu")
	return r
}

// readPattern reads a regular expression that must compile in Python. Go's engine knows most of that language; what it
// refuses is given to one that also knows look-around and back-references. It is compiled only, never run.
func readPattern(d *decoder, i int32) string {
	s := readTextMax(256)(d, i)
	if _, err := regexp.Compile(s); err == nil {
		return s
	}
	python := strings.NewReplacer("(?P<", "(?<", `\Z`, `\z`).Replace(s)
	python = namedReference.ReplaceAllString(python, `\k<$1>`)
	if _, err := regexp2.Compile(python, regexp2.None); err != nil {
		d.fail(i, "", "value_error", "Value error, invalid regular expression: "+clip(err.Error(), 200))
	}
	return s
}

var namedReference = regexp.MustCompile(`\(\?P=(\w+)\)`)

func readParent(d *decoder, i int32) (p ParentVolume) {
	o, ok := d.readObject(i)
	if !ok {
		return p
	}
	p.Ref = required(o, "ref", readHash)
	p.UseLatest = withDefault(o, "use_latest", true, readBool)
	return p
}

// readVolume reads a volume as the shape that its members select (spec/messages.md §5.5).
func readVolume(d *decoder, i int32) (v Volume) {
	o, ok := d.readObject(i)
	if !ok {
		return v
	}
	v.Kind = o.volumeKind()
	v.Comment = optional(o, "comment", readTextMax(maxLabel))
	v.Mount = optional(o, "mount", readTextMax(maxLabel))
	switch v.Kind {
	case VolumeImmutable:
		v.Ref = required(o, "ref", readHash)
		v.UseLatest = withDefault(o, "use_latest", true, readBool)
		known := []string{"comment", "mount", "ref", "use_latest"}
		if o.relaxed {
			v.EstimatedSizeMiB = optional(o, "estimated_size_mib", readInt(0, 1<<53))
			known = append(known, "estimated_size_mib")
		}
		o.only(known...)
	case VolumeEphemeral:
		if i := o.find(o.at, "ephemeral"); i >= 0 && !o.isTrue(i) {
			o.fail(i, "", "literal_error", "Input should be True")
		}
		v.SizeMiB = required(o, "size_mib", readStrictInt(1, maxEphemeralMiB))
		o.only("comment", "mount", "ephemeral", "size_mib")
	case VolumePersistent:
		v.Parent = optional(o, "parent", readParent)
		v.Persistence = optional(o, "persistence", readOneOf("host", "store"))
		v.Name = optional(o, "name", readTextMax(maxLabel))
		v.SizeMiB = required(o, "size_mib", readStrictInt(1, maxPersistentMiB))
		o.only("comment", "mount", "parent", "persistence", "name", "size_mib")
	}
	return v
}

func (o object) volumeKind() VolumeKind {
	switch {
	case o.has("ref"):
		return VolumeImmutable
	case o.has("parent"), o.has("persistence"), o.has("name"):
		return VolumePersistent
	case o.has("ephemeral"):
		return VolumeEphemeral
	}
	if i := o.find(o.at, "size_mib"); i >= 0 && o.nodes[i].kind == kindNumber {
		if w, ok := parseWide(o.raw(i)); ok && w.size > maxEphemeralMiB {
			return VolumePersistent
		}
	}
	return VolumeEphemeral
}

// isTrue reports whether node i equals true as a literal does in the reference: true itself, or the number 1.
func (o object) isTrue(i int32) bool {
	return o.nodes[i].kind == kindTrue || o.nodes[i].kind == kindNumber && readBool(&decoder{document: o.document}, i)
}

// readFunctionEnvironment reads the environment of a program, which is a union with that of an instance: an object that
// names a hypervisor or trusted execution and is valid as the environment of an instance is one.
func readFunctionEnvironment(d *decoder, i int32) (e Environment) {
	o, ok := d.readObject(i)
	if !ok {
		return e
	}
	if o.has("hypervisor") || o.has("trusted_execution") {
		complaints := len(d.errs)
		if e = readInstanceEnvironment(d, i); len(d.errs) == complaints {
			return e
		}
		d.errs = d.errs[:complaints]
	}
	return o.switches()
}

// switches reads what both shapes of environments have.
func (o object) switches() Environment {
	return Environment{
		Reproducible: withDefault(o, "reproducible", false, readBool),
		Internet:     withDefault(o, "internet", false, readBool),
		AlephAPI:     withDefault(o, "aleph_api", false, readBool),
		SharedCache:  withDefault(o, "shared_cache", false, readBool),
	}
}

func readInstanceEnvironment(d *decoder, i int32) (e Environment) {
	o, ok := d.readObject(i)
	if !ok {
		return e
	}
	e = o.switches()
	e.instance = true
	e.Hypervisor = optional(o, "hypervisor", readOneOf("qemu", "firecracker"))
	e.TrustedExecution = optional(o, "trusted_execution", readTrustedExecution)
	if tee := o.find(o.at, "trusted_execution"); e.TrustedExecution != nil && o.nodes[tee].count > 0 && !isText(e.Hypervisor, "qemu") {
		o.fail(tee, "", "value_error", "Value error, trusted execution needs the hypervisor 'qemu', stated explicitly")
	}
	return e
}

func isText(s *string, want string) bool { return s != nil && *s == want }

func readTrustedExecution(d *decoder, i int32) (t TrustedExecution) {
	o, ok := d.readObject(i)
	if !ok {
		return t
	}
	complaints := len(d.errs)
	t.Firmware = optional(o, "firmware", readHash)
	t.Policy = withDefault(o, "policy", 1, readUint64)
	t.Mode = optional(o, "mode", readOneOf("sev", "sev_snp"))
	t.Runtime = optionalZero(o, "runtime", readRaw)
	t.Measurements = optionalZero(o, "measurements", readMeasurements)
	t.AttestationPort = optional(o, "attestation_port", readInt(1, 65535))
	o.only("firmware", "policy", "mode", "runtime", "measurements", "attestation_port")
	if len(d.errs) > complaints {
		return t
	}
	switch snp := isText(t.Mode, "sev_snp"); {
	case snp && (t.Runtime == nil || t.Measurements == nil):
		d.fail(i, "", "value_error", "Value error, mode 'sev_snp' needs runtime and measurements")
	case snp && t.Firmware != nil:
		d.fail(i, "", "value_error", "Value error, mode 'sev_snp' takes no firmware")
	case snp && t.Policy&snpReservedOne == 0:
		d.fail(i, "", "value_error", "Value error, bit 17 of an SNP policy must be set")
	case !snp && (t.Runtime != nil || t.Measurements != nil || t.AttestationPort != nil):
		d.fail(i, "", "value_error", "Value error, runtime, measurements and attestation_port need mode 'sev_snp'")
	}
	return t
}

const (
	snpReservedOne   = 1 << 17 // a bit that the SNP specification wants set
	defaultSNPPolicy = 0x30000
)

func readMeasurements(d *decoder, i int32) []Measurement {
	list := readList(16, readMeasurement)(d, i)
	if list != nil && len(list) == 0 {
		d.fail(i, "", "too_short", "List should have at least 1 item after validation, not 0")
	}
	return list
}

func readMeasurement(d *decoder, i int32) (m Measurement) {
	o, ok := d.readObject(i)
	if !ok {
		return m
	}
	complaints := len(d.errs)
	m.Platform = required(o, "platform", readOneOf("sev_snp"))
	m.Digest = required(o, "digest", readHex)
	m.VCPUType = optional(o, "vcpu_type", readTextMax(64))
	o.only("platform", "digest", "vcpu_type")
	if len(d.errs) == complaints && len(m.Digest) != 96 {
		d.fail(i, "", "value_error", "Value error, the digest of 'sev_snp' has 96 hex digits")
	}
	return m
}

func (o object) program() *Program {
	p := &Program{Executable: o.executable()}
	p.Environment = required(o, "environment", readFunctionEnvironment)
	p.Volumes = withDefault(o, "volumes", []Volume{}, readList(maxEntries, readVolume))
	p.ProgramType = required(o, "type", readOneOf("vm-function"))
	p.Code = required(o, "code", readCode)
	p.Runtime = required(o, "runtime", readRuntime)
	p.Data = optional(o, "data", readData)
	p.Export = optional(o, "export", readExport)
	p.On = required(o, "on", readHook)
	o.onlyExecutable("type", "code", "runtime", "data", "export", "on")
	return p
}

// estimatedSize reads the size of a file that is not there yet, in a price estimate.
func (o object) estimatedSize() *int64 {
	if !o.relaxed {
		return nil
	}
	return optional(o, "estimated_size_mib", readInt(0, 1<<53))
}

func readEncoding(d *decoder, i int32) Encoding {
	return readOneOf(EncodingPlain, EncodingZip, EncodingSquashfs)(d, i)
}

// orOurs accepts what read does, and values that only this implementation knows. A refusal names those of the protocol alone.
func orOurs[T ~string](read reader[T], ours ...T) reader[T] {
	return func(d *decoder, i int32) T {
		if d.nodes[i].kind == kindString {
			if s := T(d.str(i)); slices.Contains(ours, s) {
				return s
			}
		}
		return read(d, i)
	}
}

func readCode(d *decoder, i int32) (c Code) {
	o, ok := d.readObject(i)
	if !ok {
		return c
	}
	c.Encoding = required(o, "encoding", orOurs(readEncoding, EncodingTar, EncodingTarGzip))
	c.Entrypoint = required(o, "entrypoint", readText)
	c.Ref = required(o, "ref", readHash)
	c.Interface = optional(o, "interface", orOurs(readOneOf(InterfaceASGI, InterfaceBinary), InterfaceWasm))
	c.Args = optionalZero(o, "args", readList(noLimit, readText))
	c.UseLatest = withDefault(o, "use_latest", false, readBool)
	c.EstimatedSizeMiB = o.estimatedSize()
	return c
}

func readRuntime(d *decoder, i int32) (r Runtime) {
	o, ok := d.readObject(i)
	if !ok {
		return r
	}
	r.Ref = required(o, "ref", readHash)
	r.UseLatest = withDefault(o, "use_latest", true, readBool)
	r.Comment = required(o, "comment", readText)
	r.EstimatedSizeMiB = o.estimatedSize()
	return r
}

func readData(d *decoder, i int32) (data Data) {
	o, ok := d.readObject(i)
	if !ok {
		return data
	}
	data.Encoding = required(o, "encoding", orOurs(readEncoding, EncodingTar, EncodingTarGzip))
	data.Mount = required(o, "mount", readText)
	data.Ref = required(o, "ref", readHash)
	data.UseLatest = new(bool)
	if o.has("use_latest") {
		data.UseLatest = optional(o, "use_latest", readBool)
	}
	data.EstimatedSizeMiB = o.estimatedSize()
	return data
}

func readExport(d *decoder, i int32) (e Export) {
	o, ok := d.readObject(i)
	if !ok {
		return e
	}
	e.Encoding = required(o, "encoding", readEncoding)
	e.Mount = required(o, "mount", readText)
	return e
}

func readHook(d *decoder, i int32) (h ProgramHook) {
	o, ok := d.readObject(i)
	if !ok {
		return h
	}
	h.HTTP = required(o, "http", readBool)
	h.Message = optionalZero(o, "message", readList(noLimit, readSubscription))
	h.Persistent = optional(o, "persistent", readBool)
	o.only("http", "message", "persistent")
	return h
}

func readSubscription(d *decoder, i int32) json.RawMessage {
	if _, ok := d.readObject(i); !ok {
		return nil
	}
	if d.size(i) > 32 {
		d.fail(i, "", "value_error", "Value error, a subscription should have at most 32 members")
	}
	return readRaw(d, i)
}

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

// vprogram reads a verifiable program at the schema revision of spec/messages.md §5.8.
func (o object) vprogram() *VProgram {
	v := &VProgram{Executable: o.executable()}
	payment := required(o, "payment", readPayment)
	v.Payment = &payment
	v.Environment = required(o, "environment", func(d *decoder, i int32) (e Environment) {
		if o, ok := d.readObject(i); ok {
			e.Internet = withDefault(o, "internet", false, readBool)
			o.only("internet")
		}
		return e
	})
	v.Verified = withDefault(o, "volumes", []VerifiedVolume{}, readList(8, readVerifiedVolume))
	v.Runtime = required(o, "runtime", func(d *decoder, i int32) (r VerifiedRuntime) {
		if o, ok := d.readObject(i); ok {
			r.Ref = required(o, "ref", readHash)
			r.Comment = withDefault(o, "comment", "", readTextMax(1024))
			o.only("ref", "comment")
		}
		return r
	})
	v.Workload = required(o, "workload", func(d *decoder, i int32) (f VerifiedFile) {
		if o, ok := d.readObject(i); ok {
			f = o.verifiedFile()
			o.only("ref", "hash_tree", "roothash")
		}
		return f
	})
	v.Verification = required(o, "verification", readVerification)
	o.onlyExecutable("runtime", "workload", "verification")
	if len(o.errs) > 0 {
		return v
	}
	switch {
	case v.Payment.Type != PaymentCredit:
		o.whole("verifiable programs are paid for by 'credit' only")
	case len(v.Variables) > 0:
		o.whole("verifiable programs take no variables: they would escape verification")
	case len(v.AuthorizedKeys) > 0:
		o.whole("verifiable programs take no authorized_keys: they would escape verification")
	}
	return v
}

func (o object) verifiedFile() VerifiedFile {
	return VerifiedFile{
		Ref:      required(o, "ref", readHash),
		HashTree: required(o, "hash_tree", readHash),
		RootHash: required(o, "roothash", readRootHash),
	}
}

func readRootHash(d *decoder, i int32) string {
	s := readHex(d, i)
	if s != "" && len(s) != 64 {
		d.fail(i, "", "string_pattern_mismatch", "String should be 64 lower-case hex digits")
	}
	return s
}

func readVerifiedVolume(d *decoder, i int32) (v VerifiedVolume) {
	o, ok := d.readObject(i)
	if !ok {
		return v
	}
	v.VerifiedFile = o.verifiedFile()
	v.Comment = withDefault(o, "comment", "", readTextMax(1024))
	o.only("ref", "hash_tree", "roothash", "comment")
	return v
}

func readVerification(d *decoder, i int32) (v Verification) {
	o, ok := d.readObject(i)
	if !ok {
		return v
	}
	complaints := len(d.errs)
	v.Backend = required(o, "backend", readOneOf("sev_snp"))
	v.Policy = withDefault(o, "policy", defaultSNPPolicy, readUint64)
	v.Measurements = required(o, "measurements", readMeasurements)
	o.only("backend", "policy", "measurements")
	if len(d.errs) == complaints && v.Policy&snpReservedOne == 0 {
		d.fail(i, "", "value_error", "Value error, bit 17 of an SNP policy must be set")
	}
	return v
}
