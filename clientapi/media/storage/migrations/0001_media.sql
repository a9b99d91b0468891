-- What an mxc:// URI names. sha256 is NULL while content is awaited. origin is a server
-- name. user_id is empty for what no user uploaded. Times are in milliseconds; from
-- expires on the row counts as absent, 0: never.
CREATE TABLE media (
  origin       {text} NOT NULL,
  media_id     {text} NOT NULL,
  sha256       {blob},
  size         BIGINT NOT NULL,
  content_type {text} NOT NULL,
  file_name    {text} NOT NULL,
  user_id      {text} NOT NULL,
  created      BIGINT NOT NULL,
  expires      BIGINT NOT NULL,
  quarantined  BOOLEAN NOT NULL,
  PRIMARY KEY (origin, media_id)
) {clustered} {strict};
CREATE INDEX media_file ON media (sha256);
CREATE INDEX media_user ON media (user_id, created, media_id);
CREATE INDEX media_expires ON media (expires) WHERE expires > 0;

-- What users have uploaded and still have; under the empty name what is nobody's.
CREATE TABLE usage (
  user_id {text} PRIMARY KEY,
  files   BIGINT NOT NULL,
  bytes   BIGINT NOT NULL
) {clustered} {strict};

-- Files that were made of other files.
CREATE TABLE thumbnail (
  source       {blob} NOT NULL,
  variant      {text} NOT NULL,
  sha256       {blob} NOT NULL,
  content_type {text} NOT NULL,
  PRIMARY KEY (source, variant)
) {clustered} {strict};
CREATE INDEX thumbnail_file ON thumbnail (sha256);
