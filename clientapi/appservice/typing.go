package appservice

import (
	"context"
	"fmt"

	"hearth/internal/bus"
	"hearth/roomserver/roomapi"
)

// relayTyping hands typing notifications to the services that want them, until ctx ends.
func (s *Service) relayTyping(ctx context.Context) error {
	cancel, err := bus.Subscribe(s.bus, roomapi.TypingTopic, func(t *roomapi.Typing) {
		select {
		case s.typing <- t:
		default: // too many to look at: they may be lost
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to typing notifications: %w", err)
	}
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-s.typing:
			s.tellTyping(ctx, t)
		}
	}
}

func (s *Service) tellTyping(ctx context.Context, t *roomapi.Typing) {
	for _, p := range s.peers {
		if p.URL == "" || !p.Ephemeral || p.failing.Load() {
			continue
		}
		interested, err := s.interested(ctx, p, t.RoomID)
		if err != nil {
			s.log.WithError(err).Debug("a typing notification is lost")
			continue
		}
		if interested && p.putTyping(t) {
			p.ring()
		}
	}
}

// putTyping keeps the newest notification of a room for the next transaction.
func (p *peer) putTyping(t *roomapi.Typing) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.typing[t.RoomID]
	if old == nil && len(p.typing) >= maxTypingRooms || old != nil && old.Serial >= t.Serial {
		return false
	}
	p.typing[t.RoomID] = t
	return true
}

// dropTyping forgets what will not be true any more when the service takes it.
func (p *peer) dropTyping() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.typing)
}
