package message

import (
	"regexp"
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
