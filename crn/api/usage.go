package api

import (
	"bufio"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage says how big the host is and how much of it is free (spec/crn.md §2.4.3). kB are thousands of bytes.
func (s *Server) usage(w http.ResponseWriter, r *http.Request) {
	memory := readFields("/proc/meminfo", ":")
	total, available := kibibytes(memory["MemTotal"]), kibibytes(memory["MemAvailable"])
	// What machines may still get counts, not what the host could give.
	used, limit := s.cfg.Pool.Memory()
	if s.cfg.Instances != nil {
		more, room := s.cfg.Instances.Memory()
		used, limit = used+more, limit+room
	}
	available = min(available, int64(max(0, limit-used))<<20)

	var disk unix.Statfs_t
	_ = unix.Statfs(s.cfg.VolumeDir, &disk) // zero when the folder is gone
	var load [3]float64
	if raw, err := os.ReadFile("/proc/loadavg"); err == nil {
		for i, field := range strings.Fields(string(raw))[:3] {
			load[i], _ = strconv.ParseFloat(field, 64)
		}
	}
	cpu := readFields("/proc/cpuinfo", ":")
	frequency, _ := strconv.ParseFloat(cpu["cpu MHz"], 64)
	answer(w, http.StatusOK, map[string]any{
		"cpu": map[string]any{
			"count":            runtime.NumCPU(),
			"load_average":     map[string]float64{"load1": load[0], "load5": load[1], "load15": load[2]},
			"core_frequencies": map[string]float64{"min": frequency, "max": frequency},
		},
		"mem": map[string]int64{"total_kB": (total + 999) / 1000, "available_kB": available / 1000},
		"disk": map[string]int64{
			"total_kB": int64(disk.Blocks) * disk.Bsize / 1000, "available_kB": int64(disk.Bavail) * disk.Bsize / 1000,
		},
		"period":     map[string]any{"start_timestamp": time.Now().UTC().Truncate(time.Minute).Format(time.RFC3339), "duration_seconds": 60.0},
		"properties": map[string]any{"cpu": map[string]any{"architecture": architecture(), "vendor": cpu["vendor_id"], "features": []string{}}},
		"gpu":        map[string]any{"devices": []any{}, "available_devices": []any{}},
		"active":     true,
	})
}

func architecture() string {
	if runtime.GOARCH == "amd64" {
		return "x86_64"
	}
	return runtime.GOARCH
}

// readFields reads "name: value" lines; the first of a name counts.
func readFields(path, separator string) map[string]string {
	fields := map[string]string{}
	f, err := os.Open(path)
	if err != nil {
		return fields
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), separator)
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
