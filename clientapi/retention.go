package clientapi

import (
	"context"
	"errors"
	"time"

	"hearth/internal/matrixhttp"
	"hearth/roomserver/roomapi"
)

// retentionConfiguration is GET …/retention/configuration (MSC1763): how long the events of rooms are kept, and
// within which limits a room may choose itself.
func (s *Server) retentionConfiguration(r *matrixhttp.Request) (any, error) {
	kept, err := roomapi.GetRetention.Do(r.Context(), s.bus, &roomapi.Empty{})
	if err != nil {
		return nil, err
	}
	p := &kept.Policy
	common := map[string]int64{}
	if p.DefaultMaxLifetime > 0 {
		common["max_lifetime"] = p.DefaultMaxLifetime
	}
	limits := map[string]int64{}
	if p.AllowedLifetimeMin > 0 {
		limits["min"] = p.AllowedLifetimeMin
	}
	if p.AllowedLifetimeMax > 0 {
		limits["max"] = p.AllowedLifetimeMax
	}
	kinds := map[string]int64{}
	for name, ms := range map[string]int64{"direct": p.Direct, "private": p.Private, "public": p.Public, "encrypted": p.Encrypted} {
		if ms > 0 {
			kinds[name] = ms
		}
	}
	return map[string]any{
		"policies":                      map[string]any{"*": common},
		"limits":                        map[string]any{"max_lifetime": limits},
		"org.hearth.lifetimes_of_kinds": kinds,
	}, nil
}

// overwriteAtTimes overwrites until ctx ends.
func (s *Server) overwriteAtTimes(ctx context.Context) {
	if s.options.OverwriteEvery <= 0 {
		return
	}
	ticker := time.NewTicker(s.options.OverwriteEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := s.overwrite(ctx); err != nil && ctx.Err() == nil {
				s.options.Log.WithError(err).Warn("could not overwrite what was deleted; it is tried again")
			}
		}
	}
}

// overwrite makes sure that what this process's databases have deleted is in none of their files.
func (s *Server) overwrite(ctx context.Context) error {
	var parts []interface{ Overwrite(context.Context) error }
	if s.store != nil {
		parts = append(parts, s.store)
	}
	if s.media != nil {
		parts = append(parts, s.media)
	}
	if s.delayed != nil {
		parts = append(parts, s.delayed)
	}
	if s.moderation != nil {
		parts = append(parts, s.moderation)
	}
	if s.services != nil {
		parts = append(parts, s.services)
	}
	var failed error
	for _, p := range parts {
		failed = errors.Join(failed, p.Overwrite(ctx))
	}
	return failed
}
