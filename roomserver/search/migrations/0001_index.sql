-- What is indexed can be made again from the room log: this database may be deleted.

-- cursor is the position in the room log up to which everything is in the tables.
CREATE TABLE progress (
  slot   BIGINT PRIMARY KEY,
  cursor BIGINT NOT NULL
) {strict};
INSERT INTO progress (slot, cursor) VALUES (0, 0);

CREATE TABLE room (
  room BIGINT PRIMARY KEY,
  id   {text} NOT NULL UNIQUE
) {strict};

-- The newest documents of a room, not in a block yet; n1 and n2 count its blocks of
-- the first and second size.
CREATE TABLE tail (
  room BIGINT PRIMARY KEY,
  n1   BIGINT NOT NULL,
  n2   BIGINT NOT NULL,
  docs {blob} NOT NULL
) {strict};

-- A block of a room's documents; low is at or before its first position. Each block is
-- several rows: one for its documents and one for each part of its terms.
CREATE TABLE block (
  room BIGINT NOT NULL,
  low  BIGINT NOT NULL,
  part BIGINT NOT NULL,
  data {blob} NOT NULL,
  PRIMARY KEY (room, low, part)
) {clustered};
