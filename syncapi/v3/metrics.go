package v3

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts answers and says what is in memory. A nil *metrics counts nothing.
type metrics struct {
	answers *prometheus.HistogramVec
	windows prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, s *Service) (*metrics, error) {
	if reg == nil {
		return nil, nil
	}
	m := &metrics{
		answers: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hearth_sync_render_seconds", Help: "Time to find and render a /sync answer, without waiting.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
		}, []string{"kind"}),
		windows: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hearth_sync_windows_total", Help: "Room windows that were read from the roomserver.",
		}),
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	for _, c := range []prometheus.Collector{
		m.answers, m.windows,
		gauge("hearth_sync_active", "Syncs in progress, waiting ones among them.", func() float64 { return float64(s.active.Load()) }),
		gauge("hearth_sync_recent_bytes", "Bytes of the recent events of rooms.", func() float64 { return float64(s.engine.Size().Bytes) }),
		gauge("hearth_sync_recent_rooms", "Rooms whose recent events are kept.", func() float64 { return float64(s.engine.Size().Recent) }),
		gauge("hearth_sync_users", "Users whose rooms are kept.", func() float64 { return float64(s.engine.Size().Users) }),
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
	case p.initial:
		kind = "initial"
	case p.full:
		kind = "full_state"
	case something:
		kind = "incremental"
	}
	m.answers.WithLabelValues(kind).Observe(took.Seconds())
}

func (m *metrics) window() {
	if m != nil {
		m.windows.Inc()
	}
}
