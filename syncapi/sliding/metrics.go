package sliding

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts answers and says what is in memory. A nil *metrics counts nothing.
type metrics struct {
	answers *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer, s *Service) (*metrics, error) {
	if reg == nil {
		return nil, nil
	}
	m := &metrics{answers: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "hearth_sliding_sync_render_seconds", Help: "Time to find and render an answer of sliding sync, without waiting.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
	}, []string{"kind"})}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	for _, c := range []prometheus.Collector{
		m.answers,
		gauge("hearth_sliding_sync_active", "Sliding syncs in progress, waiting ones among them.", func() float64 { return float64(s.active.Load()) }),
		gauge("hearth_sliding_sync_connections", "Connections in memory.", func() float64 { n, _ := s.conns.size(); return float64(n) }),
		gauge("hearth_sliding_sync_known_rooms", "Rooms of all connections in memory.", func() float64 { _, n := s.conns.size(); return float64(n) }),
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) answered(p *poll, something bool, took time.Duration) {
	if m == nil {
		return
	}
	kind := "empty"
	switch {
	case p.pos == nil:
		kind = "initial"
	case something:
		kind = "incremental"
	}
	m.answers.WithLabelValues(kind).Observe(took.Seconds())
}
