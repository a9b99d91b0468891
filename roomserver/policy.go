package roomserver

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"hearth/federationapi/remoteapi"
	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/storage"
)

const (
	policyType = "m.room.policy"
	// policyKey is the id of every key with which a policy server signs.
	policyKey = "ed25519:policy_server"
	// policyTime is how long the signatures for what is to enter a room together may take.
	policyTime = 10 * time.Second
	// maxPolicyAsks is for how many events of others signatures are asked at once.
	maxPolicyAsks = 200
	policyAtOnce  = 8
	// policyTries is how often an event of ours is signed anew because the room went on
	// meanwhile, until the room has to wait for the signature.
	policyTries = 3
)

// policyServer is the server that must recommend a room's events.
type policyServer struct {
	name string
	key  ed25519.PublicKey
}

// policyOf tells a room's policy server from its current state; nil if it uses none
// ("Determining if a Policy Server is enabled in a room").
func policyOf(e *pdu.Event, h *hosts) *policyServer {
	if e == nil {
		return nil
	}
	via, named := pdu.GetString(e.Content, "via")
	keys, _ := pdu.Get(e.Content, "public_keys")
	text, keyed := pdu.GetString(keys, "ed25519")
	if !named || !keyed || !h.has(via) {
		return nil
	}
	// No signature is valid for what is not a key.
	key, _ := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	return &policyServer{via, key}
}

// policyServer is that of the room before the batch.
func (b *batch) policyServer(ctx context.Context) (*policyServer, error) {
	if b.base == nil {
		return nil, nil
	}
	key, ok, err := b.s.stateKey(ctx, policyType, "")
	if err != nil || !ok {
		return nil, err
	}
	nid := b.base.view.Get(key)
	if nid == 0 {
		return nil, nil
	}
	e, err := b.s.event(ctx, b.room.room, nid)
	if err != nil {
		return nil, err
	}
	return policyOf(e.ev, b.base.hosts), nil
}

// policyServer is that of a room as it is committed.
func (s *Server) policyServer(ctx context.Context, r *room, h *head) (*policyServer, error) {
	e, err := s.committedState(ctx, r, h, policyType, "")
	if err != nil || e == nil {
		return nil, err
	}
	return policyOf(e.ev, h.hosts), nil
}

// recommends reports whether an event has a valid signature of the policy server, or needs none.
func (p *policyServer) recommends(ev *pdu.Event) bool {
	return p == nil || ev.Type == policyType && ev.StateKeyEquals("") || ev.VerifySignature(p.name, policyKey, p.key) == nil
}

// recommended returns an event with the policy server's signature, which is asked for if it is
// not there. What the policy server says against it is the error.
func (s *Server) recommended(ctx context.Context, p *policyServer, ev *pdu.Event) (*pdu.Event, error) {
	if p.recommends(ev) {
		return ev, nil
	}
	if p.name == s.serverName {
		return nil, merr.Forbidden("The policy server of the room does not sign events")
	}
	answer, err := remoteapi.PolicySign.Do(ctx, s.bus, &remoteapi.PolicySignRequest{Destination: p.name, Event: ev.JSON})
	if err != nil {
		return nil, err
	}
	of, _ := pdu.Get(answer.JSON, p.name)
	sig, _ := pdu.GetString(of, policyKey)
	signed, err := ev.WithSignature(p.name, policyKey, sig)
	if err != nil {
		return nil, err
	}
	if !p.recommends(signed) {
		return nil, merr.Forbidden("The signature of the room's policy server is not valid")
	}
	return signed, nil
}

// recommend puts signatures of the room's policy server on events of others that lack them, as
// far as they are to be had. The room is not locked.
func (s *Server) recommend(ctx context.Context, r *room, h *head, events []*pdu.Event) error {
	p, err := s.policyServer(ctx, r, h)
	if err != nil || p == nil {
		return err
	}
	var ids []string
	for _, ev := range events {
		if !p.recommends(ev) {
			ids = append(ids, ev.EventID)
		}
	}
	known, err := s.eventsByID(ctx, r, ids)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, policyTime)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(policyAtOnce)
	asked := 0
	for i, ev := range events {
		if e := known[ev.EventID]; p.recommends(ev) || e != nil && e.flags&storage.FlagOutlier == 0 {
			continue
		}
		if asked++; asked > maxPolicyAsks {
			break
		}
		g.Go(func() error {
			if signed, err := s.recommended(ctx, p, ev); err == nil {
				events[i] = signed
			}
			return nil // without the signature it is soft-failed
		})
	}
	return g.Wait()
}

// recommended gets the signatures for the batch's events.
func (b *batch) recommended(ctx context.Context, p *policyServer) error {
	ctx, cancel := context.WithTimeout(ctx, policyTime)
	defer cancel()
	for _, it := range b.items {
		signed, err := b.s.recommended(ctx, p, it.ev)
		if err != nil {
			return err
		}
		it.ev, it.row.JSON = signed, signed.JSON
	}
	return nil
}

// errMoved says that a room went on while its policy server was asked.
var errMoved = errors.New("roomserver: the room went on")

// awaitPolicy gets what the room's policy server must say of a batch. Unless hold is true the
// room is unlocked meanwhile, and errMoved is returned if it is another one then. On an error
// the room is not locked.
func (b *batch) awaitPolicy(ctx context.Context, hold bool) error {
	if len(b.items) == 0 {
		return nil
	}
	p, err := b.policyServer(ctx)
	if err == nil && p == nil {
		return nil
	}
	if err == nil && hold {
		err = b.recommended(ctx, p)
	}
	if err != nil || hold {
		if err != nil {
			b.room.unlock()
		}
		return err
	}
	was := b.room
	was.unlock()
	if err := b.recommended(ctx, p); err != nil {
		return err
	}
	lr, err := b.s.lockRoom(ctx, was.id)
	if err != nil {
		return err
	}
	if lr.room != was.room || lr.staged != b.base {
		lr.unlock()
		return errMoved
	}
	b.room = lr
	return nil
}
