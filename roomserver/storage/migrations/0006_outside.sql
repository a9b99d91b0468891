-- Memberships of users of ours in rooms that we are not in: an invite or knock that came or
-- ended. pos is its place in the log, json the member event, of a room of that version, and
-- state what the room says of itself. The event is not in the table event, since nobody
-- could authorize it; the member row has 0 for its number.
CREATE TABLE outside (
  room     BIGINT NOT NULL,
  user_nid BIGINT NOT NULL,
  pos      BIGINT NOT NULL,
  version  {text} NOT NULL,
  event_id {text} NOT NULL,
  json     {blob} NOT NULL,
  state    {blob} NOT NULL,
  PRIMARY KEY (room, user_nid)
) {clustered};
CREATE UNIQUE INDEX outside_pos ON outside (pos);

-- Places before which a room's timeline lacks events. snap is the state there, which other
-- servers told.
CREATE TABLE gap (
  room BIGINT NOT NULL,
  ord  BIGINT NOT NULL,
  snap BIGINT NOT NULL,
  PRIMARY KEY (room, ord)
) {clustered};
