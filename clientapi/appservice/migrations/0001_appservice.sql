-- How far the room log was read; one row. Entries up to quiet came before there was
-- any service: they change who is joined, and nothing is sent.
CREATE TABLE progress (
  one   BIGINT PRIMARY KEY,
  pos   BIGINT NOT NULL,
  quiet BIGINT NOT NULL
) {strict};

-- A service that was configured at some time. nid stands for it below. txn is the
-- number of its last transaction; epoch makes its transaction ids unlike those of
-- another database. users tells which users it was interested in.
CREATE TABLE service (
  id    {text} PRIMARY KEY,
  nid   BIGINT NOT NULL UNIQUE,
  epoch {text} NOT NULL,
  txn   BIGINT NOT NULL,
  users {text} NOT NULL
) {strict};

-- Local users who are joined, of all services and of none, so that a service which
-- comes later finds its own.
CREATE TABLE joined (
  room   {text} NOT NULL,
  member {text} NOT NULL,
  PRIMARY KEY (room, member)
) {clustered} {strict};

-- How many users of a service are joined to a room; no row for none.
CREATE TABLE interest (
  room    {text} NOT NULL,
  service BIGINT NOT NULL,
  members BIGINT NOT NULL,
  PRIMARY KEY (room, service)
) {clustered} {strict};
CREATE INDEX interest_service ON interest (service);

-- Positions of the room log that a service has yet to be told.
CREATE TABLE pending (
  service BIGINT NOT NULL,
  pos     BIGINT NOT NULL,
  PRIMARY KEY (service, pos)
) {clustered} {strict};

-- The transaction that a service has not yet confirmed.
CREATE TABLE txn (
  service BIGINT PRIMARY KEY,
  id      {text} NOT NULL,
  body    {blob} NOT NULL
) {strict};

-- Rooms in the directories of third-party networks.
CREATE TABLE network_room (
  service BIGINT NOT NULL,
  network {text} NOT NULL,
  room    {text} NOT NULL,
  PRIMARY KEY (service, network, room)
) {clustered} {strict};
