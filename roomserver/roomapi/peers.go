package roomapi

import (
	"context"
	"errors"

	"hearth/internal/bus"
	"hearth/internal/merr"
)

// PeersStream tells with whom a user shares encrypted rooms; read it with ReadPeers.
var PeersStream = bus.Stream[PeersRequest]{Subject: "roomserver.peers"}

// PeersRequest asks about one user at two positions of the room log; To 0: the head.
type PeersRequest struct {
	UserID   string
	From, To int64
	// Candidates are users of whom it is asked whether they are peers at To.
	Candidates []string
	// Changes asks for those who became or ceased to be peers from From to To.
	Changes bool
}

// Peers are users who, at a position, have joined an encrypted room that the user has
// joined too. The user is not a peer of himself.
type Peers struct {
	Shared []string // the candidates that are peers at To
	Joined []string // peers at To that were none at From
	Left   []string // peers at From that are none at To
}

// Kinds of peers in the stream.
const (
	peerShared = 1
	peerJoined = 2
	peerLeft   = 3
)

// Append appends the form of p in the stream.
func (p *Peers) Append(dst []byte) []byte {
	e := bus.NewEncoder(dst)
	for kind, list := range map[uint64][]string{peerShared: p.Shared, peerJoined: p.Joined, peerLeft: p.Left} {
		for _, user := range list {
			e.Uint(kind)
			e.String(user)
		}
	}
	return e.Buffer()
}

// ReadPeers reads a PeersStream whole.
func ReadPeers(ctx context.Context, b *bus.Bus, req *PeersRequest) (*Peers, error) {
	p := &Peers{}
	var all []byte
	err := PeersStream.Do(ctx, b, req, func(chunk []byte) error {
		all = append(all, chunk...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	d := bus.NewDecoder(all)
	for d.Len() > 0 && d.Err() == nil {
		kind, user := d.Uint(), d.String()
		switch kind {
		case peerShared:
			p.Shared = append(p.Shared, user)
		case peerJoined:
			p.Joined = append(p.Joined, user)
		case peerLeft:
			p.Left = append(p.Left, user)
		}
	}
	if d.Err() != nil {
		return nil, merr.Internal(errors.New("peers: the stream is broken"))
	}
	return p, nil
}
