-- How far the room log was read; one row.
CREATE TABLE progress (
  one BIGINT PRIMARY KEY,
  pos BIGINT NOT NULL
) {strict};

-- device is the device that set the pusher: it goes with it. since is the position of
-- the room log at which it was set; ts is when, in milliseconds. badge is the number
-- of unread notifications that its gateway was told last. data is the object that the
-- client gave.
CREATE TABLE pusher (
  id          BIGINT PRIMARY KEY,
  user_id     {text} NOT NULL,
  app_id      {text} NOT NULL,
  pushkey     {text} NOT NULL,
  device      {text} NOT NULL,
  app_name    {text} NOT NULL,
  device_name {text} NOT NULL,
  profile_tag {text} NOT NULL,
  lang        {text} NOT NULL,
  data        {blob} NOT NULL,
  since       BIGINT NOT NULL,
  ts          BIGINT NOT NULL,
  badge       BIGINT NOT NULL,
  UNIQUE (user_id, app_id, pushkey)
) {strict};
CREATE INDEX pusher_key ON pusher (app_id, pushkey);

-- What is to be sent, the oldest first. Without an event it is the number of unread
-- notifications that changed. pos is the log position after which it is right; at is in
-- milliseconds. The event itself is read when it is sent.
CREATE TABLE notice (
  seq    BIGINT PRIMARY KEY,
  pusher BIGINT NOT NULL,
  room   {text} NOT NULL,
  event  {text} NOT NULL,
  pos    BIGINT NOT NULL,
  tweaks {blob} NOT NULL,
  high   BOOLEAN NOT NULL,
  at     BIGINT NOT NULL
) {strict};
CREATE INDEX notice_pusher ON notice (pusher, seq);
