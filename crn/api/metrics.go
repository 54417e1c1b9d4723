package api

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/aleph-im/aleph-go/crn/execution"
)

// metrics of a compute node.
type metrics struct {
	handler http.Handler
	calls   *prometheus.CounterVec
	waited  prometheus.Histogram
}

func newMetrics(registry *prometheus.Registry, pool *execution.Pool) *metrics {
	if registry == nil {
		registry = prometheus.NewRegistry()
	}
	m := &metrics{
		handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "aleph_crn_program_calls_total", Help: "Calls of programs by outcome: class of status, failed, refused.",
		}, []string{"outcome"}),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "aleph_crn_program_wait_seconds", Help: "How long a call waited for its program to run.",
			Buckets: []float64{.001, .01, .1, .5, 1, 2, 5, 10, 20, 50, 100},
		}),
	}
	gauge := func(name, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	registry.MustRegister(m.calls, m.waited,
		gauge("aleph_crn_executions", "Executions in any state.", func() int { return len(pool.List()) }),
		gauge("aleph_crn_memory_used_mib", "Memory given to machines, in MiB.", func() int { used, _ := pool.Memory(); return used }),
		gauge("aleph_crn_memory_limit_mib", "Memory that machines may have, in MiB.", func() int { _, limit := pool.Memory(); return limit }),
	)
	return m
}
