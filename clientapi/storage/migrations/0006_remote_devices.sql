-- Lists of devices of users of other servers. stream is the id of the last change that is
-- in the list; wanted is the highest id that was heard of; a list with stale is fetched
-- again, after retry_at (in milliseconds), failures counts how often that did not work.
-- Their cross-signing keys are in cross_signing_key.
CREATE TABLE remote_list (
  user_id      {text} NOT NULL,
  stream       BIGINT NOT NULL,
  wanted       BIGINT NOT NULL,
  stale        BOOLEAN NOT NULL,
  failures     BIGINT NOT NULL,
  retry_at     BIGINT NOT NULL,
  PRIMARY KEY (user_id)
) {clustered} {strict};
CREATE INDEX remote_list_stale ON remote_list (retry_at) WHERE stale;

CREATE TABLE remote_device (
  user_id      {text} NOT NULL,
  device       {text} NOT NULL,
  display_name {text} NOT NULL,
  keys         {blob} NOT NULL,
  PRIMARY KEY (user_id, device)
) {clustered} {strict};

-- Messages to devices that other servers sent and that were carried out.
CREATE TABLE remote_message (
  origin     {text} NOT NULL,
  message_id {text} NOT NULL,
  at         BIGINT NOT NULL,
  PRIMARY KEY (origin, message_id)
) {clustered} {strict};
CREATE INDEX remote_message_at ON remote_message (at);
