package roomserver

import (
	"context"
	"errors"

	"hearth/internal/merr"
	"hearth/internal/pdu"
	"hearth/roomserver/storage"
)

// Relationship types that the server aggregates ("Relationship types").
const (
	relReplace    = "m.replace"
	relThread     = "m.thread"
	relReference  = "m.reference"
	relAnnotation = "m.annotation"
)

// relation is what an event's content says of its parent.
type relation struct {
	rel, parent string
	key         string // of an annotation
}

// relationOf reads m.relates_to; ok is false if there is none that names a parent.
func relationOf(content []byte) (r relation, ok bool) {
	relates, ok := pdu.Get(content, "m.relates_to")
	if !ok {
		return r, false
	}
	r.rel, ok = pdu.GetString(relates, "rel_type")
	if !ok || r.rel == "" || len(r.rel) > pdu.MaxIDLength {
		return r, false
	}
	r.parent, ok = pdu.GetString(relates, "event_id")
	r.key, _ = pdu.GetString(relates, "key")
	return r, ok && len(r.parent) > 1 && len(r.parent) <= pdu.MaxIDLength && r.parent[0] == '$' && storable(r.parent) && storable(r.rel)
}

// relate adds the row of an event's relationship to the batch. State events have none.
func (b *batch) relate(ctx context.Context, it *item) error {
	if it.ev.StateKey != nil {
		return nil
	}
	r, ok := relationOf(it.ev.Content)
	if !ok {
		return nil
	}
	rel, err := b.name(ctx, r.rel)
	if err != nil {
		return err
	}
	it.relation = &storage.Relation{
		Room: b.room.nid, Parent: storage.EventKey(r.parent), Rel: rel, Type: it.row.Type, Sender: it.row.Sender,
		TS: it.row.TS, Thread: r.rel == relThread,
	}
	return nil
}

// brokenRelation is the relation that an event loses when it is redacted; nil if it has none.
func (b *batch) brokenRelation(target *stored) *storage.Relation {
	if target.ev.StateKey != nil {
		return nil
	}
	r, ok := relationOf(target.ev.Content)
	if !ok {
		return nil
	}
	return &storage.Relation{Room: b.room.nid, Parent: storage.EventKey(r.parent), Nid: target.nid, Thread: r.rel == relThread}
}

// checkRelation refuses relationships that the spec tells servers to refuse from
// clients: a thread off an event that itself relates to another, and the same
// annotation twice.
func (b *batch) checkRelation(ctx context.Context, d *draft) error {
	if d.stateKey != nil {
		return nil
	}
	r, ok := relationOf(d.content)
	if !ok || r.rel != relThread && r.rel != relAnnotation {
		return nil
	}
	if r.rel == relAnnotation {
		return b.checkAnnotation(ctx, d, r)
	}
	parent, err := b.s.eventByID(ctx, b.room.room, r.parent)
	if errors.Is(err, storage.ErrNotFound) {
		return nil // it may come to light later
	}
	if err != nil {
		return err
	}
	if _, related := relationOf(parent.ev.Content); related {
		return merr.New(400, "M_UNKNOWN", "A thread cannot start from an event that relates to another")
	}
	return nil
}

// maxAnnotations is how many annotations of one user on one event are looked at.
const maxAnnotations = 200

func (b *batch) checkAnnotation(ctx context.Context, d *draft, r relation) error {
	sender, ok, err := b.s.names.lookup(ctx, d.sender)
	if err != nil || !ok {
		return err
	}
	rel, ok, err := b.s.names.lookup(ctx, relAnnotation)
	if err != nil || !ok {
		return err
	}
	typ, ok, err := b.s.names.lookup(ctx, d.typ)
	if err != nil || !ok {
		return err
	}
	children, err := b.s.store.Children(ctx, b.room.nid, storage.EventKey(r.parent),
		storage.ChildFilter{Rel: rel, Type: typ, Sender: sender}, minOrd, maxOrd, false, maxAnnotations)
	if err != nil {
		return err
	}
	for _, c := range children {
		e, err := b.s.event(ctx, b.room.room, c.Nid)
		if err != nil {
			return err
		}
		if other, ok := relationOf(e.ev.Content); ok && other.key == r.key {
			return merr.New(400, "M_DUPLICATE_ANNOTATION", "You have annotated the event with this already")
		}
	}
	return nil
}
