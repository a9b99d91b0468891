-- The children of one kind, which an event with many of another kind must not hide.
CREATE INDEX relation_rel ON relation (room, parent, rel, ord);
