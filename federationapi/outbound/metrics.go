package outbound

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics tell how sending goes. None has a label for a server: there are too many.
type metrics struct {
	transactions *prometheus.CounterVec
	seconds      prometheus.Histogram
	events       prometheus.Counter
	behind       prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, q *Queues) (*metrics, error) {
	m := &metrics{
		transactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_federation_transactions_total", Help: "Transactions to other servers, answered or failed.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hearth_federation_transaction_seconds", Help: "Time until a transaction was answered.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hearth_federation_events_total", Help: "Events that went to other servers.",
		}),
		behind: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hearth_federation_fell_behind_total", Help: "How often a server did not keep up with its events.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	gauge := func(name, help string, f func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			q.mu.Lock()
			defer q.mu.Unlock()
			return float64(f())
		})
	}
	var all []error
	for _, c := range []prometheus.Collector{
		m.transactions, m.seconds, m.events, m.behind,
		gauge("hearth_federation_destinations", "Servers for which something waits.", func() int { return len(q.servers) }),
		gauge("hearth_federation_sending", "Transactions on their way.", func() int { return q.running + q.trying }),
		gauge("hearth_federation_unsent_positions", "Positions of the room log that hold the cursor back.", func() int { return q.track.open() }),
	} {
		all = append(all, reg.Register(c))
	}
	return m, errors.Join(all...)
}

func (m *metrics) sent(start time.Time, err error) {
	if err != nil {
		m.transactions.WithLabelValues("failed").Inc()
		return
	}
	m.transactions.WithLabelValues("answered").Inc()
	m.seconds.Observe(time.Since(start).Seconds())
}

func (m *metrics) queued(events int) { m.events.Add(float64(events)) }
func (m *metrics) fell()             { m.behind.Inc() }
