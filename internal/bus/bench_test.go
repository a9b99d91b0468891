package bus

import (
	"context"
	"testing"
	"time"
)

func benchCall(b *testing.B, o Options) {
	bus := open(b, o, defaults())
	must(b, Handle(bus, echoWire, func(_ context.Context, r *reply) (*reply, error) { return r, nil }))
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	req := &reply{Text: "hello", N: 1}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := echoWire.Do(ctx, bus, req); err != nil {
			b.Fatal(err)
		}
	}
}

var echoWire = Call[reply, reply]{Subject: "bench.echo"}

func BenchmarkCallLocal(b *testing.B)    { benchCall(b, Options{Local: true}) }
func BenchmarkCallEmbedded(b *testing.B) { benchCall(b, Options{}) }

func BenchmarkCallEmbeddedParallel(b *testing.B) {
	bus := open(b, Options{}, defaults())
	must(b, Handle(bus, echoWire, func(_ context.Context, r *reply) (*reply, error) { return r, nil }))
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := echoWire.Do(context.Background(), bus, &reply{}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	bus := open(b, Options{}, defaults())
	o := newOwner(b, bus)
	e := &entry{Body: string(noise(1000))}
	b.ReportAllocs()
	for b.Loop() {
		o.pub.Publish(1, e)
	}
}

// BenchmarkPublishToApply is the time from Publish until a follower has applied.
func BenchmarkPublishToApply(b *testing.B) {
	bus := open(b, Options{Local: true}, defaults())
	o := newOwner(b, bus)
	applied := make(chan int64, 1)
	go func() {
		_ = Follow(b.Context(), bus, testLog, 0, func(_ context.Context, batch []Positioned[entry]) error {
			applied <- batch[len(batch)-1].Pos
			return nil
		})
	}()
	o.append("first")
	<-applied
	body := string(noise(1000))
	for b.Loop() {
		o.append(body)
		<-applied
	}
}

// BenchmarkFollowThroughput has one publisher and one follower at full speed.
func BenchmarkFollowThroughput(b *testing.B) {
	bus := open(b, Options{Local: true}, defaults())
	o, c := newOwner(b, bus), &checker{t: b}
	c.follow(bus)
	body := string(noise(1000))
	for b.Loop() {
		o.append(body)
	}
	for c.cursor.Load() < o.head() {
		time.Sleep(10 * time.Microsecond)
	}
	b.ReportMetric(float64(o.reads.Load()), "reads")
}

func BenchmarkStream(b *testing.B) {
	bus := open(b, Options{}, defaults())
	data := noise(10 << 20)
	must(b, HandleStream(bus, flow, func(_ context.Context, _ *want, send func([]byte) error) error { return send(data) }))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := flow.Do(context.Background(), bus, nil, func([]byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
