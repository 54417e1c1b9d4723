package api

import (
	"bufio"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// host reads what the kernel says of this machine, below a root folder: that of the system, or of a test.
type host struct{ root string }

// usage says how big the host is and how much of it is free (spec/crn.md §2.4.3). kB are thousands of bytes.
func (s *Server) usage(w http.ResponseWriter, r *http.Request) {
	total, available := s.host.memory()
	// What machines may still get counts, not what the host could give.
	used, limit := s.cfg.Pool.Memory()
	if s.cfg.Instances != nil {
		more, room := s.cfg.Instances.Memory()
		used, limit = used+more, limit+room
	}
	available = min(available, int64(max(0, limit-used))<<20)

	var disk unix.Statfs_t
	_ = unix.Statfs(s.cfg.VolumeDir, &disk) // zero when the folder is gone
	load := s.host.load()
	lowest, highest := s.host.frequencies()
	all, free := s.cards(r.Context())
	answer(w, http.StatusOK, map[string]any{
		"cpu": map[string]any{
			"count":            runtime.NumCPU(),
			"load_average":     map[string]float64{"load1": load[0], "load5": load[1], "load15": load[2]},
			"core_frequencies": map[string]float64{"min": lowest, "max": highest},
		},
		"mem": map[string]int64{"total_kB": (total + 999) / 1000, "available_kB": available / 1000},
		"disk": map[string]int64{
			"total_kB": int64(disk.Blocks) * disk.Bsize / 1000, "available_kB": int64(disk.Bavail) * disk.Bsize / 1000,
		},
		"period":     map[string]any{"start_timestamp": s.cfg.Now().UTC().Truncate(time.Minute).Format(time.RFC3339), "duration_seconds": 60.0},
		"properties": map[string]any{"cpu": s.host.processor()},
		"gpu":        map[string]any{"devices": all, "available_devices": free},
		"active":     true,
	})
}

// processor is what messages may ask for in a processor.
type processor struct {
	Architecture string   `json:"architecture"`
	Vendor       string   `json:"vendor"`
	Features     []string `json:"features"`
}

// capability answers GET /about/capability: what the machine is made of (spec/crn.md §2.4.4). What only its firmware knows, the
// kind and clock of its memory, is left out.
func (s *Server) capability(w http.ResponseWriter, r *http.Request) {
	cpu := s.host.fields("proc/cpuinfo")
	_, highest := s.host.frequencies()
	total, _ := s.host.memory()
	answer(w, http.StatusOK, map[string]any{
		"cpu": struct {
			processor
			Model     string `json:"model"`
			Frequency int64  `json:"frequency"` // Hz
			Count     int    `json:"count"`
		}{s.host.processor(), cpu["model name"], int64(highest * 1e6), runtime.NumCPU()},
		"memory": map[string]any{"size": total, "units": "bytes", "type": "", "clock": nil, "clock_units": nil},
	})
}

func (h host) processor() processor {
	p := processor{Architecture: runtime.GOARCH, Vendor: h.fields("proc/cpuinfo")["vendor_id"], Features: []string{}}
	if p.Architecture == "amd64" {
		p.Architecture = "x86_64"
	}
	_, err := os.Stat(filepath.Join(h.root, "dev/sev"))
	device := err == nil
	for _, feature := range []string{"sev", "sev_es", "sev_snp"} {
		if h.line("sys/module/kvm_amd/parameters/"+feature) == "Y" && (device || feature == "sev_snp") {
			p.Features = append(p.Features, feature)
		}
	}
	return p
}

// memory is what the machine has and what is free of it, in bytes.
func (h host) memory() (total, available int64) {
	fields := h.fields("proc/meminfo")
	return kibibytes(fields["MemTotal"]), kibibytes(fields["MemAvailable"])
}

func (h host) load() (load [3]float64) {
	for i, field := range strings.Fields(h.line("proc/loadavg")) {
		if i < len(load) {
			load[i], _ = strconv.ParseFloat(field, 64)
		}
	}
	return load
}

// frequencies are the lowest and highest of the processors, in MHz: what the driver allows, else what they run at, else 0.
func (h host) frequencies() (lowest, highest float64) {
	const folder = "sys/devices/system/cpu/cpu0/cpufreq/"
	current, _ := strconv.ParseFloat(h.fields("proc/cpuinfo")["cpu MHz"], 64)
	mega := func(name string) float64 {
		kilo, _ := strconv.ParseFloat(h.line(folder+name), 64)
		if kilo == 0 {
			return current
		}
		return math.Round(kilo) / 1000
	}
	return mega("cpuinfo_min_freq"), mega("cpuinfo_max_freq")
}

// line returns the first line of a file; nothing when there is none.
func (h host) line(path string) string {
	raw, _ := os.ReadFile(filepath.Join(h.root, path))
	first, _, _ := strings.Cut(string(raw), "\n")
	return first
}

// fields reads "name: value" lines; the first of a name counts.
func (h host) fields(path string) map[string]string {
	fields := map[string]string{}
	f, err := os.Open(filepath.Join(h.root, path))
	if err != nil {
		return fields
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), ":")
		if name = strings.TrimSpace(name); ok && fields[name] == "" {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

// kibibytes reads "123 kB" of the kernel, where kB are 1024 bytes, as bytes.
func kibibytes(value string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64)
	return n << 10
}
