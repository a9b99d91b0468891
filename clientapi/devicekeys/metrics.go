package devicekeys

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth/clientapi/storage"
)

const (
	// totalsFor is how long totals are good: to make them, all queues are looked at.
	totalsFor     = 20 * time.Second
	totalsTimeout = 2 * time.Second
)

// metrics shows the administrator how full queues are, and what is kept of devices of
// other servers.
type metrics struct {
	keys     *Keys
	registry prometheus.Registerer
	dropped  prometheus.Counter
	totals   []total

	mu   sync.Mutex // guards what follows
	last storage.Totals
	at   time.Time
}

type total struct {
	desc  *prometheus.Desc
	value func(t *storage.Totals) int64
}

func newMetrics(k *Keys, registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{keys: k, registry: registry, dropped: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "hearth_to_device_dropped_total", Help: "Messages to devices that were dropped because the queue of the device was full.",
	})}
	for _, t := range []struct {
		name, help string
		value      func(t *storage.Totals) int64
	}{
		{"hearth_to_device_queued", "Messages that wait for devices.", func(t *storage.Totals) int64 { return t.Messages }},
		{"hearth_to_device_queued_bytes", "Their size in bytes.", func(t *storage.Totals) int64 { return t.Bytes }},
		{"hearth_to_device_longest_queue", "Messages in the longest queue of a device.", func(t *storage.Totals) int64 { return t.Longest }},
		{"hearth_remote_device_lists", "Users of other servers whose devices are kept.", func(t *storage.Totals) int64 { return t.Lists }},
		{"hearth_remote_device_lists_stale", "Those whose devices have to be fetched again.", func(t *storage.Totals) int64 { return t.Stale }},
	} {
		m.totals = append(m.totals, total{prometheus.NewDesc(t.name, t.help, nil, nil), t.value})
	}
	if registry == nil {
		return m, nil
	}
	return m, registry.Register(m)
}

func (m *metrics) close() {
	if m.registry != nil {
		m.registry.Unregister(m)
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	m.dropped.Describe(ch)
	for _, t := range m.totals {
		ch <- t.desc
	}
}

// Collect implements prometheus.Collector. Totals that cannot be read are left out.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.dropped.Collect(ch)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at.IsZero() || time.Since(m.at) > totalsFor {
		ctx, cancel := context.WithTimeout(context.Background(), totalsTimeout)
		defer cancel()
		last, err := m.keys.users.Totals(ctx)
		if err != nil {
			return
		}
		m.last, m.at = last, time.Now()
	}
	for _, t := range m.totals {
		ch <- prometheus.MustNewConstMetric(t.desc, prometheus.GaugeValue, float64(t.value(&m.last)))
	}
}
