package search

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/internal/bus"
	"hearth/internal/lru"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Deps is what the index needs.
type Deps struct {
	Bus *bus.Bus
	// DataDir holds search.db; DatabaseURL, if not empty, names a PostgreSQL database.
	DataDir, DatabaseURL string
	Log                  *logrus.Entry
	Metrics              prometheus.Registerer
	Now                  func() time.Time
}

const (
	// flushEvery is how long documents stay in memory alone. They cost no commit of
	// their own, and after a crash they are read from the log again.
	flushEvery = 500 * time.Millisecond
	// maxFresh bounds the documents, and maxFreshTerms their terms, in memory.
	maxFresh      = 2048
	maxFreshTerms = 400_000
	// maxBehind is how many entries without anything to index pass before the cursor is stored.
	maxBehind = 20_000
	maxRooms  = 20_000 // cached room numbers
)

// Index is the index at work.
type Index struct {
	bus *bus.Bus
	log *logrus.Entry
	db  *store.DB

	rooms *lru.Cache[string, int64]

	// writing is held by whoever changes the tables; it is taken before mu.
	writing sync.Mutex
	mu      sync.Mutex // guards what follows
	fresh   memory     // what is not in the tables
	moving  memory     // what is on its way there
	stored  int64      // the position up to which the tables are true
	read    int64      // the position up to which the log was read
	changed chan struct{}
}

// memory holds what the log told, by room id.
type memory struct {
	docs    map[string][]document
	removed map[string][]int64
	count   int
	terms   int
	upTo    int64 // the position that it reaches
}

func newMemory() memory {
	return memory{docs: make(map[string][]document), removed: make(map[string][]int64)}
}

func (m *memory) empty() bool { return m.count == 0 && len(m.removed) == 0 }

// New opens the index. It answers from then on; Run fills it.
func New(ctx context.Context, d Deps) (*Index, error) {
	db, err := store.Open(ctx, store.Options{
		Component: "search", DataDir: d.DataDir, URL: d.DatabaseURL, Migrations: migrations,
		Log: d.Log, Metrics: d.Metrics, Now: d.Now,
	})
	if err != nil {
		return nil, err
	}
	x := &Index{
		bus: d.Bus, log: d.Log, db: db, rooms: lru.New[string, int64](maxRooms, nil),
		fresh: newMemory(), moving: newMemory(), changed: make(chan struct{}),
	}
	err = db.Read(ctx, func(r *store.Reader) error {
		return r.Row(`SELECT cursor FROM progress WHERE slot = 0`).Scan(&x.stored)
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("search: read progress: %w", err)
	}
	x.read = x.stored
	return x, nil
}

// Lost is closed when another process took the database over.
func (x *Index) Lost() <-chan struct{} { return x.db.Lost() }

// Close lets go of the database. It follows the end of Run.
func (x *Index) Close() error { return x.db.Close() }

// Overwrite makes sure that what was taken out of the index is in none of its files.
func (x *Index) Overwrite(ctx context.Context) error { return x.db.Overwrite(ctx) }

// Run follows the room log until ctx ends.
func (x *Index) Run(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { x.flushAtTimes(ctx) })
	defer work.Wait()
	for ctx.Err() == nil {
		x.mu.Lock()
		after := x.read
		x.mu.Unlock()
		err := bus.Follow(ctx, x.bus, roomapi.Log, after, x.apply)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, bus.ErrLog) {
			x.log.Warn("search: the room log is not the one that was indexed; the index is built again")
			err = x.reset(ctx)
		}
		if err != nil {
			x.log.WithError(err).Warn("search: cannot follow the room log, trying again")
			pause(ctx, time.Second)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// apply takes entries of the log into memory, and waits when there are too many.
func (x *Index) apply(ctx context.Context, batch []bus.Positioned[roomapi.Entry]) error {
	docs := make([]*document, len(batch))
	for i, e := range batch {
		if e.Entry.Kind != roomapi.KindEvent || e.Entry.Event == nil {
			continue
		}
		if kind, texts := Texts(e.Entry.Event); kind != 0 {
			d := index(e.Pos, e.Entry.Event.Sender, kind, texts)
			docs[i] = &d
		}
	}
	x.mu.Lock()
	for i, e := range batch {
		if docs[i] != nil {
			x.fresh.add(e.Entry.RoomID, *docs[i])
		}
		if gone := e.Entry.Redacted; gone != nil && gone.Pos > 0 {
			x.fresh.remove(e.Entry.RoomID, gone.Pos)
		}
	}
	x.read = batch[len(batch)-1].Pos
	close(x.changed)
	x.changed = make(chan struct{})
	full := x.fresh.count >= maxFresh || x.fresh.terms >= maxFreshTerms
	x.mu.Unlock()
	for full && ctx.Err() == nil {
		err := x.flush(ctx)
		if err == nil {
			return nil
		}
		x.log.WithError(err).Warn("search: cannot write the index, trying again")
		pause(ctx, time.Second)
	}
	return ctx.Err()
}

func (m *memory) add(room string, d document) {
	m.docs[room] = append(m.docs[room], d)
	m.count++
	m.terms += len(d.terms)
}

// drop forgets a document.
func (m *memory) drop(room string, pos int64) {
	m.docs[room] = slices.DeleteFunc(m.docs[room], func(d document) bool { return d.pos == pos })
}

// remove forgets a document, which may be in the tables too.
func (m *memory) remove(room string, pos int64) {
	m.drop(room, pos)
	m.removed[room] = append(m.removed[room], pos)
}

// Wait returns when everything up to a log position can be found, or ctx ends.
func (x *Index) Wait(ctx context.Context, pos int64) error {
	for {
		x.mu.Lock()
		done, changed := x.read >= pos, x.changed
		x.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
