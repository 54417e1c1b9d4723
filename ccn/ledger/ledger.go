// Package ledger computes what resources cost, to the last digit that other nodes compute. It knows prices and formulas
// (spec/ccn-core.md §5.2–5.5) and no accounts: package state asks it before it accepts a message, package api when a user
// wants an estimate.
package ledger

import (
	"fmt"

	"github.com/cockroachdb/apd/v3"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// FileSizer knows the sizes of files, in bytes: a *store.Reader.
type FileSizer interface {
	FileSize(h message.Hash) (size int64, ok bool, err error)
	// ReferencedFile returns the newest file under the tag ref, or the file of exactly the STORE message ref.
	ReferencedFile(ref message.Hash, latest bool) (file message.Hash, size int64, ok bool, err error)
}

// Line types of a cost.
const (
	LineExecution  = "EXECUTION"
	LineRootfs     = "EXECUTION_INSTANCE_VOLUME_ROOTFS"
	LineCode       = "EXECUTION_PROGRAM_VOLUME_CODE"
	LineRuntime    = "EXECUTION_PROGRAM_VOLUME_RUNTIME"
	LineData       = "EXECUTION_PROGRAM_VOLUME_DATA"
	LineImmutable  = "EXECUTION_VOLUME_INMUTABLE" // the network's spelling
	LinePersistent = "EXECUTION_VOLUME_PERSISTENT"
	LineDiscount   = "EXECUTION_VOLUME_DISCOUNT"
	LineStorage    = "STORAGE"
)

// Line is one component of a cost.
type Line struct {
	Type, Name string
	Ref        message.Hash // what the component is; "" when it has no message
	Hold       *apd.Decimal // ALEPH to hold
	Stream     *apd.Decimal // ALEPH per second
	Credit     *apd.Decimal // credits per second
	SizeMiB    *float64     // of volumes and files
}

// Costs is what a message costs in all three ways to pay. A message that costs nothing has no lines.
type Costs struct {
	PaymentType message.PaymentType
	Lines       []Line
}

// Total returns the cost in the currency of the payment type, with 18 places.
func (c *Costs) Total() (*apd.Decimal, error) {
	var calc calculator
	total := new(apd.Decimal)
	for _, line := range c.Lines {
		switch c.PaymentType {
		case message.PaymentCredit:
			total = calc.add(total, line.Credit)
		case message.PaymentSuperfluid:
			total = calc.add(total, line.Stream)
		default:
			total = calc.add(total, line.Hold)
		}
	}
	total = calc.floor(total)
	if calc.err != nil {
		return nil, fmt.Errorf("sum costs: %w", calc.err)
	}
	return total, nil
}

// PaymentType returns how content is paid for; holding unless it says otherwise.
func PaymentType(content message.Content) message.PaymentType {
	p := message.PaymentOf(content)
	if p == nil {
		return message.PaymentHold
	}
	return p.Type
}

// minCreditStorage is the size as which smaller files count when they are paid for with credits.
const minCreditStorage = 25

// Cost computes what the message h with this content costs. Files that are unknown cost nothing yet.
func Cost(sizes FileSizer, t *Table, h message.Hash, content message.Content) (*Costs, error) {
	b := &bill{sizes: sizes, table: t, costs: &Costs{PaymentType: PaymentType(content)}}
	b.credit = b.costs.PaymentType == message.PaymentCredit
	b.minimum = b.calc.floor(b.calc.perSecond(apd.New(1, 0)))
	var err error
	switch c := content.(type) {
	case *message.Store:
		err = b.file(h, c)
	case *message.Program:
		err = b.program(c)
	case *message.Instance:
		err = b.instance(c)
	case *message.VProgram:
		err = b.machine(params.ProductInstanceConfidential, &c.Executable, 1, nil)
	}
	if err == nil {
		err = b.calc.err
	}
	if err != nil {
		return nil, fmt.Errorf("cost of %s: %w", h, err)
	}
	return b.costs, nil
}

// bill is a cost being computed.
type bill struct {
	sizes   FileSizer
	table   *Table
	calc    calculator
	costs   *Costs
	credit  bool         // paid for with credits
	minimum *apd.Decimal // credits per second that a component costs at least when paid for with credits
}

func (b *bill) file(h message.Hash, c *message.Store) error {
	p, err := b.table.product(params.ProductStorage)
	if err != nil {
		return err
	}
	var mib float64
	var size *apd.Decimal
	if c.EstimatedSizeMiB != nil && *c.EstimatedSizeMiB > 0 {
		mib, size = *c.EstimatedSizeMiB, exact(*c.EstimatedSizeMiB)
	} else {
		bytes, ok, err := b.sizes.FileSize(c.FileHash)
		if err != nil {
			return err
		}
		if !ok || bytes == 0 {
			return nil
		}
		mib, size = mebibytes(bytes)
	}
	if b.credit {
		size = larger(size, apd.New(minCreditStorage, 0))
	}
	line := b.volume(LineStorage, LineStorage, h, mib, size, p)
	b.costs.Lines = append(b.costs.Lines, line)
	return nil
}

func (b *bill) program(c *message.Program) error {
	name, multiplier := params.ProductProgram, int64(1)
	if c.Persistent() {
		name = params.ProductProgramPersistent
	} else if c.Environment.Internet {
		multiplier = 2
	}
	volumes := []volume{
		{typ: LineCode, name: LineCode, ref: c.Code.Ref, latest: c.Code.UseLatest, estimate: c.Code.EstimatedSizeMiB},
		{typ: LineRuntime, name: LineRuntime, ref: c.Runtime.Ref, latest: c.Runtime.UseLatest, estimate: c.Runtime.EstimatedSizeMiB},
	}
	if d := c.Data; d != nil {
		latest := d.UseLatest != nil && *d.UseLatest
		volumes = append(volumes, volume{typ: LineData, name: LineData, ref: d.Ref, latest: latest, estimate: d.EstimatedSizeMiB})
	}
	return b.machine(name, &c.Executable, multiplier, append(volumes, attached(c.Volumes)...))
}

func (b *bill) instance(c *message.Instance) error {
	rootfs := volume{typ: LineRootfs, name: LineRootfs, ref: c.Rootfs.Parent.Ref, declared: &c.Rootfs.SizeMiB}
	volumes := append([]volume{rootfs}, attached(c.Volumes)...)
	switch {
	case c.Environment.TrustedExecution != nil:
		return b.machine(params.ProductInstanceConfidential, &c.Executable, 1, volumes)
	case c.Requirements != nil && len(c.Requirements.GPU) > 0:
		return b.gpuMachine(c, volumes)
	}
	return b.machine(params.ProductInstance, &c.Executable, 1, volumes)
}

func (b *bill) machine(name params.Product, e *message.Executable, multiplier int64, volumes []volume) error {
	p, err := b.table.product(name)
	if err != nil {
		return err
	}
	units := computeUnits(p, e.Resources)
	line := b.execution(p, units, multiplier)
	if b.credit {
		line.Credit = larger(line.Credit, b.minimum)
	}
	b.costs.Lines = append(b.costs.Lines, line)
	return b.disks(p, units, volumes)
}

// gpuMachine charges the compute units that the devices stand for, by class, and those that the resources need beyond.
func (b *bill) gpuMachine(c *message.Instance, volumes []volume) error {
	premium, err := b.table.product(params.ProductGPUPremium)
	if err != nil {
		return err
	}
	standard, err := b.table.product(params.ProductGPUStandard)
	if err != nil {
		return err
	}
	var premiumUnits, standardUnits int64
	for _, gpu := range c.Requirements.GPU {
		model, err := b.table.model(gpu.DeviceID)
		if err != nil {
			return err
		}
		if n := premium.gpuUnits(model); n > 0 {
			premiumUnits += n
		} else if n := standard.gpuUnits(model); n > 0 {
			standardUnits += n
		} else {
			return fmt.Errorf("GPU model %q has no price", model)
		}
	}
	dominant, units := standard, &standardUnits
	if premiumUnits > 0 {
		dominant, units = premium, &premiumUnits
	}
	if beyond := computeUnits(dominant, c.Resources) - premiumUnits - standardUnits; beyond > 0 {
		*units += beyond
	}
	if premiumUnits > 0 {
		b.costs.Lines = append(b.costs.Lines, b.execution(premium, premiumUnits, 1))
	}
	if standardUnits > 0 {
		b.costs.Lines = append(b.costs.Lines, b.execution(standard, standardUnits, 1))
	}
	return b.disks(premium, premiumUnits+standardUnits, volumes)
}

func computeUnits(p *product, r message.Resources) int64 {
	memory := (int64(r.MemoryMiB) + p.shape.MemoryMiB - 1) / p.shape.MemoryMiB
	return max(int64(r.VCPUs), memory)
}

func (b *bill) execution(p *product, units, multiplier int64) Line {
	n := apd.New(units*multiplier, 0)
	return Line{
		Type: LineExecution, Name: string(p.name),
		Hold:   b.calc.floor(b.calc.mul(n, p.unit.hold)),
		Stream: b.calc.floor(b.calc.mul(n, p.unit.stream)),
		Credit: b.calc.floor(b.calc.mul(n, p.unit.credit)),
	}
}

// volume is a disk with its size declared, or the size of the file it refers to.
type volume struct {
	typ, name string
	ref       message.Hash
	latest    bool
	declared  *int64 // MiB
	estimate  *int64 // MiB, instead of a file that is not there yet
}

// attached lists the extra volumes of a workload.
func attached(list []message.Volume) []volume {
	volumes := make([]volume, len(list))
	for i, v := range list {
		d := volume{typ: LinePersistent, declared: &v.SizeMiB}
		if v.Kind == message.VolumeImmutable {
			d = volume{typ: LineImmutable, ref: v.Ref, latest: v.UseLatest, estimate: v.EstimatedSizeMiB}
		}
		d.name = fmt.Sprintf("#%d:%s", i, d.typ)
		if v.Mount != nil && *v.Mount != "" {
			d.name = fmt.Sprintf("#%d:%s", i, *v.Mount)
		}
		volumes[i] = d
	}
	return volumes
}

// disks charges the volumes and takes back what the compute units include.
func (b *bill) disks(p *product, units int64, volumes []volume) error {
	hold, stream, credit := new(apd.Decimal), new(apd.Decimal), new(apd.Decimal)
	for _, v := range volumes {
		mib, size, ok, err := b.size(v)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		line := b.volume(v.typ, v.name, v.ref, mib, size, p)
		hold, stream, credit = b.calc.add(hold, line.Hold), b.calc.add(stream, line.Stream), b.calc.add(credit, line.Credit)
		b.costs.Lines = append(b.costs.Lines, line)
	}
	included := new(apd.Decimal)
	if p.shaped {
		included = apd.New(p.shape.DiskMiB*units, 0)
	}
	discount := func(sum, price *apd.Decimal) *apd.Decimal {
		return b.calc.floor(negative(smaller(sum, b.calc.mul(included, price))))
	}
	b.costs.Lines = append(b.costs.Lines, Line{
		Type: LineDiscount, Name: LineDiscount,
		Hold:   discount(hold, p.storage.hold),
		Stream: discount(stream, p.storage.stream),
		Credit: discount(credit, p.storage.credit),
	})
	return nil
}

func negative(d *apd.Decimal) *apd.Decimal {
	n := new(apd.Decimal).Neg(d)
	if n.IsZero() {
		n.Negative = false
	}
	return n
}

func (b *bill) size(v volume) (float64, *apd.Decimal, bool, error) {
	if v.declared != nil {
		return float64(*v.declared), apd.New(*v.declared, 0), true, nil
	}
	if v.estimate != nil && *v.estimate > 0 {
		return float64(*v.estimate), apd.New(*v.estimate, 0), true, nil
	}
	_, bytes, ok, err := b.sizes.ReferencedFile(v.ref, v.latest)
	if err != nil || !ok {
		return 0, nil, false, err
	}
	mib, size := mebibytes(bytes)
	return mib, size, true, nil
}

func (b *bill) volume(typ, name string, ref message.Hash, mib float64, size *apd.Decimal, p *product) Line {
	line := Line{
		Type: typ, Name: name, Ref: ref, SizeMiB: &mib,
		Hold:   b.calc.floor(b.calc.mul(size, p.storage.hold)),
		Stream: b.calc.floor(b.calc.mul(size, p.storage.stream)),
		Credit: b.calc.floor(b.calc.mul(size, p.storage.credit)),
	}
	if b.credit {
		line.Credit = larger(line.Credit, b.minimum)
	}
	return line
}
