-- What a user has said last of a thread. seen is the position in the room log up to which
-- events cause no automatic subscription.
CREATE TABLE thread_subscription (
  pos        BIGINT NOT NULL UNIQUE,
  localpart  {text} NOT NULL,
  room       {text} NOT NULL,
  thread     {text} NOT NULL,
  subscribed BOOLEAN NOT NULL,
  automatic  BOOLEAN NOT NULL,
  seen       BIGINT NOT NULL,
  PRIMARY KEY (localpart, room, thread)
) {strict};
CREATE INDEX thread_subscription_changed ON thread_subscription (localpart, pos);
