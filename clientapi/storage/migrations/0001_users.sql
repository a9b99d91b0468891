-- Users are named by the localpart of their id; all of them are of this server.

-- password is a PHC or crypt string; empty: nobody can log in with a password.
CREATE TABLE account (
  localpart   {text} PRIMARY KEY,
  password    {text} NOT NULL,
  admin       BOOLEAN NOT NULL,
  deactivated BOOLEAN NOT NULL,
  created     BIGINT NOT NULL
) {clustered} {strict};

CREATE TABLE device (
  localpart    {text} NOT NULL,
  device       {text} NOT NULL,
  display_name {text} NOT NULL,
  created      BIGINT NOT NULL,
  PRIMARY KEY (localpart, device)
) {clustered} {strict};

-- hash is the SHA-256 of an access token.
CREATE TABLE token (
  hash      {blob} PRIMARY KEY,
  localpart {text} NOT NULL,
  device    {text} NOT NULL
) {clustered} {strict};
CREATE INDEX token_device ON token (localpart, device);

-- value is a JSON value.
CREATE TABLE profile (
  localpart {text} NOT NULL,
  field     {text} NOT NULL,
  value     {blob} NOT NULL,
  PRIMARY KEY (localpart, field)
) {clustered} {strict};

-- room is empty for global data. pos is the log position of the last change.
CREATE TABLE account_data (
  pos       BIGINT NOT NULL UNIQUE,
  localpart {text} NOT NULL,
  room      {text} NOT NULL,
  type      {text} NOT NULL,
  content   {blob} NOT NULL,
  PRIMARY KEY (localpart, room, type)
) {strict};
CREATE INDEX account_data_changed ON account_data (localpart, pos);

-- id follows from the definition.
CREATE TABLE filter (
  localpart  {text} NOT NULL,
  id         {text} NOT NULL,
  definition {blob} NOT NULL,
  created    BIGINT NOT NULL,
  PRIMARY KEY (localpart, id)
) {strict};
