package roomserver

import (
	"context"
	"errors"
	"time"

	"hearth/internal/merr"
	"hearth/roomserver/auth"
)

// dummyType is the type of events that do nothing but follow all forward extremities.
const dummyType = "org.matrix.dummy_event"

const (
	// tidyAbove is how many forward extremities a room may have before a dummy event joins them.
	tidyAbove = 10
	// tidyEvery is the time between two tries in one room.
	tidyEvery = 30 * time.Second
	// maxTidiers is how many users of ours are looked at for one who may send it.
	maxTidiers = 50
)

// tidy keeps the forward extremities of a room few: each of them makes state resolution
// dearer. A user of ours who may do so sends a dummy event. It does not go to other servers by
// itself, which would make the same of it at the same time; they get it with the next event.
func (s *Server) tidy(ctx context.Context, lr *lockedRoom) (wait func(context.Context) error, err error) {
	if len(lr.staged.extremities) <= tidyAbove || s.now().Sub(lr.tidied) < tidyEvery {
		return nil, nil
	}
	lr.tidied = s.now()
	return s.dummy(ctx, lr)
}

// dummy lets a user of ours send a dummy event; wait is nil if nobody may.
func (s *Server) dummy(ctx context.Context, lr *lockedRoom) (wait func(context.Context) error, err error) {
	b := lr.begin()
	if policy, err := b.policyServer(ctx); err != nil || policy != nil {
		return nil, err // the room would have to wait for its policy server
	}
	st := &authState{ctx: ctx, b: b}
	levels := auth.LevelsOf(lr.version, st)
	candidates := namedUsers(st)
	if st.err != nil {
		return nil, st.err
	}
	nids, err := s.store.UsersOf(ctx, lr.nid, s.serverName, maxTidiers)
	if err != nil {
		return nil, err
	}
	texts, err := s.names.texts(ctx, nids)
	if err != nil {
		return nil, err
	}
	for _, nid := range nids {
		candidates = append(candidates, texts[nid])
	}
	for _, user := range candidates {
		if !s.isLocal(user) || levels.User(user) < levels.ForEvent(dummyType, false) {
			continue
		}
		it, err := b.add(ctx, draft{typ: dummyType, sender: user, content: []byte("{}")})
		if errors.Is(err, merr.Forbidden("")) {
			continue // is not in the room any more
		}
		if err != nil {
			return nil, err
		}
		it.federate = false
		return b.stage()
	}
	return nil, nil
}
