package delayed

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"hearth/internal/bus"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
)

const (
	// MaxScheduled is how many events of a user may wait.
	MaxScheduled = 100
	// MaxDelay is the longest delay.
	MaxDelay = 31 * 24 * time.Hour

	maxEnded  = 1000 // events of a user that have ended
	keepEnded = 7 * 24 * time.Hour
	sweep     = time.Hour
	batch     = 64 // events that are read at once
	parallel  = 8  // events that are being sent
	// again is when an event is tried again that could not be sent because of us.
	again = 2 * time.Second
	locks = 256
)

// Deps is what the package needs.
type Deps struct {
	Bus                  *bus.Bus
	DataDir, DatabaseURL string
	Log                  *logrus.Entry
	Metrics              prometheus.Registerer
	Now                  func() time.Time
	// Limit refuses a user who sends too much.
	Limit func(userID string) error
	// Sender refuses a user who may not send any more. With silent nothing is sent either,
	// but the user is not to know.
	Sender func(ctx context.Context, userID string) (silent bool, err error)
}

// Server keeps and sends delayed events.
type Server struct {
	bus   *bus.Bus
	log   *logrus.Entry
	now   func() time.Time
	limit func(userID string) error
	may   func(ctx context.Context, userID string) (silent bool, err error)
	db    database
	wake  chan struct{} // something is to be sent sooner than it was
	locks [locks]sync.Mutex
}

// New opens the store; Run must follow.
func New(ctx context.Context, d Deps) (*Server, error) {
	db, err := openDatabase(ctx, store.Options{DataDir: d.DataDir, URL: d.DatabaseURL, Log: d.Log, Metrics: d.Metrics, Now: d.Now})
	if err != nil {
		return nil, err
	}
	return &Server{bus: d.Bus, log: d.Log, now: d.Now, limit: d.Limit, may: d.Sender, db: db, wake: make(chan struct{}, 1)}, nil
}

// Close releases the database.
func (s *Server) Close() error { return s.db.Close() }

// Event is what is to be sent.
type Event struct {
	UserID, DeviceID, TxnID string
	RoomID, Type            string
	StateKey                *string
	Content                 []byte
	// Timestamp is as in roomapi.SendRequest.
	Timestamp int64
	Delay     time.Duration
}

// Schedule stores an event and returns the id of the delay. The same transaction id
// gives the same.
func (s *Server) Schedule(ctx context.Context, e *Event) (string, error) {
	if e.Delay < time.Millisecond {
		return "", merr.InvalidParam("The delay must be positive")
	}
	if e.Delay > MaxDelay {
		return "", merr.Forbidden("The longest delay is %d milliseconds", MaxDelay.Milliseconds())
	}
	if e.Type == "" || !storable(e.Type) || e.StateKey != nil && !storable(*e.StateKey) {
		return "", merr.InvalidParam("Invalid event type or state key")
	}
	content, err := pdu.Canonical(e.Content, true)
	if err != nil {
		return "", err
	}
	if len(content) > pdu.MaxEventSize {
		return "", merr.TooLarge("The content is too large for an event")
	}
	now := s.now().UnixMilli()
	stored := &event{
		id: rand.Text(), userID: e.UserID, device: e.DeviceID, room: e.RoomID, typ: e.Type, stateKey: e.StateKey,
		content: content, ts: e.Timestamp, delay: e.Delay.Milliseconds(), since: now, at: now + e.Delay.Milliseconds(),
	}
	if e.TxnID != "" {
		stored.txn = e.RoomID + "/" + e.Type + "/" + e.TxnID
	}
	id, err := s.db.insert(ctx, stored)
	if err != nil {
		return "", err
	}
	s.ring()
	return id, nil
}

func storable(text string) bool {
	return len(text) <= pdu.MaxIDLength && strings.IndexByte(text, 0) < 0
}

func (s *Server) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// lock keeps others from changing a delayed event.
func (s *Server) lock(id string) (unlock func()) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // never fails
	l := &s.locks[h.Sum32()%locks]
	l.Lock()
	return l.Unlock
}

// Run sends what is due until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	swept := time.Time{}
	for ctx.Err() == nil {
		if now := s.now(); now.Sub(swept) >= sweep {
			swept = now
			if err := s.db.expire(ctx, now.Add(-keepEnded).UnixMilli()); err != nil && ctx.Err() == nil {
				s.log.WithError(err).Warn("delayed: could not forget old events")
			}
		}
		wait, err := s.sendDue(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.WithError(err).Warn("delayed: could not send events")
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// sendDue sends what is due, in the order of its time, and returns how long to wait.
func (s *Server) sendDue(ctx context.Context) (wait time.Duration, err error) {
	now := s.now().UnixMilli()
	events, next, err := s.db.due(ctx, now, batch)
	if err != nil {
		return again, err
	}
	// One user's events stay in order; those of others need not wait for them.
	byUser := make(map[string][]*event)
	var users []string
	for _, e := range events {
		if byUser[e.userID] == nil {
			users = append(users, e.userID)
		}
		byUser[e.userID] = append(byUser[e.userID], e)
	}
	var group errgroup.Group // a user's failure does not keep others waiting
	group.SetLimit(parallel)
	for _, user := range users {
		group.Go(func() error {
			for _, e := range byUser[user] {
				if _, err := s.fire(ctx, e.id); err != nil {
					return err
				}
			}
			return nil
		})
	}
	switch err := group.Wait(); {
	case err != nil:
		return again, err
	case len(events) == batch:
		return 0, nil
	case next == 0:
		return sweep, nil
	}
	return min(sweep, max(0, time.Duration(next-s.now().UnixMilli())*time.Millisecond)), nil
}

// fire sends an event whose time has come; an error says that it is to be tried again.
func (s *Server) fire(ctx context.Context, id string) (*event, error) {
	defer s.lock(id)()
	e, err := s.db.get(ctx, id)
	if errors.Is(err, merr.NotFound("")) {
		return nil, nil
	}
	if err != nil || e.state != scheduled || e.at > s.now().UnixMilli() {
		return e, err
	}
	if err = s.limit(e.userID); err == nil {
		e.eventID, err = s.send(ctx, e)
	}
	e.state, e.ended = sent, s.now().UnixMilli()
	if err != nil {
		failure := merr.From(err)
		if failure.Temporary && failure.Code != "M_LIMIT_EXCEEDED" || failure.Status >= 500 || ctx.Err() != nil {
			return nil, fmt.Errorf("send a delayed event: %w", err)
		}
		e.state, e.failure = cancelled, failure.Body()
	}
	return e, s.db.end(ctx, e)
}

// send sends an event. The id of the delay is the transaction id.
func (s *Server) send(ctx context.Context, e *event) (string, error) {
	silent, err := s.may(ctx, e.userID)
	if err != nil {
		return "", err
	}
	if silent {
		sum := sha256.Sum256([]byte(e.id))
		return "$" + base64.RawURLEncoding.EncodeToString(sum[:]), nil // no event has it
	}
	answer, err := roomapi.Send.Do(ctx, s.bus, &roomapi.SendRequest{
		RoomID: e.room, Sender: e.userID, DeviceID: roomapi.DelayedDevice, TxnID: e.id,
		Type: e.typ, StateKey: e.stateKey, Content: e.content, Timestamp: e.ts,
	})
	if err != nil {
		return "", err
	}
	return answer.EventID, nil
}
