package roomserver

import (
	"context"
	"errors"
	"sync"
	"time"

	"hearth/federationapi/remoteapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/internal/pduwire"
	"hearth/internal/store"
	"hearth/roomserver/roomapi"
)

// inviteElsewhere invites a user of another server, whose server must sign the event before it
// enters the room ("Inviting to a room"). The room is not locked meanwhile. allowed may refuse
// the invite, or answer with an event that makes it needless.
func (s *Server) inviteElsewhere(ctx context.Context, roomID string, d draft, allowed func(b *batch) (eventID string, err error)) (string, error) {
	p, eventID, err := s.proposeInvite(ctx, roomID, d, allowed)
	if err != nil || eventID != "" {
		return eventID, err
	}
	if err := s.recommendInvite(ctx, p); err != nil {
		return "", err
	}
	resp, err := remoteapi.SendInvite.Do(ctx, s.bus, p)
	if err != nil {
		var tried attempts
		tried.failed(err)
		return "", tried.err()
	}
	v, _ := pdu.Version(p.RoomVersion)
	signed, err := signedInvite(v, p, resp.Event)
	if err != nil {
		return "", err
	}
	return signed.EventID, s.enterOwn(ctx, roomID, signed)
}

// recommendInvite puts the signature of the room's policy server on an invite.
func (s *Server) recommendInvite(ctx context.Context, p *remoteapi.InviteRequest) error {
	r, h, done, err := s.view(ctx, p.RoomID)
	if err != nil {
		return err
	}
	defer done()
	policy, err := s.policyServer(ctx, r, h)
	if err != nil || policy == nil {
		return err
	}
	ev, err := p.Event.Load(r.version)
	if err != nil {
		return err
	}
	if ev, err = s.recommended(ctx, policy, ev); err == nil {
		p.Event = pduwire.Of(ev)
	}
	return err
}

// proposeInvite builds the invite and what the other server gets with it.
func (s *Server) proposeInvite(ctx context.Context, roomID string, d draft, allowed func(b *batch) (string, error)) (p *remoteapi.InviteRequest, eventID string, err error) {
	lr, err := s.lockRoom(ctx, roomID)
	if err != nil {
		return nil, "", notAMember(err)
	}
	defer lr.unlock()
	b := lr.begin()
	if eventID, err = allowed(b); err != nil || eventID != "" {
		return nil, eventID, err
	}
	it, err := b.build(ctx, d)
	if err != nil {
		return nil, "", err
	}
	if err := b.permits(ctx, it.ev); err != nil {
		return nil, "", err
	}
	state, err := s.shownOutside(ctx, b.stateEvent, d.sender)
	if err != nil {
		return nil, "", err
	}
	return &remoteapi.InviteRequest{
		Destination: pdu.Domain(*d.stateKey), RoomID: roomID, RoomVersion: lr.version.ID, Event: pduwire.Of(it.ev), State: state,
	}, "", nil
}

// signedInvite checks that what came back is our invite with the other server's signature.
func signedInvite(v *pdu.RoomVersion, p *remoteapi.InviteRequest, answer pduwire.PDU) (*pdu.Event, error) {
	ours, err := p.Event.Load(v)
	if err != nil {
		return nil, err
	}
	ev, err := pdu.Parse(v, answer.JSON)
	if err != nil || ev.Redacted || ev.EventID != ours.EventID {
		return nil, badAnswer("The invite is another one")
	}
	if v.EventFormat == 1 && string(ev.Content) != string(ours.Content) {
		return nil, badAnswer("The invite is another one") // an id says nothing of the content
	}
	signed := map[string]bool{}
	for _, sig := range ev.Signatures() {
		signed[sig.Server] = true
	}
	if !signed[p.Destination] || !signed[pdu.Domain(ours.Sender)] {
		return nil, badAnswer("The invite is not signed")
	}
	return ev, nil
}

// enterOwn lets an event of ours that another server has signed too enter the room.
func (s *Server) enterOwn(ctx context.Context, roomID string, ev *pdu.Event) error {
	for attempt := 0; ; attempt++ {
		err := s.tryEnterOwn(ctx, roomID, ev)
		if !errors.Is(err, store.ErrStale) || attempt == 3 {
			return err
		}
	}
}

func (s *Server) tryEnterOwn(ctx context.Context, roomID string, ev *pdu.Event) error {
	lr, err := s.lockRoom(ctx, roomID)
	if err != nil {
		return err
	}
	if err = lr.begin().permits(ctx, ev); err != nil { // the room has moved on
		lr.unlock()
		return err
	}
	v, wait, err := s.step(ctx, lr, &incoming{ev: ev, federate: true})
	lr.unlock()
	switch {
	case err != nil:
		return err
	case v.missing():
		return merr.Unavailable("The room's history is incomplete, try again")
	case wait == nil:
		return nil
	}
	return wait(ctx)
}

// Bounds of the invites to users of other servers that a new room comes with.
const (
	inviteWorkers = 8
	invitesTime   = 25 * time.Second
)

// inviteAll invites users of other servers to a new room. The room is there whatever becomes
// of the invites, so errors are only noted.
func (s *Server) inviteAll(ctx context.Context, roomID string, req *roomapi.CreateRequest) {
	ctx, cancel := context.WithTimeout(ctx, invitesTime)
	defer cancel()
	slots := make(chan struct{}, inviteWorkers)
	var work sync.WaitGroup
	for _, who := range req.Invite {
		if s.isLocal(who.UserID) {
			continue
		}
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			m := memberContent{membership: "invite", profile: who.Profile, isDirect: req.IsDirect}
			if _, err := s.inviteUser(ctx, roomID, req.Creator, who.UserID, m); err != nil {
				s.log.WithError(err).WithField("room", roomID).Info("invite to a new room failed")
			}
		})
	}
	work.Wait()
}

// inviteUser invites a user of another server.
func (s *Server) inviteUser(ctx context.Context, roomID, sender, target string, m memberContent) (string, error) {
	content, err := m.canonical()
	if err != nil {
		return "", err
	}
	d := draft{typ: memberType, sender: sender, stateKey: &target, content: content}
	return s.inviteElsewhere(ctx, roomID, d, func(b *batch) (string, error) { return b.mayInvite(ctx, sender, target) })
}

// mayInvite says what the plain rules for an invite are: who is there already is not invited,
// and one invite is enough.
func (b *batch) mayInvite(ctx context.Context, sender, target string) (eventID string, err error) {
	if err := b.mustBeJoined(ctx, sender); err != nil {
		return "", err
	}
	before, e, err := b.membership(ctx, target)
	if err != nil {
		return "", err
	}
	switch before {
	case "join":
		return "", merr.Forbidden("The user is already in this room")
	case "ban":
		return "", merr.Forbidden("The user is banned from this room")
	case "invite":
		return e.ev.EventID, nil
	}
	return "", nil
}
