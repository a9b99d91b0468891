-- What administrators see of a room in a list, kept in the commits that change it. A room
-- without a row gets one when the list is read.
CREATE TABLE room_info (
  room               BIGINT PRIMARY KEY,
  joined             BIGINT NOT NULL,
  local              BIGINT NOT NULL,
  state_events       BIGINT NOT NULL,
  federatable        BIGINT NOT NULL,
  creator            {text} NOT NULL,
  name               {text} NOT NULL,
  topic              {text} NOT NULL,
  alias              {text} NOT NULL,
  avatar             {text} NOT NULL,
  room_type          {text} NOT NULL,
  encryption         {text} NOT NULL,
  join_rule          {text} NOT NULL,
  guest_access       {text} NOT NULL,
  history_visibility {text} NOT NULL,
  replacement        {text} NOT NULL
) {strict};

-- Rooms that no user of ours may enter, invite to or write in. They need not be known.
CREATE TABLE blocked_room (
  id      {text} PRIMARY KEY,
  blocker {text} NOT NULL,
  ts      BIGINT NOT NULL
) {strict};

-- Rooms whose row is gone already and whose other rows are being deleted.
CREATE TABLE purging (
  room BIGINT PRIMARY KEY,
  id   {text} NOT NULL UNIQUE
) {strict};
