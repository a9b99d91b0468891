-- Relationships between events by the parent's id, which may be an event that we do
-- not have. A row goes when its child is redacted.
CREATE TABLE relation (
  room   BIGINT NOT NULL,
  parent {blob} NOT NULL,
  ord    BIGINT NOT NULL,
  nid    BIGINT NOT NULL,
  rel    BIGINT NOT NULL,
  type   BIGINT NOT NULL,
  sender BIGINT NOT NULL,
  ts     BIGINT NOT NULL,
  PRIMARY KEY (room, parent, ord)
) {clustered};
CREATE INDEX relation_sender ON relation (room, parent, sender, rel);
CREATE UNIQUE INDEX relation_child ON relation (nid);

-- One row for each event that has or had children, with what a thread's root shows.
CREATE TABLE related (
  room         BIGINT NOT NULL,
  parent       {blob} NOT NULL,
  thread_count BIGINT NOT NULL,
  thread_ord   BIGINT NOT NULL,
  PRIMARY KEY (room, parent)
) {clustered};
CREATE INDEX related_thread ON related (room, thread_ord) WHERE thread_count > 0;
