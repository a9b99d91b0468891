package bus

import (
	"context"
	"fmt"
	"time"

	"hearth/internal/merr"
)

// Log is the name and the entry type of an owner's log. Its positions are 1, 2, 3, …
// without gaps. It is declared as a value in the owner's contract.
type Log[E any] struct{ Name string }

// Positioned is an entry with its position.
type Positioned[E any] struct {
	Pos   int64
	Entry *E
}

// Kinds of messages on a log's subject; the first byte. The position follows.
const (
	logEntry = 1 // and the entry
	logHead  = 2 // the log has entries up to the position
)

// inlineEntry is the greatest entry that is published whole, in bytes.
const inlineEntry = 900_000

// Publisher announces the entries of a log.
type Publisher[E any] struct {
	bus  *Bus
	log  Log[E]
	head func() int64
}

// NewPublisher returns the publisher of the owner's log. head returns the position
// of the last committed entry and must be cheap and safe at any time: it is asked 4
// times a second until the bus is closed, and the answer is announced when it has
// changed and every 2 s, so that followers find out when the last entries were lost.
func NewPublisher[E any](b *Bus, l Log[E], head func() int64) *Publisher[E] {
	p := &Publisher[E]{bus: b, log: l, head: head}
	b.background(p.announce)
	return p
}

func (p *Publisher[E]) announce() {
	b := p.bus
	tick := time.NewTicker(b.tune.head)
	defer tick.Stop()
	var last, epoch int64 = -1, -1
	var told time.Time
	for {
		select {
		case <-b.done:
			return
		case now := <-tick.C:
			head, e := p.head(), int64(b.epoch.Load())
			if head == last && e == epoch && now.Sub(told) < b.tune.headIdle {
				continue
			}
			if p.send(logHead, head) == nil {
				last, epoch, told = head, e, now
			}
		}
	}
}

// Publish sends the committed entry to the followers. Call it in the order of
// positions, after the commit. It never waits for followers and cannot fail: what
// is lost, followers read through ServeLog. It keeps nothing of e.
func (p *Publisher[E]) Publish(pos int64, e *E) {
	b := p.bus
	buf := b.buffer()
	defer buf.release()
	head := NewEncoder(append(buf.b, logEntry))
	head.Uint(uint64(pos))
	var err error
	if buf.b, err = appendValue(head.Buffer(), e); err != nil {
		b.log.WithFields(map[string]any{"log": p.log.Name, "position": pos}).WithError(err).
			Error("bus: entry cannot be encoded")
		return
	}
	if len(buf.b) > min(inlineEntry, b.limit()) {
		err = p.send(logHead, pos)
	} else {
		err = b.publish(logSubject+p.log.Name, "", buf.b)
	}
	if err != nil {
		b.log.WithField("log", p.log.Name).WithError(err).Debug("bus: entry was not published")
	}
}

func (p *Publisher[E]) send(kind byte, pos int64) error {
	e := NewEncoder([]byte{kind})
	e.Uint(uint64(pos))
	return p.bus.publish(logSubject+p.log.Name, "", e.Buffer())
}

// readLog is the request for a part of a log.
type readLog struct{ After, Limit int64 }

func (r *readLog) AppendWire(buf []byte) []byte {
	e := NewEncoder(buf)
	e.Int(r.After)
	e.Int(r.Limit)
	return e.Buffer()
}

func (r *readLog) ParseWire(data []byte) error {
	d := NewDecoder(data)
	r.After, r.Limit = d.Int(), d.Int()
	return d.Err()
}

// Bounds of one read of a log from its owner.
const (
	maxBatch = 512       // entries
	pageSize = 512 << 10 // bytes, unless the first entry alone is larger
	maxPage  = 64 << 20  // bytes that a follower takes: a page of one large entry
)

func (l Log[E]) reads() Stream[readLog] {
	return Stream[readLog]{Subject: l.Name + ".log", Timeout: defaultTimeout}
}

// reader is how the owner reads its log.
type reader[E any] func(ctx context.Context, after int64, limit int) ([]Positioned[E], int64, error)

// ServeLog lets followers read the log. read returns the entries after a position,
// at most limit (1 … 512), in order and without gaps, and the position of the last
// committed entry, all from one snapshot that holds everything that was published.
// It runs on many goroutines at a time.
func ServeLog[E any](b *Bus, l Log[E], read func(ctx context.Context, after int64, limit int) (entries []Positioned[E], head int64, err error)) error {
	err := HandleStream(b, l.reads(), func(ctx context.Context, req *readLog, send func([]byte) error) error {
		limit := int(min(max(req.Limit, 1), maxBatch))
		entries, head, err := read(ctx, req.After, limit)
		if err != nil {
			return err
		}
		page, err := appendPage(entries, head)
		if err != nil {
			return err
		}
		return send(page)
	})
	if err != nil {
		return err
	}
	b.localLogs.Store(l.Name, reader[E](read))
	return nil
}

// appendPage encodes as many entries as a page holds, at least one if there is one.
func appendPage[E any](entries []Positioned[E], head int64) ([]byte, error) {
	page := NewEncoder(nil)
	page.Int(head)
	var body []byte
	for i, e := range entries {
		var err error
		if body, err = appendValue(body[:0], e.Entry); err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Pos, err)
		}
		if i > 0 && len(page.Buffer())+len(body) > pageSize {
			break
		}
		page.Int(e.Pos)
		page.Bytes(body)
	}
	return page.Buffer(), nil
}

func parsePage[E any](page []byte) (entries []Positioned[E], head int64, err error) {
	d := NewDecoder(page)
	head = d.Int()
	for d.Len() > 0 && len(entries) < maxBatch {
		pos, body := d.Int(), d.Bytes()
		if d.Err() != nil {
			break
		}
		entry, err := parseValue[E](body)
		if err != nil {
			return nil, 0, fmt.Errorf("entry %d: %w", pos, err)
		}
		entries = append(entries, Positioned[E]{Pos: pos, Entry: entry})
	}
	return entries, head, d.Done()
}

// read asks the owner for the entries after a position.
func (l Log[E]) read(ctx context.Context, b *Bus, after int64, limit int) ([]Positioned[E], int64, error) {
	if read := l.local(b); read != nil {
		return readLocal(ctx, b, l, read, after, limit)
	}
	var page []byte
	err := l.reads().Do(ctx, b, &readLog{After: after, Limit: int64(limit)}, func(chunk []byte) error {
		if len(page)+len(chunk) > maxPage {
			return merr.Internal(fmt.Errorf("log %s: page larger than %d bytes", l.Name, maxPage))
		}
		page = append(page, chunk...)
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	entries, head, err := parsePage[E](page)
	if err != nil {
		return nil, 0, merr.Internal(fmt.Errorf("log %s: %w", l.Name, err))
	}
	return entries, head, nil
}

func (l Log[E]) local(b *Bus) reader[E] {
	if !b.opts.Local || b.closed.Load() {
		return nil
	}
	found, _ := b.localLogs.Load(l.Name)
	read, _ := found.(reader[E])
	return read
}

func readLocal[E any](ctx context.Context, b *Bus, l Log[E], read reader[E], after int64, limit int) (entries []Positioned[E], head int64, err error) {
	ctx, cancel := bounded(ctx, 0, defaultTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			entries, head, err = nil, 0, recovered(b.log, l.Name, p)
		}
	}()
	if entries, head, err = read(ctx, after, limit); err != nil {
		return nil, 0, shown(ctx, err)
	}
	return entries, head, nil
}

// Read asks the owner for the entries after a position, at most limit (1 … 512) and
// no more than half a MiB or one entry, and for the position of the last committed
// entry. It is for those who need single entries again; others use [Follow].
func Read[E any](ctx context.Context, b *Bus, l Log[E], after int64, limit int) (entries []Positioned[E], head int64, err error) {
	return l.read(ctx, b, after, min(max(limit, 1), maxBatch))
}

// Head returns the position of the last committed entry, 0 for an empty log. Its
// errors are those of Call.Do.
func Head[E any](ctx context.Context, b *Bus, l Log[E]) (int64, error) {
	_, head, err := l.read(ctx, b, 0, 1)
	return head, err
}
