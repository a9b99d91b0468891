package bus

import "time"

// keepAlive sends the signs of life of running handlers and finds the dead.
func (b *Bus) keepAlive() {
	tick := time.NewTicker(b.tune.beat / 4)
	defer tick.Stop()
	for {
		select {
		case <-b.done:
			return
		case now := <-tick.C:
			b.calls.failSilent(now, b.tune.silence)
			for _, f := range b.flights.review(now, b.tune.beat, b.tune.silence) {
				if err := b.publish(f.reply, f.ack, []byte{kindBeat}); err != nil {
					b.log.WithError(err).Debug("bus: sign of life")
				}
			}
		}
	}
}

// review ends the contexts of the flights whose caller was silent too long, and
// returns those that owe their caller a sign of life.
func (t *flightTable) review(now time.Time, beat, silence time.Duration) (due []*flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for reply, at := range t.early {
		if now.Sub(at) > silence {
			delete(t.early, reply)
		}
	}
	nanos := now.UnixNano()
	for _, f := range t.m {
		if nanos-f.heard.Load() > int64(silence) {
			f.cancel()
		}
		if nanos-f.told.Load() >= int64(beat) {
			f.told.Store(nanos)
			due = append(due, f)
		}
	}
	return due
}
