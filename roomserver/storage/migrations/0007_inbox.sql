-- PDUs of other servers that wait for events that they name.
CREATE TABLE inbox (
  room     BIGINT NOT NULL,
  id       {blob} NOT NULL,
  event_id {text} NOT NULL,
  origin   {text} NOT NULL,
  at       BIGINT NOT NULL,
  redacted BIGINT NOT NULL,
  json     {blob} NOT NULL,
  PRIMARY KEY (room, id)
) {strict};
CREATE INDEX inbox_at ON inbox (at);

-- Redactions of events that we do not have yet.
CREATE TABLE redaction (
  room   BIGINT NOT NULL,
  target {blob} NOT NULL,
  nid    BIGINT NOT NULL,
  PRIMARY KEY (room, target, nid)
) {clustered};
