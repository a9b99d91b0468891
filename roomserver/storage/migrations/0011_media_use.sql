-- Which events show which files of this server. owns says that the file goes with its last event, if sender
-- has uploaded it.
CREATE TABLE media_use (
  uri    {text} NOT NULL,
  nid    BIGINT NOT NULL,
  sender BIGINT NOT NULL,
  owns   BIGINT NOT NULL,
  PRIMARY KEY (uri, nid)
) {clustered};
CREATE INDEX media_use_event ON media_use (nid);

-- Files whose last event is gone, until they are gone themselves.
CREATE TABLE media_gone (
  uri    {text} PRIMARY KEY,
  sender BIGINT NOT NULL
) {strict};
