package roomserver

import (
	"context"
	"encoding/base64"
	"net/http"
	"time"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"

	"hearth/federationapi/remoteapi"
)

// Bounds of one attempt to enter or leave a room by way of other servers.
const (
	maxDestinations = 20
	makeTime        = 20 * time.Second // for a template
	handshakeTime   = 4 * time.Minute  // for all servers together
)

// handshake makes a member event of a user of ours for a room that we are not in: another
// server, which is, gives a template with the event's place in the room.
type handshake struct {
	s              *Server
	roomID, userID string
	content        memberContent
}

// made is a member event as we have built it, and who gave the template.
type made struct {
	destination string
	version     *pdu.RoomVersion
	ev          *pdu.Event
}

// make asks a server for a template and builds the event from it. Of the template only
// what says where the event stands is used, and for a join who vouches for it.
func (h *handshake) make(ctx context.Context, destination string) (*made, error) {
	ctx, cancel := context.WithTimeout(ctx, makeTime)
	defer cancel()
	req := &remoteapi.MakeRequest{
		Destinations: []string{destination}, RoomID: h.roomID, UserID: h.userID, Membership: h.content.membership,
	}
	if h.content.membership != "leave" {
		for _, v := range pdu.Versions() {
			req.Versions = append(req.Versions, v.ID)
		}
	}
	resp, err := remoteapi.MakeMembership.Do(ctx, h.s.bus, req)
	if err != nil {
		return nil, err
	}
	id := resp.RoomVersion
	if id == "" {
		id = "1"
	}
	v, ok := pdu.Version(id)
	if !ok {
		return nil, merr.New(http.StatusBadRequest, "M_INCOMPATIBLE_ROOM_VERSION", "This server does not know the version of the room").With("room_version", id)
	}
	t, err := h.template(v, resp.Event)
	if err != nil {
		return nil, err
	}
	ev, err := pdu.Build(v, *t, h.s.key)
	if err != nil {
		return nil, err
	}
	return &made{destination: destination, version: v, ev: ev}, nil
}

// template checks a template ("Joining Rooms": what must be verified before signing).
func (h *handshake) template(v *pdu.RoomVersion, given []byte) (*pdu.Template, error) {
	given, err := pdu.Canonical(given, v.StrictJSON)
	if err != nil {
		return nil, badAnswer("The template is not valid")
	}
	is := func(key, want string) bool {
		value, ok := pdu.GetString(given, key)
		return ok && value == want
	}
	content, _ := pdu.Get(given, "content")
	membership, _ := pdu.GetString(content, "membership")
	if !is("room_id", h.roomID) || !is("sender", h.userID) || !is("state_key", h.userID) || !is("type", memberType) || membership != h.content.membership {
		return nil, badAnswer("The template is for another event")
	}
	m := h.content
	if m.membership == "join" && v.RestrictedJoins {
		if by, ok := pdu.GetString(content, authorisedVia); ok {
			if _, _, err := pdu.ParseUserID(by); err != nil {
				return nil, badAnswer("The template names no user who authorises the join")
			}
			m.authorisedBy = by
		}
	}
	own, err := m.canonical()
	if err != nil {
		return nil, err
	}
	t := &pdu.Template{
		RoomID: h.roomID, Type: memberType, Sender: h.userID, StateKey: &h.userID, Content: own, OriginServerTS: h.s.now().UnixMilli(),
	}
	var ok1, ok2, ok3 bool
	t.PrevEvents, ok1 = references(v, given, "prev_events", pdu.MaxPrevEvents)
	t.AuthEvents, ok2 = references(v, given, "auth_events", pdu.MaxAuthEvents)
	t.Depth, ok3 = pdu.GetInt(given, "depth")
	if !ok1 || !ok2 || !ok3 || t.Depth < 0 || t.Depth > pdu.MaxDepth {
		return nil, badAnswer("The template has no place in the room")
	}
	return t, nil
}

// references reads prev_events or auth_events of a template.
func references(v *pdu.RoomVersion, given []byte, key string, most int) (refs []pdu.Ref, ok bool) {
	list, ok := pdu.Get(given, key)
	if !ok || pdu.Kind(list) != '[' {
		return nil, false
	}
	whole := pdu.Elements(list, func(val []byte) bool {
		var ref pdu.Ref
		if v.EventFormat != 1 {
			ref.EventID, ok = pdu.String(val)
		} else {
			ref, ok = pairRef(val)
		}
		if ok = ok && ref.EventID != "" && ref.EventID[0] == '$' && len(ref.EventID) <= pdu.MaxIDLength && len(refs) < most; ok {
			refs = append(refs, ref)
		}
		return ok
	})
	return refs, ok && whole
}

// pairRef reads a reference of event format 1: an id and hashes.
func pairRef(pair []byte) (ref pdu.Ref, ok bool) {
	n := 0
	pdu.Elements(pair, func(val []byte) bool {
		switch n++; n {
		case 1:
			ref.EventID, ok = pdu.String(val)
		case 2:
			hash, _ := pdu.GetString(val, "sha256")
			sum, err := base64.RawStdEncoding.DecodeString(hash)
			ok = ok && err == nil && len(sum) == 32
			ref.SHA256 = sum
		}
		return true
	})
	return ref, ok && n == 2
}

// badAnswer says that another server has answered what it must not.
func badAnswer(format string, args ...any) *merr.Error {
	return merr.New(http.StatusBadGateway, "M_UNKNOWN", "The other server's answer is not valid: "+format, args...)
}

// attempts collects why servers would not do, to answer with what tells most.
type attempts struct{ best error }

// failed notes an error; stop says that other servers would not answer otherwise.
func (a *attempts) failed(err error) (stop bool) {
	if a.best == nil || rank(err) > rank(a.best) {
		a.best = err
	}
	return merr.From(err).Code == "M_INCOMPATIBLE_ROOM_VERSION"
}

// rank orders errors by how much they say of the room.
func rank(err error) int {
	switch e := merr.From(err); {
	case e.Code == "M_INCOMPATIBLE_ROOM_VERSION":
		return 4
	case e.Status == http.StatusForbidden:
		return 3
	case e.Status == http.StatusBadRequest:
		return 2
	case e.Status == http.StatusNotFound:
		return 1
	}
	return 0
}

// err is what the client gets to see. What the other server says of a request that the client
// did not make is no answer to the client ("send_join", 400).
func (a *attempts) err() error {
	if a.best == nil {
		return merr.NotFound("No server is known that could help with this room").WithCause(errNoRoom)
	}
	switch e := merr.From(a.best); e.Code {
	case "M_INVALID_PARAM", "M_MISSING_PARAM", "M_BAD_JSON", "M_NOT_JSON":
		return merr.New(http.StatusBadGateway, "M_UNKNOWN", "The other server did not accept the request").WithCause(a.best)
	}
	return a.best
}

// destinations lists servers that may be in a room, the likeliest first.
func (s *Server) destinations(ctx context.Context, roomID, userID string, via []string) ([]string, error) {
	var list []string
	seen := map[string]bool{s.serverName: true}
	add := func(names ...string) {
		for _, name := range names {
			if _, _, err := pdu.ParseServerName(name); err != nil || seen[name] || len(list) == maxDestinations {
				continue
			}
			seen[name] = true
			list = append(list, name)
		}
	}
	inviter, hosts, err := s.knownHosts(ctx, roomID, userID)
	if err != nil {
		return nil, err
	}
	add(via...)
	add(inviter)
	add(hosts...)
	if _, domain, err := pdu.ParseRoomID(roomID); err == nil {
		add(domain)
	}
	return list, nil
}

// knownHosts are the server of who invited a user, "" if there is none, and those that were
// in the room when we last were.
func (s *Server) knownHosts(ctx context.Context, roomID, userID string) (inviter string, hosts []string, err error) {
	switch o, _, err := s.outside(ctx, roomID, userID); {
	case err == nil:
		if ev, err := outsideEvent(o); err == nil && ev.Sender != userID {
			inviter = pdu.Domain(ev.Sender)
		}
	case notFoundAs(err, nil) != nil:
		return "", nil, err
	}
	r, h, done, err := s.view(ctx, roomID)
	if err != nil {
		if merr.From(err).Status == http.StatusNotFound {
			err = nil
		}
		return inviter, nil, err
	}
	defer done()
	if inviter == "" {
		own, err := s.committedState(ctx, r, h, memberType, userID)
		if err != nil {
			return "", nil, err
		}
		if own != nil && own.client.Membership == "invite" {
			inviter = pdu.Domain(own.ev.Sender)
		}
	}
	return inviter, h.hosts.list(), nil
}

// find translates a room id or alias; servers are those that the alias's server has named.
func (s *Server) find(ctx context.Context, idOrAlias string) (roomID string, servers []string, err error) {
	if idOrAlias == "" || idOrAlias[0] != '#' {
		if _, _, err := pdu.ParseRoomID(idOrAlias); err != nil {
			return "", nil, merr.InvalidParam("Invalid room id or alias")
		}
		return idOrAlias, nil, nil
	}
	found, err := s.resolveAlias(ctx, &roomapi.AliasRequest{Alias: idOrAlias})
	if err != nil {
		return "", nil, err
	}
	return found.RoomID, found.Servers, nil
}
