-- How far logs have been read for what this store tells others.
CREATE TABLE progress (
  name {text} NOT NULL,
  pos  BIGINT NOT NULL,
  PRIMARY KEY (name)
) {clustered} {strict};
