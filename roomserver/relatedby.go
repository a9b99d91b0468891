package roomserver

import (
	"context"

	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
	"hearth/roomserver/storage"
)

// maxProbes is how many index entries the children of one page's events may take to
// look up; a page that needs more ends early.
const maxProbes = 20_000

// relatedBy is the part of a filter that selects events by their children; nil: none.
type relatedBy struct {
	f      storage.RelationFilter
	probes int // left
}

// relatedBy translates that part of a filter.
func (s *Server) relatedBy(ctx context.Context, f *roomapi.EventFilter) (*relatedBy, error) {
	if f.RelatedByRelTypes == nil && f.RelatedBySenders == nil {
		return nil, nil
	}
	if len(f.RelatedByRelTypes) > roomapi.MaxRelatedBy || len(f.RelatedBySenders) > roomapi.MaxRelatedBy {
		return nil, merr.InvalidParam("The filter names more than %d senders or types of relationships", roomapi.MaxRelatedBy)
	}
	by := &relatedBy{probes: maxProbes}
	var err error
	if by.f.Rels, err = s.known(ctx, f.RelatedByRelTypes); err != nil {
		return nil, err
	}
	by.f.Senders, err = s.known(ctx, f.RelatedBySenders)
	return by, err
}

// known returns the numbers of the names that have one; nil for nil.
func (s *Server) known(ctx context.Context, list []string) (nids []int64, err error) {
	if list == nil {
		return nil, nil
	}
	nids = []int64{}
	for _, name := range list {
		nid, ok, err := s.names.lookup(ctx, name)
		if err != nil {
			return nil, err
		}
		if ok {
			nids = append(nids, nid)
		}
	}
	return nids, nil
}

// of returns the keys of those events that are selected. Events that it had no probes
// left for are cut off; there is at least one.
func (by *relatedBy) of(ctx context.Context, s *Server, r *room, events []*stored) ([]*stored, map[string]bool, error) {
	if n := max(1, by.probes/by.f.Probes()); len(events) > n {
		events = events[:n]
	}
	keys := make([][]byte, len(events))
	for i, e := range events {
		keys[i] = storage.EventKey(e.ev.EventID)
	}
	found, used, err := s.store.RelatedBy(ctx, r.nid, keys, by.f)
	by.probes -= used
	return events, found, err
}
