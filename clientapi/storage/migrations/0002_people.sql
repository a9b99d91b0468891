-- approved: an administrator let the account in, or nobody had to. erased: the user
-- asked that others forget the messages. search is what the user directory looks at,
-- in small letters; '' in a row that was not indexed yet.
ALTER TABLE account ADD COLUMN guest BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE account ADD COLUMN approved BOOLEAN NOT NULL DEFAULT TRUE;
ALTER TABLE account ADD COLUMN erased BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE account ADD COLUMN search {text} NOT NULL DEFAULT '';

-- seen is when the device was last used, ip from where; both are forgotten after a while.
ALTER TABLE device ADD COLUMN seen BIGINT NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN ip {text} NOT NULL DEFAULT '';
CREATE INDEX device_seen ON device (seen) WHERE ip <> '';

-- expires is in milliseconds, 0 for never. pending: made by a refresh and not used yet.
ALTER TABLE token ADD COLUMN expires BIGINT NOT NULL DEFAULT 0;
ALTER TABLE token ADD COLUMN pending BOOLEAN NOT NULL DEFAULT FALSE;

-- hash is the SHA-256 of a refresh token. state: 0 in use, 1 given out and not used
-- yet, 2 replaced, so that whoever shows it again has stolen it or was robbed.
CREATE TABLE refresh (
  hash      {blob} PRIMARY KEY,
  localpart {text} NOT NULL,
  device    {text} NOT NULL,
  state     BIGINT NOT NULL,
  created   BIGINT NOT NULL
) {clustered} {strict};
CREATE INDEX refresh_device ON refresh (localpart, device, created);

-- Short-lived secrets by the SHA-256 of them. kind: 1 log-in token, 2 OpenID token.
CREATE TABLE ticket (
  hash      {blob} PRIMARY KEY,
  kind      BIGINT NOT NULL,
  localpart {text} NOT NULL,
  expires   BIGINT NOT NULL
) {clustered} {strict};
CREATE INDEX ticket_expires ON ticket (expires);
CREATE INDEX ticket_user ON ticket (localpart, kind);

-- uses and expires are -1 for without limit.
CREATE TABLE registration_token (
  token     {text} PRIMARY KEY,
  uses      BIGINT NOT NULL,
  completed BIGINT NOT NULL,
  expires   BIGINT NOT NULL,
  created   BIGINT NOT NULL
) {clustered} {strict};

CREATE TABLE threepid (
  medium    {text} NOT NULL,
  address   {text} NOT NULL,
  localpart {text} NOT NULL,
  validated BIGINT NOT NULL,
  added     BIGINT NOT NULL,
  PRIMARY KEY (medium, address)
) {clustered} {strict};
CREATE INDEX threepid_user ON threepid (localpart);

-- An address that is being validated. purpose says what for; token is the SHA-256 of
-- what was sent; validated is 0 until it came back.
CREATE TABLE validation (
  sid       {text} PRIMARY KEY,
  purpose   {text} NOT NULL,
  medium    {text} NOT NULL,
  address   {text} NOT NULL,
  secret    {text} NOT NULL,
  token     {blob} NOT NULL,
  attempt   BIGINT NOT NULL,
  next_link {text} NOT NULL,
  expires   BIGINT NOT NULL,
  validated BIGINT NOT NULL,
  UNIQUE (purpose, medium, address, secret)
) {strict};
CREATE INDEX validation_expires ON validation (expires);

-- Who an account is at a provider of single sign-on.
CREATE TABLE external_id (
  provider  {text} NOT NULL,
  subject   {text} NOT NULL,
  localpart {text} NOT NULL,
  PRIMARY KEY (provider, subject)
) {clustered} {strict};
CREATE INDEX external_id_user ON external_id (localpart);

-- The room in which a user gets the notices of the server.
CREATE TABLE notice_room (
  localpart {text} PRIMARY KEY,
  room      {text} NOT NULL
) {clustered} {strict};

-- How far a reader of another log has come.
CREATE TABLE log_cursor (
  name {text} PRIMARY KEY,
  pos  BIGINT NOT NULL
) {clustered} {strict};
