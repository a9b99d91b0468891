-- Servers that we send to, as far as there is something to remember: failures, or events that
-- they have not got yet. Times are in milliseconds, 0: never.
-- behind: up to which position of the room log the server has got its events, -1 if it
-- has got all. Servers that keep up have no row.
CREATE TABLE destination (
  server       {text} PRIMARY KEY,
  failures     BIGINT NOT NULL,
  failing_from BIGINT NOT NULL,
  retry_at     BIGINT NOT NULL,
  last_success BIGINT NOT NULL,
  behind       BIGINT NOT NULL
) {clustered} {strict};

-- Events for servers that are behind, which the newest events of their rooms would not
-- bring: those that end a membership.
CREATE TABLE destination_event (
  server {text} NOT NULL,
  pos    BIGINT NOT NULL,
  PRIMARY KEY (server, pos)
) {clustered} {strict};

-- EDUs that wait, in order. One with a key takes the place of older ones with the same key.
CREATE TABLE edu (
  server {text} NOT NULL,
  seq    BIGINT NOT NULL,
  type   {text} NOT NULL,
  key    {text} NOT NULL,
  json   {blob} NOT NULL,
  PRIMARY KEY (server, seq)
) {clustered} {strict};
CREATE INDEX edu_key ON edu (server, type, key) WHERE key <> '';

-- Up to which position of the room log each event has been sent, or its server is known to be behind.
CREATE TABLE outbound (
  one INTEGER PRIMARY KEY,
  pos BIGINT NOT NULL
) {strict};
