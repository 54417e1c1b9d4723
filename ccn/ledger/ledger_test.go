package ledger

import (
	"testing"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/params"
)

// sizes are files in bytes by the reference or hash that names them.
type sizes map[message.Hash]int64

func (s sizes) FileSize(h message.Hash) (int64, bool, error) {
	n, ok := s[h]
	return n, ok, nil
}

func (s sizes) ReferencedFile(ref message.Hash, _ bool) (message.Hash, int64, bool, error) {
	n, ok := s[ref]
	return ref, n, ok, nil
}

const mib = 1 << 20

func table(t testing.TB) *Table {
	t.Helper()
	prices, err := NewTable(params.Mainnet(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return prices
}

func executable(units int, payment message.PaymentType, volumesMiB ...int64) message.Executable {
	e := message.Executable{Resources: message.Resources{VCPUs: units, MemoryMiB: units * 2048}}
	if payment != "" {
		e.Payment = &message.Payment{Type: payment}
	}
	for _, size := range volumesMiB {
		e.Volumes = append(e.Volumes, message.Volume{Kind: message.VolumePersistent, SizeMiB: size})
	}
	return e
}

func instance(e message.Executable) *message.Instance {
	return &message.Instance{Executable: e, Rootfs: message.Rootfs{SizeMiB: 20480}}
}

func gpus(vcpus, memory int, devices ...string) *message.Instance {
	e := message.Executable{Resources: message.Resources{VCPUs: vcpus, MemoryMiB: memory}, Requirements: &message.Requirements{}}
	for _, d := range devices {
		e.Requirements.GPU = append(e.Requirements.GPU, message.GPURequirement{DeviceID: d})
	}
	return instance(e)
}

func stored(payment message.PaymentType) *message.Store {
	return &message.Store{FileHash: "file", Payment: &message.Payment{Type: payment}}
}

// totals returns what content costs in each of the three ways, as if it were paid for in it without the minimum of credits.
func totals(t testing.TB, files sizes, content message.Content) (hold, stream, credit string) {
	t.Helper()
	costs, err := Cost(files, table(t), "hash", content)
	if err != nil {
		t.Fatal(err)
	}
	of := func(p message.PaymentType) string {
		total, err := (&Costs{PaymentType: p, Lines: costs.Lines}).Total()
		if err != nil {
			t.Fatal(err)
		}
		return Text(total)
	}
	return of(message.PaymentHold), of(message.PaymentSuperfluid), of(message.PaymentCredit)
}

func TestCostsMatchTheNetworkToTheLastDigit(t *testing.T) {
	confidential := instance(executable(1, ""))
	confidential.Environment.TrustedExecution = &message.TrustedExecution{}
	withFile := executable(1, "", 5, 10, 10, 10)
	withFile.Volumes = append([]message.Volume{{Kind: message.VolumeImmutable, Ref: "file"}}, withFile.Volumes...)

	onDemand := &message.Program{Executable: executable(1, "", 1024)}
	onDemand.Environment.Internet = true
	onDemand.Code.Ref, onDemand.Runtime.Ref, onDemand.Data = "code", "runtime", &message.Data{Ref: "data"}
	onDemand.Volumes = append([]message.Volume{{Kind: message.VolumeImmutable, Ref: "volume"}}, onDemand.Volumes...)

	always := true
	persistent := &message.Program{Executable: executable(1, message.PaymentCredit), On: message.ProgramHook{Persistent: &always}}
	persistent.Environment.Internet = true
	persistent.Code.Ref, persistent.Runtime.Ref = "file", "file"

	verified := &message.VProgram{Executable: executable(2, message.PaymentCredit), Verified: make([]message.VerifiedVolume, 2)}
	mibFile := sizes{"file": mib}

	for _, test := range []struct {
		name                 string
		files                sizes
		content              message.Content
		hold, stream, credit string // "" when the network's figure is not known
	}{
		{"instance", nil, instance(executable(1, "")), "1000", "0.000015277777777777", "3.958333333333333333"},
		{"instance with 350 MiB", nil, instance(executable(1, "", 50, 100, 100, 100)), "1017.5", "0.000015372763888884", "3.975801725446442045"},
		{"instance with large volumes", nil, instance(executable(1, "", 50, 1024, 10240, 51200)), "4125.7", "0.000032243382777775", "7.078387803501556985"},
		{"instance with a file", mibFile, instance(withFile), "1001.8", "0.000015287547777772", "3.960130082236395939"},
		{"four units for credits", nil, instance(executable(4, message.PaymentCredit, 102400)), "6048", "0.000072227199999999", "17.877634307484570509"},
		{"confidential instance", nil, confidential, "2000", "0.000030555555555555", "7.916666666666666666"},
		{"verifiable program", nil, verified, "4000", "0.000061111111111111", "15.833333333333333333"},
		{
			"program on demand with internet", sizes{"code": 2048 * mib, "runtime": 1024 * mib, "data": 2048 * mib, "volume": 512 * mib},
			onDemand, "630.4", "0.000007361671111109", "7.361671111111111109",
		},
		{"persistent program for credits", mibFile, persistent, "1000", "0.000015277777777777", "15.277777777777777777"},
		{"file of 30 MiB", sizes{"file": 30 * mib}, stored(message.PaymentHold), "9.99999999", "0", "0.001497290752552175"},
		{"file of one byte", sizes{"file": 1}, stored(message.PaymentHold), "0.000000317891438484", "0", ""},
		{"file of one byte for credits counts as 25 MiB", sizes{"file": 1}, stored(message.PaymentCredit), "8.333333325", "0", "0.001247742293793479"},
		{"file of odd size", sizes{"file": 123456789}, stored(message.PaymentHold), "39.245856245849358558", "0", "0.005876245769166474"},
		{"file that is not there", nil, stored(message.PaymentHold), "0", "0", "0"},
		{"resources beyond the GPU", nil, gpus(8, 16384, "10de:2684"), "2240", "", ""},
		{"two premium GPUs", nil, gpus(16, 32768, "10de:20b5", "10de:20b5"), "17920", "", ""},
		{"two standard GPUs", nil, gpus(1, 2048, "10de:2684", "10de:26b9"), "5040", "", ""},
		{"premium and standard GPU", nil, gpus(1, 2048, "10de:2684", "10de:20b5"), "10640", "", ""},
		{"post", nil, &message.Post{}, "0", "0", "0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			hold, stream, credit := totals(t, test.files, test.content)
			for _, c := range []struct{ what, got, want string }{
				{"hold", hold, test.hold}, {"stream", stream, test.stream}, {"credit", credit, test.credit},
			} {
				if c.want == "" {
					continue
				}
				want, err := Sum(c.want)
				if err != nil {
					t.Fatal(err)
				}
				if c.got != Text(want) {
					t.Errorf("%s: got %s, want %s", c.what, c.got, c.want)
				}
			}
		})
	}
}

func lines(t *testing.T, content message.Content, files sizes) map[string]Line {
	t.Helper()
	costs, err := Cost(files, table(t), "hash", content)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]Line{}
	for _, line := range costs.Lines {
		byName[line.Name] = line
	}
	return byName
}

func TestLinesOfAnInstance(t *testing.T) {
	const place = "EXECUTION_INSTANCE_VOLUME_ROOTFS"
	for _, test := range []struct {
		name, line           string
		content              message.Content
		hold, stream, credit string
	}{
		{"rootfs", place, instance(executable(1, "")), "1024.000000000000000000", "0.000005558044444444", "1.022150487075618588"},
		{"discount takes back what is used", LineDiscount, instance(executable(1, "")), "-1024.000000000000000000", "-0.000005558044444444", "-1.022150487075618588"},
		{
			"discount takes back at most what is included", LineDiscount, instance(executable(1, "", 350)),
			"-1024.000000000000000000", "-0.000005558044444445", "-1.022150487075618589",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			line := lines(t, test.content, nil)[test.line]
			if Text(line.Hold) != test.hold || Text(line.Stream) != test.stream || Text(line.Credit) != test.credit {
				t.Errorf("got %s, %s, %s", Text(line.Hold), Text(line.Stream), Text(line.Credit))
			}
		})
	}
}

func TestGPUsOfTwoClassesAreTwoLines(t *testing.T) {
	got := lines(t, gpus(1, 2048, "10de:2684", "10de:20b5"), nil)
	if p, s := Text(got["instance_gpu_premium"].Hold), Text(got["instance_gpu_standard"].Hold); p != "8960.000000000000000000" || s != "1680.000000000000000000" {
		t.Errorf("got premium %s and standard %s", p, s)
	}
}

func TestDeviceThatIsNotOfferedIsAnError(t *testing.T) {
	for _, device := range []string{"dead:beef", "10de:2687"} { // the second has a model without a price
		if _, err := Cost(sizes{}, table(t), "hash", gpus(1, 2048, device)); err == nil {
			t.Errorf("device %s was priced", device)
		}
	}
}

func TestSmallestCreditLine(t *testing.T) {
	got := lines(t, instance(executable(1, message.PaymentCredit, 1)), nil)["#0:EXECUTION_VOLUME_PERSISTENT"]
	if Text(got.Credit) != "0.000277777777777777" {
		t.Errorf("a volume of 1 MiB costs %s", Text(got.Credit))
	}
}

func TestPricingAggregateReplacesTheTable(t *testing.T) {
	pricing := `{"storage":{"price":{"storage":{"holding":"2","credit":3600}}},"note":"not a product"}`
	prices, err := NewTable(params.Mainnet(), []byte(pricing), []byte(`{"compatible_gpus":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	costs, err := Cost(sizes{"file": 3 * mib}, prices, "hash", stored(message.PaymentHold))
	if err != nil {
		t.Fatal(err)
	}
	if line := costs.Lines[0]; Text(line.Hold) != "6.000000000000000000" || Text(line.Credit) != "3.000000000000000000" {
		t.Errorf("got hold %s, credit %s", Text(line.Hold), Text(line.Credit))
	}
	if _, err := Cost(sizes{}, prices, "hash", instance(executable(1, ""))); err == nil {
		t.Error("a product that the aggregate lacks was priced")
	}
}

func TestAmountsBeyond28DigitsAreAnError(t *testing.T) {
	if _, err := Cost(sizes{"file": 1 << 62}, table(t), "hash", stored(message.PaymentHold)); err == nil {
		t.Error("want an arithmetic error")
	}
}

func BenchmarkCostOfInstance(b *testing.B) {
	prices, content := table(b), instance(executable(4, "", 1024, 2048))
	for b.Loop() {
		if _, err := Cost(sizes{}, prices, "hash", content); err != nil {
			b.Fatal(err)
		}
	}
}
