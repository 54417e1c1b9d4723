package message

import "encoding/json"

// Content is the typed content of a message: one of *Post, *Aggregate, *Store, *Forget, *Program, *Instance, *VProgram.
// The typed form holds normalised values; nodes store and serve the JSON as it was received (spec/messages.md §5.0).
type Content interface {
	Base() *BaseContent
	Type() Type
}

// BaseContent is what every content has.
type BaseContent struct {
	Address string  `json:"address"` // owner: the address on whose behalf the message acts
	Time    float64 `json:"time"`    // Unix seconds, 0 … 9223372036; orders derived state
}

func (b *BaseContent) Base() *BaseContent { return b }

// Post is a document, or an amendment of one.
type Post struct {
	BaseContent
	PostType string          `json:"type"`
	Content  json.RawMessage `json:"content"` // any JSON; nil when absent
	Ref      string          `json:"ref"`     // free text, or the hash of what is amended; "" when absent
	// RefObject is the reference when it was sent as an object, normalised; Ref is then its item_hash.
	RefObject json.RawMessage `json:"-"`
}

// PostTypeAmend is the type of a post that replaces the content of another one.
const PostTypeAmend = "amend"

// Aggregate is one revision of a key of its owner's key-value document.
type Aggregate struct {
	BaseContent
	Key     string          `json:"key"`
	Content json.RawMessage `json:"content"` // a JSON object; its top-level members replace older ones
	// KeyObject is set when the key was sent in its legacy object form {"name": …}; Key is then name='…', as on the
	// reference node, and never equals the key of the same name sent as a string.
	KeyObject bool `json:"-"`
	keyName   string
}

// Store pins a file.
type Store struct {
	BaseContent
	FileType    ItemType        `json:"item_type"`
	FileHash    Hash            `json:"item_hash"`
	Ref         string          `json:"ref"` // hash of an earlier STORE message, or a tag scoped to the owner; "" when absent
	Metadata    json.RawMessage `json:"metadata"`
	Payment     *Payment        `json:"payment"`
	Size        *int64          `json:"size"` // bytes
	ContentType *string         `json:"content_type"`
	// EstimatedSizeMiB is only read when estimating the price of a file that is not there yet.
	EstimatedSizeMiB *float64 `json:"estimated_size_mib"`
}

// Tag returns the name under which the newest version of the file is found (spec/ccn-core.md §3.3).
func (s *Store) Tag(messageHash Hash) string {
	switch {
	case s.Ref == "":
		return string(messageHash)
	case Hash(s.Ref).Kind() != "":
		return s.Ref
	default:
		return s.Address + "/" + s.Ref
	}
}

// Forget asks for messages, or all elements of aggregates, to be forgotten.
type Forget struct {
	BaseContent
	Hashes     []Hash  `json:"hashes"`
	Aggregates []Hash  `json:"aggregates"`
	Reason     *string `json:"reason"`
}

// PaymentType is how a resource is paid for.
type PaymentType string

const (
	PaymentHold       PaymentType = "hold"       // by holding tokens
	PaymentSuperfluid PaymentType = "superfluid" // by a stream of tokens
	PaymentCredit     PaymentType = "credit"     // by credits bought beforehand
)

// Payment says how and to whom a resource is paid.
type Payment struct {
	Chain    *string     `json:"chain"`
	Receiver *string     `json:"receiver"`
	Type     PaymentType `json:"type"`
}

// Executable is what programs and instances share.
type Executable struct {
	BaseContent
	AllowAmend     bool              `json:"allow_amend"`
	Metadata       json.RawMessage   `json:"metadata"`
	AuthorizedKeys []string          `json:"authorized_keys"` // SSH public keys; nil when absent
	Variables      map[string]string `json:"variables"`       // environment of the program; nil when absent
	Environment    Environment       `json:"environment"`
	Resources      Resources         `json:"resources"`
	Payment        *Payment          `json:"payment"`
	Requirements   *Requirements     `json:"requirements"`
	Volumes        []Volume          `json:"volumes"`
	Replaces       *string           `json:"replaces"` // hash of the program that this one amends
}

// PaymentType returns how the resource is paid for; holding is the default.
func (e *Executable) PaymentType() PaymentType {
	if e.Payment == nil {
		return PaymentHold
	}
	return e.Payment.Type
}

// Environment is where the workload runs.
type Environment struct {
	Reproducible     bool              `json:"reproducible"`
	Internet         bool              `json:"internet"`
	AlephAPI         bool              `json:"aleph_api"`
	SharedCache      bool              `json:"shared_cache"`
	Hypervisor       *string           `json:"hypervisor,omitempty"`        // "qemu" or "firecracker"; instances only
	TrustedExecution *TrustedExecution `json:"trusted_execution,omitempty"` // instances only
	// instance is set when it was read in the shape that has the two members above, also by a program (spec/messages.md §5.6).
	instance bool
}

// TrustedExecution asks for a confidential machine. The members after Policy belong to SEV-SNP (spec/messages.md §5.8).
type TrustedExecution struct {
	Firmware        *Hash           `json:"firmware"`
	Policy          uint64          `json:"policy"`           // SEV or SNP policy bits; 1 when absent
	Mode            *string         `json:"mode"`             // "sev" or "sev_snp"; nil means SEV
	Runtime         json.RawMessage `json:"runtime"`          // what the machine boots
	Measurements    []Measurement   `json:"measurements"`     // launch digests that are acceptable
	AttestationPort *int64          `json:"attestation_port"` // 1 … 65535
}

// Measurement is a launch digest that a confidential machine may have.
type Measurement struct {
	Platform string  `json:"platform"`  // always "sev_snp"
	Digest   string  `json:"digest"`    // 96 hex digits
	VCPUType *string `json:"vcpu_type"` // CPU model that the digest was computed for
}

// Resources is what the workload is given.
type Resources struct {
	VCPUs          int    `json:"vcpus"`   // 1 … 256
	MemoryMiB      int    `json:"memory"`  // 1 … 1048576
	Seconds        int    `json:"seconds"` // longest answer of a program, 1 … 315360000
	PublishedPorts []Port `json:"published_ports"`
}

// Port is a port of the guest that is to be reachable from outside.
type Port struct {
	Protocol string `json:"protocol"` // "tcp" or "udp"
	Port     int    `json:"port"`     // 1 … 65535
}

// Requirements restricts where the workload may run.
type Requirements struct {
	CPU  *CPURequirements  `json:"cpu"`
	Node *NodeRequirements `json:"node"`
	GPU  []GPURequirement  `json:"gpu"`
}

// CPURequirements restricts the processor.
type CPURequirements struct {
	Architecture *string  `json:"architecture"` // "x86_64" or "arm64"
	Vendor       *string  `json:"vendor"`
	Features     []string `json:"features"`
}

// NodeRequirements restricts the node.
type NodeRequirements struct {
	Owner              *string `json:"owner"`
	AddressRegex       *string `json:"address_regex"`
	NodeHash           *Hash   `json:"node_hash"`
	TermsAndConditions *Hash   `json:"terms_and_conditions"`
}

// GPURequirement names one device that the workload needs.
type GPURequirement struct {
	Vendor      string `json:"vendor"`
	DeviceName  string `json:"device_name"`
	DeviceClass string `json:"device_class"`
	DeviceID    string `json:"device_id"`
}

// VolumeKind tells the three shapes of volumes apart.
type VolumeKind string

const (
	VolumeImmutable  VolumeKind = "immutable"
	VolumeEphemeral  VolumeKind = "ephemeral"
	VolumePersistent VolumeKind = "persistent"
)

// Volume is a disk of a workload. Which fields are set depends on Kind.
type Volume struct {
	Kind        VolumeKind
	Comment     *string
	Mount       *string
	Ref         Hash // immutable: STORE message of the file
	UseLatest   bool // immutable: follow later versions of Ref
	Parent      *ParentVolume
	Persistence *string // persistent: "host" or "store"
	Name        *string // persistent
	SizeMiB     int64   // ephemeral and persistent
	// EstimatedSizeMiB is only read when estimating the price of a file that is not there yet.
	EstimatedSizeMiB *int64
}

// ParentVolume is the image that a writable volume starts from.
type ParentVolume struct {
	Ref       Hash `json:"ref"`
	UseLatest bool `json:"use_latest"`
}

// Encoding is the form of a code or data archive.
type Encoding string

const (
	EncodingPlain    Encoding = "plain"
	EncodingZip      Encoding = "zip"
	EncodingSquashfs Encoding = "squashfs"

	// These are known to this implementation alone (docs/decisions/0020-forms-of-programs-that-are-ours.md).
	EncodingTar     Encoding = "tar"
	EncodingTarGzip Encoding = "tar.gz"
)

func (e Encoding) isOurs() bool { return e == EncodingTar || e == EncodingTarGzip }

// Interface is how a program takes requests.
type Interface string

const (
	InterfaceASGI   Interface = "asgi"
	InterfaceBinary Interface = "binary"

	// InterfaceWasm is known to this implementation alone (docs/decisions/0020-forms-of-programs-that-are-ours.md).
	InterfaceWasm Interface = "wasm"
)

// Program is a function, or a persistent program, with its code and runtime.
type Program struct {
	Executable
	ProgramType string      `json:"type"` // always "vm-function"
	Code        Code        `json:"code"`
	Runtime     Runtime     `json:"runtime"`
	Data        *Data       `json:"data"`
	Export      *Export     `json:"export"`
	On          ProgramHook `json:"on"`
}

// Persistent reports whether the program runs all the time instead of when it is called.
func (p *Program) Persistent() bool { return p.On.Persistent != nil && *p.On.Persistent }

// Extended reports whether the program is written in a form that only this implementation knows. Other nodes refuse its message.
func (p *Program) Extended() bool {
	return p.Code.Interface != nil && *p.Code.Interface == InterfaceWasm || p.Code.Encoding.isOurs() || p.Data != nil && p.Data.Encoding.isOurs()
}

// Code is the user's archive.
type Code struct {
	Encoding         Encoding   `json:"encoding"`
	Entrypoint       string     `json:"entrypoint"`
	Ref              Hash       `json:"ref"` // STORE message of the archive
	Interface        *Interface `json:"interface"`
	Args             []string   `json:"args"`
	UseLatest        bool       `json:"use_latest"`
	EstimatedSizeMiB *int64     `json:"-"`
}

// EffectiveInterface returns the interface, inferred from the entrypoint when absent (spec/crn.md §3.2).
func (c *Code) EffectiveInterface() Interface {
	if c.Interface != nil {
		return *c.Interface
	}
	for i := range len(c.Entrypoint) {
		if c.Entrypoint[i] == ':' {
			return InterfaceASGI
		}
	}
	return InterfaceBinary
}

// Runtime is the root filesystem that a program runs on.
type Runtime struct {
	Ref              Hash   `json:"ref"` // STORE message of the image
	UseLatest        bool   `json:"use_latest"`
	Comment          string `json:"comment"`
	EstimatedSizeMiB *int64 `json:"-"`
}

// Data is an archive that is unpacked beside the code.
type Data struct {
	Encoding         Encoding `json:"encoding"`
	Mount            string   `json:"mount"`
	Ref              Hash     `json:"ref"`
	UseLatest        *bool    `json:"use_latest"`
	EstimatedSizeMiB *int64   `json:"-"`
}

// Export is a folder whose content a run gives back.
type Export struct {
	Encoding Encoding `json:"encoding"`
	Mount    string   `json:"mount"`
}

// ProgramHook says what starts the program.
type ProgramHook struct {
	HTTP       bool              `json:"http"`
	Message    []json.RawMessage `json:"message"`
	Persistent *bool             `json:"persistent"`
}

// Instance is a virtual machine that lives until it is forgotten.
type Instance struct {
	Executable
	Rootfs Rootfs `json:"rootfs"`
}

// Rootfs is the disk that an instance boots from.
type Rootfs struct {
	Parent      ParentVolume `json:"parent"`
	Persistence string       `json:"persistence"`
	SizeMiB     int64        `json:"size_mib"`
	ForgottenBy []string     `json:"forgotten_by"`
}

// VProgram is a program whose execution can be verified: it runs in a confidential machine and pins exact files.
// Of its environment only Internet exists.
type VProgram struct {
	Executable
	Runtime      VerifiedRuntime  `json:"runtime"`
	Workload     VerifiedFile     `json:"workload"`
	Verification Verification     `json:"verification"`
	Verified     []VerifiedVolume `json:"volumes"` // takes the place of Executable.Volumes
}

// Verification says what a verifiable program must prove before it is trusted.
type Verification struct {
	Backend      string        `json:"backend"` // always "sev_snp"
	Policy       uint64        `json:"policy"`  // SNP guest policy; bit 17 is always set
	Measurements []Measurement `json:"measurements"`
}

// VerifiedRuntime is the image that a verifiable program boots.
type VerifiedRuntime struct {
	Ref     Hash   `json:"ref"`
	Comment string `json:"comment"`
}

// VerifiedFile is a file with the Merkle tree that proves its blocks.
type VerifiedFile struct {
	Ref      Hash   `json:"ref"`
	HashTree Hash   `json:"hash_tree"`
	RootHash string `json:"roothash"`
}

// VerifiedVolume is a [VerifiedFile] that is attached as a volume; their order counts.
type VerifiedVolume struct {
	VerifiedFile
	Comment string `json:"comment"`
}

func (*Post) Type() Type      { return TypePost }
func (*Aggregate) Type() Type { return TypeAggregate }
func (*Store) Type() Type     { return TypeStore }
func (*Forget) Type() Type    { return TypeForget }
func (*Program) Type() Type   { return TypeProgram }
func (*Instance) Type() Type  { return TypeInstance }
func (*VProgram) Type() Type  { return TypeVProgram }

// PaymentOf returns how a content says that it is paid for; nil when it does not say.
func PaymentOf(content Content) *Payment {
	switch c := content.(type) {
	case *Store:
		return c.Payment
	case *Program:
		return c.Payment
	case *Instance:
		return c.Payment
	case *VProgram:
		return c.Payment
	}
	return nil
}
