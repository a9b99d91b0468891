-- The published room directory, with what it shows and what a search looks at.
CREATE TABLE published (
  room      BIGINT PRIMARY KEY,
  joined    BIGINT NOT NULL,
  room_type {text} NOT NULL,
  search    {text} NOT NULL,
  summary   {blob} NOT NULL
) {strict};
CREATE INDEX published_joined ON published (joined, room);

-- For timestamp_to_event.
CREATE INDEX event_time ON event (room, ts, ord);
