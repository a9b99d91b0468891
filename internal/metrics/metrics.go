// Package metrics makes the registry of a process and shows it to Prometheus.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// New returns a registry with what Go and the system tell about the process, and
// hearth_build_info, which is always 1.
func New(version string) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hearth_build_info", Help: "The version that is running.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		info,
	)
	return reg
}

const (
	maxScrapes = 4 // at the same time; more are 503
	// scrapeTime is how long a client may take to read an answer, so that those who
	// do not read cannot keep the others out.
	scrapeTime = 10 * time.Second
)

// Handler serves GET /metrics in the text format, and nothing else.
func Handler(reg *prometheus.Registry) http.Handler {
	scrape := promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes,
		DisableCompression:  true, // it is for the network of one machine
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		// A writer without deadlines, as in tests, needs none.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(scrapeTime))
		scrape.ServeHTTP(w, r)
	})
	return mux
}
