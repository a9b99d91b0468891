-- Users whose rooms have not all heard of the current profile. serial tells a change from
-- the next one.
CREATE TABLE profile_news (
  localpart {text} PRIMARY KEY,
  serial    BIGINT NOT NULL
) {clustered} {strict};

-- What was bound at identity servers through this one, to be unbound there.
CREATE TABLE binding (
  localpart {text} NOT NULL,
  medium    {text} NOT NULL,
  address   {text} NOT NULL,
  server    {text} NOT NULL,
  PRIMARY KEY (localpart, medium, address, server)
) {clustered} {strict};
