-- The policy of how long events are kept, if it was changed at run time: JSON. tally is what was deleted since
-- the last receipt.
CREATE TABLE retention (
  slot   BIGINT PRIMARY KEY,
  policy {blob} NOT NULL,
  rooms  {blob} NOT NULL,
  events BIGINT NOT NULL,
  bytes  BIGINT NOT NULL,
  since  BIGINT NOT NULL
) {strict};
INSERT INTO retention (slot, policy, rooms, events, bytes, since) VALUES (0, CAST('' AS {blob}), CAST('' AS {blob}), 0, 0, 0);

-- Rooms whose events an administrator has given a lifetime, in milliseconds.
CREATE TABLE retention_room (
  id       {text} PRIMARY KEY,
  lifetime BIGINT NOT NULL
) {strict};

-- How far a room was purged: all with a ts up to upto, and what the events up to ord have replaced.
CREATE TABLE expired (
  room BIGINT PRIMARY KEY,
  upto BIGINT NOT NULL,
  ord  BIGINT NOT NULL
) {strict};

-- What must not be purged.
CREATE TABLE hold (
  id     BIGINT PRIMARY KEY,
  kind   {text} NOT NULL,
  target {text} NOT NULL,
  reason {text} NOT NULL,
  ends   BIGINT NOT NULL,
  actor  {text} NOT NULL,
  at     BIGINT NOT NULL
) {strict};
