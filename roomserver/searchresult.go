package roomserver

import (
	"context"

	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/search"
)

const maxSearchContext = 50

// take adds a result with its context to the page; false if it does not fit.
func (p *searching) take(ctx context.Context, h search.Hit, e *stored) (bool, error) {
	r := p.rooms[h.RoomID]
	result := &roomapi.SearchResult{RoomID: h.RoomID, Rank: float64(h.Rank) / 1e6, Event: seen(r.v, e)}
	if c := p.req.Context; c != nil {
		if err := p.surround(ctx, r, e, c, result); err != nil {
			return false, err
		}
	}
	all := append(append([]*roomapi.Event{result.Event}, result.Before...), result.After...)
	if err := p.s.bundle(ctx, r.room, r.v, p.req.Ignored, all...); err != nil {
		return false, err
	}
	size := weigh(all...)
	if p.bytes+size > maxSearchBytes {
		if len(p.resp.Results) > 0 {
			return false, nil
		}
		// One result alone is too large for an answer: it comes without its context.
		result.Before, result.After, size = nil, nil, weigh(result.Event)
	}
	p.bytes += size
	p.resp.Results = append(p.resp.Results, result)
	return true, nil
}

// weigh is about how many bytes events take in an answer.
func weigh(events ...*roomapi.Event) (size int) {
	for _, e := range events {
		size += len(e.JSON) + len(e.PrevContent) + len(e.Relations) + len(e.RedactedBecause) + 400
	}
	return size
}

// surround adds what stands around a result.
func (p *searching) surround(ctx context.Context, r *searchedRoom, e *stored, c *roomapi.SearchContext, result *roomapi.SearchResult) error {
	page := func(backwards bool, from int64, limit int) ([]*roomapi.Event, roomapi.Point, error) {
		limit = min(max(limit, 0), maxSearchContext)
		pg, err := p.s.newPager(ctx, r.room, r.v, &roomapi.MessagesRequest{From: roomapi.Point{Ord: from}, Backwards: backwards, Limit: max(limit, 1)})
		if err != nil {
			return nil, roomapi.Point{}, err
		}
		pg.bytes = maxPageBytes - 64<<10
		if limit > 0 {
			if err := pg.run(ctx); err != nil {
				return nil, roomapi.Point{}, err
			}
		}
		kept := pg.events[:0]
		for _, other := range pg.events {
			if !p.ignores(other) {
				kept = append(kept, other)
			}
		}
		return kept, roomapi.Point{Ord: pg.at}, nil
	}
	var err error
	if result.Before, result.Start, err = page(true, e.ord-1, c.Before); err != nil {
		return err
	}
	if result.After, result.End, err = page(false, e.ord, c.After); err != nil {
		return err
	}
	if c.Profiles {
		result.Profiles, err = p.profiles(ctx, r, e, result)
	}
	return err
}

// profiles are those that the senders of a result and of what is around it had in the
// state at the result.
func (p *searching) profiles(ctx context.Context, r *searchedRoom, e *stored, result *roomapi.SearchResult) ([]roomapi.SenderProfile, error) {
	actor, _, done, err := p.s.view(ctx, r.id)
	if err != nil {
		return nil, err
	}
	defer done()
	var profiles []roomapi.SenderProfile
	had := make(map[string]bool)
	for _, list := range [][]*roomapi.Event{{result.Event}, result.Before, result.After} {
		for _, other := range list {
			if had[other.Sender] || e.snap == 0 {
				continue
			}
			had[other.Sender] = true
			key, ok, err := p.s.stateKey(ctx, memberType, other.Sender)
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
			member, err := p.s.stateIn(ctx, actor, e.snap, key)
			if err != nil {
				return nil, err
			}
			if member == nil {
				continue
			}
			name, _ := pdu.GetString(member.ev.Content, "displayname")
			avatar, _ := pdu.GetString(member.ev.Content, "avatar_url")
			profiles = append(profiles, roomapi.SenderProfile{UserID: other.Sender, Profile: roomapi.Profile{DisplayName: name, AvatarURL: avatar}})
		}
	}
	return profiles, nil
}
