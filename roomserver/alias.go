package roomserver

import (
	"context"
	"errors"
	"sync"

	"hearth/federationapi/remoteapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/store"
	"hearth/roomserver/auth"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// reservations are aliases whose making is under way: a second request for the
// same alias fails before anything is written.
type reservations struct {
	mu    sync.Mutex
	taken map[string]bool
}

func newReservations() *reservations { return &reservations{taken: make(map[string]bool)} }

func (r *reservations) take(alias string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken[alias] {
		return false
	}
	r.taken[alias] = true
	return true
}

func (r *reservations) give(alias string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.taken, alias)
}

// reserveAlias claims a free alias until release is called: 400 M_ROOM_IN_USE otherwise.
func (s *Server) reserveAlias(ctx context.Context, alias string) (release func(), err error) {
	inUse := merr.New(400, "M_ROOM_IN_USE", "The room alias is taken")
	if !s.aliases.take(alias) {
		return nil, inUse
	}
	_, _, err = s.store.Alias(ctx, alias)
	if errors.Is(err, storage.ErrNotFound) {
		return func() { s.aliases.give(alias) }, nil
	}
	s.aliases.give(alias)
	if err != nil {
		return nil, err
	}
	return nil, inUse
}

// localAlias checks an alias that only this server can answer for.
func (s *Server) localAlias(alias string) error {
	_, domain, err := pdu.ParseAlias(alias)
	if err != nil {
		return merr.InvalidParam("Invalid room alias")
	}
	if domain != s.serverName {
		return merr.InvalidParam("The alias is not of this server")
	}
	return nil
}

// setAlias makes a free alias point to a room that the user is in: 409 M_UNKNOWN if it is taken.
func (s *Server) setAlias(ctx context.Context, req *roomapi.AliasRequest) (*roomapi.Empty, error) {
	if err := s.localAlias(req.Alias); err != nil {
		return nil, err
	}
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := s.mustBeMember(ctx, r, h, req.UserID); err != nil {
		return nil, err
	}
	release, err := s.reserveAlias(ctx, req.Alias)
	if errors.Is(err, merr.New(400, "M_ROOM_IN_USE", "")) {
		return nil, merr.New(409, "M_UNKNOWN", "The room alias is taken")
	}
	if err != nil {
		return nil, err
	}
	defer release()
	user, _, err := s.names.lookup(ctx, req.UserID)
	if err != nil {
		return nil, err
	}
	rows := storage.Append{Aliases: []storage.Alias{{Alias: req.Alias, Room: r.nid, Creator: user}}}
	return &roomapi.Empty{}, s.store.DB.Write(ctx, rows.Write)
}

// deleteAlias removes an alias: its maker may, and who may set the room's
// canonical alias.
func (s *Server) deleteAlias(ctx context.Context, req *roomapi.AliasRequest) (*roomapi.Empty, error) {
	if err := s.localAlias(req.Alias); err != nil {
		return nil, err
	}
	alias, roomID, err := s.store.Alias(ctx, req.Alias)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, merr.NotFound("Unknown room alias")
	}
	if err != nil {
		return nil, err
	}
	user, known, err := s.names.lookup(ctx, req.UserID)
	if err != nil {
		return nil, err
	}
	if !req.Manages && (!known || user != alias.Creator) {
		if err := s.mayManageAliases(ctx, roomID, req.UserID); err != nil {
			return nil, err
		}
	}
	return &roomapi.Empty{}, s.store.DB.Write(ctx, func(tx *store.Tx) error { return storage.DeleteAlias(tx, req.Alias) })
}

func (s *Server) mayManageAliases(ctx context.Context, roomID, userID string) error {
	r, h, done, err := s.view(ctx, roomID)
	if err != nil {
		return err
	}
	defer done()
	if err := s.mustBeMember(ctx, r, h, userID); err != nil {
		return err
	}
	st := &committedAuthState{ctx: ctx, s: s, room: r, head: h}
	levels := auth.LevelsOf(r.version, st)
	if st.err != nil {
		return st.err
	}
	if levels.User(userID) < levels.ForEvent("m.room.canonical_alias", true) {
		return merr.Forbidden("You may not remove this alias")
	}
	return nil
}

// resolveAlias finds the room of an alias, if need be by asking the server whose it is.
func (s *Server) resolveAlias(ctx context.Context, req *roomapi.AliasRequest) (*roomapi.AliasResponse, error) {
	_, domain, err := pdu.ParseAlias(req.Alias)
	if err != nil {
		return nil, merr.InvalidParam("Invalid room alias")
	}
	if domain != s.serverName {
		found, err := remoteapi.ResolveAlias.Do(ctx, s.bus, &remoteapi.AliasRequest{Alias: req.Alias})
		if err != nil {
			return nil, err
		}
		if _, _, err := pdu.ParseRoomID(found.RoomID); err != nil {
			return nil, badAnswer("The alias points to no room")
		}
		return &roomapi.AliasResponse{RoomID: found.RoomID, Servers: found.Servers}, nil
	}
	_, roomID, err := s.store.Alias(ctx, req.Alias)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, merr.NotFound("Unknown room alias")
	}
	if err != nil {
		return nil, err
	}
	_, h, done, err := s.view(ctx, roomID)
	if err != nil {
		return nil, err
	}
	defer done()
	servers := append([]string{s.serverName}, h.hosts.list()...)
	return &roomapi.AliasResponse{RoomID: roomID, Servers: servers[:min(len(servers), maxAliasServers)]}, nil
}

// maxAliasServers is how many servers of a room an answer names.
const maxAliasServers = 50

// maxAliases bounds what listAliases answers.
const maxAliases = 1000

// listAliases lists the aliases of a room to a member, or to anyone if the room is world readable.
func (s *Server) listAliases(ctx context.Context, req *roomapi.RoomRequest) (*roomapi.AliasesResponse, error) {
	r, h, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := s.mustBeMember(ctx, r, h, req.UserID); err != nil {
		readable, verr := s.worldReadable(ctx, r, h)
		if verr != nil {
			return nil, verr
		}
		if !readable {
			return nil, err
		}
	}
	aliases, err := s.store.Aliases(ctx, r.nid, maxAliases)
	if err != nil {
		return nil, err
	}
	return &roomapi.AliasesResponse{Aliases: append([]string{}, aliases...)}, nil
}

// localAliases is listAliases for the server itself.
func (s *Server) localAliases(ctx context.Context, req *roomapi.RoomRequest) (*roomapi.AliasesResponse, error) {
	r, _, done, err := s.view(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	defer done()
	aliases, err := s.store.Aliases(ctx, r.nid, maxAliases)
	return &roomapi.AliasesResponse{Aliases: aliases}, err
}

// checkCanonicalAlias refuses aliases that do not point to the room, but for those
// that its canonical alias names already ("m.room.canonical_alias"): 400 M_BAD_ALIAS.
func checkCanonicalAlias(ctx context.Context, b *batch, d *draft) error {
	if d.stateKey == nil || *d.stateKey != "" {
		return nil
	}
	known := make(map[string]bool)
	old, err := b.stateEvent(ctx, d.typ, "")
	if err != nil {
		return err
	}
	if old != nil {
		for _, alias := range canonicalAliases(old.ev.Content) {
			known[alias] = true
		}
	}
	for _, alias := range canonicalAliases(d.content) {
		if known[alias] {
			continue
		}
		if _, _, err := pdu.ParseAlias(alias); err != nil {
			return merr.InvalidParam("Invalid room alias")
		}
		found, err := b.s.resolveAlias(ctx, &roomapi.AliasRequest{Alias: alias})
		if errors.Is(err, merr.NotFound("")) || err == nil && found.RoomID != b.room.id {
			return merr.New(400, "M_BAD_ALIAS", "The room alias does not point to this room")
		}
		if err != nil {
			return err
		}
		known[alias] = true
	}
	return nil
}

// canonicalAliases lists alias and alt_aliases.
func canonicalAliases(content []byte) []string {
	var list []string
	if alias, ok := pdu.GetString(content, "alias"); ok && alias != "" {
		list = append(list, alias)
	}
	alternatives, _ := pdu.Get(content, "alt_aliases")
	pdu.Elements(alternatives, func(v []byte) bool {
		if alias, ok := pdu.String(v); ok {
			list = append(list, alias)
		}
		return true
	})
	return list
}
