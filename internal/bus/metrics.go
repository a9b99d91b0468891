package bus

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth/internal/merr"
)

// metrics counts at the border. A nil *metrics counts nothing. Subjects and names
// of logs are constants of the contracts, so the labels are bounded.
type metrics struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	flights *prometheus.GaugeVec
	reads   *prometheus.CounterVec
	entries *prometheus.CounterVec
	series  sync.Map // subject → *series
}

// series holds the resolved metrics of one subject.
type series struct {
	seconds  prometheus.Observer
	outcomes [len(outcomes)]prometheus.Counter
}

const (
	outcomeOK = iota
	outcomeRefused
	outcomeFailed
	outcomeUnavailable
	outcomeTimeout
)

var outcomes = [...]string{"ok", "refused", "failed", "unavailable", "timeout"}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	if r == nil {
		return nil, nil
	}
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_bus_calls_total",
			Help: "Calls and streams by subject and outcome, counted where they were made.",
		}, []string{"subject", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "hearth_bus_call_seconds",
			Help:    "Time until the answer of a call or the end of a stream.",
			Buckets: []float64{.00001, .0001, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30},
		}, []string{"subject"}),
		flights: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "hearth_bus_handlers_running",
			Help: "Handlers that run for requests from over NATS.",
		}, []string{"subject"}),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_bus_follow_reads_total",
			Help: "Times that a follower read a log from its owner, by the reason.",
		}, []string{"log", "reason"}),
		entries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_bus_follow_entries_total",
			Help: "Log entries applied by followers, by where they came from.",
		}, []string{"log", "source"}),
	}
	var err error
	m.calls, err = registered(r, m.calls, err)
	m.seconds, err = registered(r, m.seconds, err)
	m.flights, err = registered(r, m.flights, err)
	m.reads, err = registered(r, m.reads, err)
	m.entries, err = registered(r, m.entries, err)
	return m, err
}

// registered registers c, or returns the collector that another bus with the same
// registerer has registered before.
func registered[C prometheus.Collector](r prometheus.Registerer, c C, before error) (C, error) {
	if before != nil {
		return c, before
	}
	err := r.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if old, ok := already.ExistingCollector.(C); ok {
			return old, nil
		}
	}
	return c, err
}

func (m *metrics) start() time.Time {
	if m == nil {
		return time.Time{}
	}
	return time.Now()
}

func (m *metrics) called(subject string, start time.Time, err *merr.Error) {
	if m == nil {
		return
	}
	s := m.of(subject)
	s.seconds.Observe(time.Since(start).Seconds())
	s.outcomes[outcomeOf(err)].Inc()
}

func (m *metrics) of(subject string) *series {
	if s, ok := m.series.Load(subject); ok {
		return s.(*series)
	}
	s := &series{seconds: m.seconds.WithLabelValues(subject)}
	for i, name := range outcomes {
		s.outcomes[i] = m.calls.WithLabelValues(subject, name)
	}
	m.series.Store(subject, s)
	return s
}

func outcomeOf(err *merr.Error) int {
	switch {
	case err == nil:
		return outcomeOK
	case err.Status == http.StatusGatewayTimeout:
		return outcomeTimeout
	case err.Status == http.StatusServiceUnavailable:
		return outcomeUnavailable
	case err.Status >= 500:
		return outcomeFailed
	}
	return outcomeRefused
}

func (m *metrics) running(subject string, n float64) {
	if m != nil {
		m.flights.WithLabelValues(subject).Add(n)
	}
}

func (m *metrics) read(log, reason string) {
	if m != nil {
		m.reads.WithLabelValues(log, reason).Inc()
	}
}

func (m *metrics) applied(log, source string, n int) {
	if m != nil {
		m.entries.WithLabelValues(log, source).Add(float64(n))
	}
}
