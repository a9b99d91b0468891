package bus

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var typing = Topic[ask]{Subject: "test.typing"}

func TestTopicReachesAllSubscribersUntilCanceled(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		var a, b atomic.Int64
		cancel, err := Subscribe(p.caller, typing, func(m *ask) {
			if m.N == 13 {
				panic("boom")
			}
			a.Add(int64(m.N))
		})
		must(t, err)
		_, err = Subscribe(p.owner, typing, func(m *ask) { b.Add(int64(m.N)) })
		must(t, err)
		typing.Publish(p.owner, &ask{N: 13})
		typing.Publish(p.owner, &ask{N: 1})
		eventually(t, "both hear", func() bool { return a.Load() == 1 && b.Load() == 14 })
		typing.Publish(p.owner, &ask{Text: strings.Repeat("x", 2<<20)}) // dropped
		must(t, p.owner.publish(topicSubject+typing.Subject, "", []byte("no JSON")))
		cancel()
		typing.Publish(p.owner, &ask{N: 2})
		eventually(t, "the other hears", func() bool { return b.Load() == 16 })
		time.Sleep(10 * time.Millisecond)
		if a.Load() != 1 {
			t.Fatal("called after cancel")
		}
	})
}

func TestPublishNeverFailsWithoutNATS(t *testing.T) {
	b := open(t, Options{}, quick())
	o := newOwner(t, b)
	b.nc.Close()
	defer within(t, time.Second)()
	for range 1000 {
		o.append("x")
		typing.Publish(b, &ask{})
	}
}

func TestMetricsCountCallsAndReads(t *testing.T) {
	reg := prometheus.NewRegistry()
	for _, local := range []bool{true, false} { // both buses share the registerer
		b := open(t, Options{Local: local, Metrics: reg}, quick())
		o, c := newOwner(t, b), &checker{t: t}
		must(t, Handle(b, echo, func(ctx context.Context, a *ask) (*reply, error) {
			if a.N > 0 {
				return nil, context.Canceled
			}
			return nil, nil
		}))
		for n := range 2 {
			_, err := echo.Do(context.Background(), b, &ask{N: n})
			if (err != nil) != (n > 0) {
				t.Fatal(err)
			}
		}
		o.append("x")
		c.follow(b)
		c.reaches(t, 1)
		eventually(t, "no handler runs", func() bool { return b.active.Load() == 0 })
	}
	families, err := reg.Gather()
	must(t, err)
	want := map[string]float64{
		"hearth_bus_calls_total/ok/test.echo": 2, "hearth_bus_calls_total/failed/test.echo": 2,
		"hearth_bus_call_seconds/test.echo": 4, "hearth_bus_handlers_running/test.echo": 0,
		"hearth_bus_follow_reads_total/test/start": 2, "hearth_bus_follow_entries_total/test/owner": 2,
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label { // sorted by name
				name += "/" + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, n := range want {
		if v, ok := got[name]; !ok || v != n {
			t.Errorf("%s is %v, want %v", name, v, n)
		}
	}
}
