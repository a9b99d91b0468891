package store

import "github.com/prometheus/client_golang/prometheus"

// Stats counts since Open.
type Stats struct {
	// Ops and Failed are the ops that were stored and that failed.
	Ops, Failed uint64
	// Commits are the durable commits, one fsync each. Less than Ops under load.
	Commits uint64
	// Checkpoints are those of SQLite's WAL.
	Checkpoints uint64
	// Sessions are the writer's connections, more than one if some were lost.
	Sessions uint64
	// Queued are the ops that wait or are at work now.
	Queued int
}

// Stats returns the counters.
func (db *DB) Stats() Stats {
	c := db.e.counters()
	return Stats{
		Ops: db.w.ops.Load(), Failed: db.w.failed.Load(), Commits: c.Commits,
		Checkpoints: c.Checkpoints, Sessions: c.Sessions, Queued: db.w.q.length(),
	}
}

// metrics shows Stats to Prometheus.
type metrics struct {
	db         *DB
	registry   prometheus.Registerer
	ops        *prometheus.Desc
	commits    *prometheus.Desc
	checkpoint *prometheus.Desc
	sessions   *prometheus.Desc
	queued     *prometheus.Desc
}

func newMetrics(o Options, db *DB) (*metrics, error) {
	label := prometheus.Labels{"component": o.Component}
	m := &metrics{
		db: db, registry: o.Metrics,
		ops:        prometheus.NewDesc("hearth_store_ops_total", "Ops by result.", []string{"result"}, label),
		commits:    prometheus.NewDesc("hearth_store_commits_total", "Durable commits.", nil, label),
		checkpoint: prometheus.NewDesc("hearth_store_checkpoints_total", "WAL checkpoints.", nil, label),
		sessions:   prometheus.NewDesc("hearth_store_sessions_total", "Connections of the writer.", nil, label),
		queued:     prometheus.NewDesc("hearth_store_queued_ops", "Ops that wait or are at work.", nil, label),
	}
	if o.Metrics == nil {
		return m, nil
	}
	return m, o.Metrics.Register(m)
}

func (m *metrics) close() {
	if m.registry != nil {
		m.registry.Unregister(m)
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.db.Stats()
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	count(m.ops, s.Ops, "stored")
	count(m.ops, s.Failed, "failed")
	count(m.commits, s.Commits)
	count(m.checkpoint, s.Checkpoints)
	count(m.sessions, s.Sessions)
	ch <- prometheus.MustNewConstMetric(m.queued, prometheus.GaugeValue, float64(s.Queued))
}
