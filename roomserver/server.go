// Package roomserver owns the rooms: their events, state, memberships, receipts
// and aliases. It answers the calls of roomapi and tells what happened through
// the room log.
//
// A change of a room takes these steps:
//
//	lock the room → known transaction id? → build, authorize → stage → unlock
//	                                                     │
//	            the store's writer: one transaction for all that is staged,
//	            one fsync → committed view, log entry, answer
//
// A room's lock is held while events are built, not while they are written: the
// next event builds on what is staged. If a write fails, everything that is staged
// fails with it, and rooms are read anew from the store.
package roomserver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"hearth/internal/bus"
	"hearth/internal/lru"
	"hearth/internal/pdu"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/search"
	"hearth/roomserver/state"
	"hearth/roomserver/storage"
)

// Deps is what the roomserver needs.
type Deps struct {
	Bus        *bus.Bus
	ServerName string
	// Key signs the events that we build.
	Key pdu.Signer
	// DataDir holds the SQLite database; DatabaseURL, if not empty, names a PostgreSQL one.
	DataDir, DatabaseURL string
	// Retention is the policy unless it is changed at run time. PurgeEvery and OverwriteEvery are how often what has
	// expired is purged, and what was purged overwritten; 0: only when it is asked for.
	Retention                  roomapi.RetentionPolicy
	PurgeEvery, OverwriteEvery time.Duration
	Log                        *logrus.Entry
	Metrics                    prometheus.Registerer
	Now                        func() time.Time
}

// Server is the component.
type Server struct {
	bus        *bus.Bus
	serverName string
	key        pdu.Signer
	log        *logrus.Entry
	now        func() time.Time

	store  *storage.Store
	search *search.Index
	names  *names
	rooms  *rooms
	cache  *lru.Cache[int64, *stored]
	// histories are those of memberships and of who may see what; see room.stamp.
	histories *lru.Cache[historyKey, history]
	entries   *bus.Publisher[roomapi.Entry]
	aliases   *reservations
	typing    *typing
	claims    *claims
	// entering lets one user at a time enter a room by way of another server.
	entering *gates
	// farSpaces are rooms that we are not in, as other servers show them.
	farSpaces *lru.Cache[string, *farSpace]
	acls      *acls
	backfills *backfills
	inbox     *inbox
	snaps     *lru.Cache[int64, *state.Snapshot]
	closed    *closedRooms
	blocking  sync.Mutex    // one change of what is blocked at a time
	purges    chan struct{} // a room is to be deleted

	configured                 roomapi.RetentionPolicy
	purgeEvery, overwriteEvery time.Duration
	keeping                    atomic.Pointer[keeping]
	purger                     *purger

	roomSeq, snapSeq atomic.Int64
	stamps           atomic.Int64 // the last room.stamp
	outlierSeq       atomic.Int64 // the least event number in use; never positive

	// work counts background work that Close waits for.
	work sync.WaitGroup
}

// eventCacheBytes bounds the cache of events.
const eventCacheBytes = 16 << 20

// New opens the store and answers calls from then on; Run does the background work.
func New(ctx context.Context, d Deps) (*Server, error) {
	db, err := store.Open(ctx, store.Options{
		Component: "roomserver", DataDir: d.DataDir, URL: d.DatabaseURL, Migrations: storage.Migrations(),
		Policy: store.Chained, Log: d.Log, Metrics: d.Metrics, Now: d.Now,
	})
	if err != nil {
		return nil, err
	}
	s := &Server{
		bus: d.Bus, serverName: d.ServerName, key: d.Key, log: d.Log, now: d.Now,
		store:     &storage.Store{DB: db},
		rooms:     newRooms(),
		cache:     lru.New(eventCacheBytes, func(_ int64, e *stored) int { return e.size() }),
		histories: newHistories(),
		aliases:   newReservations(),
		claims:    newClaims(),
		entering:  newGates(),
		farSpaces: newFarSpaces(),
		acls:      newACLs(),
		backfills: newBackfills(),
		inbox:     newInbox(d.Now),
		snaps:     lru.New(snapCacheBytes, snapSize),
		purges:    make(chan struct{}, 1),

		configured: d.Retention, purgeEvery: d.PurgeEvery, overwriteEvery: d.OverwriteEvery, purger: newPurger(),
	}
	s.search, err = search.New(ctx, search.Deps{
		Bus: d.Bus, DataDir: d.DataDir, DatabaseURL: d.DatabaseURL, Log: d.Log, Metrics: d.Metrics, Now: d.Now,
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.search.Close(), db.Close())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	counters, err := s.store.Counters(ctx)
	if err != nil {
		return err
	}
	s.names = newNames(s.store, counters.Name)
	if err := s.names.number(ctx); err != nil {
		return err
	}
	if err := s.loadKeeping(ctx); err != nil {
		return err
	}
	s.roomSeq.Store(counters.Room)
	s.snapSeq.Store(counters.Snap)
	s.outlierSeq.Store(min(counters.Outlier, 0))
	s.typing = newTyping(s.now, func(t *roomapi.Typing) { roomapi.TypingTopic.Publish(s.bus, t) })
	s.entries = bus.NewPublisher(s.bus, roomapi.Log, s.store.DB.Head)
	if err := s.loadClosed(ctx); err != nil {
		return err
	}
	if err := s.startInbox(ctx); err != nil {
		return err
	}
	if err := s.handle(); err != nil {
		return fmt.Errorf("roomserver: register calls: %w", err)
	}
	return nil
}

// Run does the background work until ctx ends: typing timeouts,
// old transaction ids, the search index.
func (s *Server) Run(ctx context.Context) error {
	s.work.Go(func() { s.typing.run(ctx) })
	s.work.Go(func() { s.expireTxns(ctx) })
	s.work.Go(func() { s.runInbox(ctx) })
	s.work.Go(func() { s.runPurges(ctx) })
	s.work.Go(func() { s.runInfo(ctx) })
	s.work.Go(func() { s.search.Run(ctx) })
	s.work.Go(func() { s.runRetention(ctx) })
	select {
	case <-ctx.Done():
		return nil
	case <-s.store.DB.Lost():
		return fmt.Errorf("roomserver: the database was taken over by another process")
	case <-s.search.Lost():
		return fmt.Errorf("roomserver: the search index was taken over by another process")
	}
}

// Lost is closed when the database was lost to another process.
func (s *Server) Lost() <-chan struct{} { return s.store.DB.Lost() }

// Close waits for the background work (the context of Run must have ended) and
// writes what is queued.
func (s *Server) Close() error {
	s.work.Wait()
	return errors.Join(s.search.Close(), s.store.DB.Close())
}

// handle registers the calls: one line each.
func (s *Server) handle() error {
	b := s.bus
	for _, err := range []error{
		bus.Handle(b, roomapi.Create, s.create),
		bus.Handle(b, roomapi.Send, unlessBlocked(s, func(r *roomapi.SendRequest) string { return r.RoomID }, s.send)),
		bus.Handle(b, roomapi.Redact, s.redact),
		bus.Handle(b, roomapi.Join, s.join),
		bus.Handle(b, roomapi.Knock, s.knock),
		bus.Handle(b, roomapi.Leave, s.leave),
		bus.Handle(b, roomapi.Invite, unlessBlocked(s, func(r *roomapi.MembershipRequest) string { return r.RoomID }, s.invite)),
		bus.Handle(b, roomapi.Kick, s.kick),
		bus.Handle(b, roomapi.Ban, s.ban),
		bus.Handle(b, roomapi.Unban, s.unban),
		bus.Handle(b, roomapi.Forget, s.forget),
		bus.Handle(b, roomapi.UpdateProfile, s.updateProfile),
		bus.Handle(b, roomapi.SetTyping, s.setTyping),
		bus.Handle(b, roomapi.SetReceipt, s.setReceipt),
		bus.Handle(b, roomapi.SetAlias, s.setAlias),
		bus.Handle(b, roomapi.DeleteAlias, s.deleteAlias),
		bus.Handle(b, roomapi.ResolveAlias, s.resolveAlias),
		bus.Handle(b, roomapi.Aliases, s.listAliases),
		bus.Handle(b, roomapi.LocalAliases, s.localAliases),
		bus.Handle(b, roomapi.GetEvent, s.getEvent),
		bus.Handle(b, roomapi.GetStateEvent, s.getStateEvent),
		bus.Handle(b, roomapi.Messages, s.messages),
		bus.Handle(b, roomapi.Context, s.context),
		bus.Handle(b, roomapi.Relations, s.relations),
		bus.Handle(b, roomapi.Threads, s.threads),
		bus.Handle(b, roomapi.Memberships, s.memberships),
		bus.Handle(b, roomapi.InviteState, s.inviteState),
		bus.Handle(b, roomapi.Receipts, s.receipts),
		bus.Handle(b, roomapi.GetSummary, s.getSummary),
		bus.Handle(b, roomapi.Hierarchy, s.hierarchy),
		bus.Handle(b, roomapi.PublicRooms, s.publicRooms),
		bus.Handle(b, roomapi.IsPublished, s.isPublished),
		bus.Handle(b, roomapi.SetPublished, s.setPublished),
		bus.Handle(b, roomapi.EventAt, s.eventAt),
		bus.Handle(b, roomapi.Upgrade, s.upgrade),
		bus.Handle(b, roomapi.MutualRooms, s.mutualRooms),
		bus.Handle(b, roomapi.FindUsers, s.findUsers),
		bus.Handle(b, roomapi.LocalMembers, s.localMembers),
		bus.Handle(b, roomapi.Search, s.searchEvents),
		bus.Handle(b, roomapi.FindEvent, s.findEvent),
		bus.HandleStream(b, roomapi.StateStream, s.streamState),
		bus.HandleStream(b, roomapi.WindowStream, s.streamWindow),
		s.handleUnread(),
		s.handleRetention(),
		s.handleMembership(),
		s.handleAdmin(),
		s.handleFederationReads(),
		s.handleOutgoing(),
		s.handleInput(),
		bus.HandleStream(b, roomapi.PeersStream, s.streamPeers),
		bus.ServeLog(b, roomapi.Log, s.readLog),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}
