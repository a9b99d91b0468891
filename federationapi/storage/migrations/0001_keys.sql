-- Servers whose keys are known. answer is what the server said last of its keys, in
-- canonical JSON, NULL if only notaries told of it. Times are in milliseconds.
CREATE TABLE server (
  server      {text} PRIMARY KEY,
  answer      {blob},
  valid_until BIGINT NOT NULL,
  fetched     BIGINT NOT NULL
) {clustered} {strict};
CREATE INDEX server_fetched ON server (fetched);

-- The keys of servers, past ones too: old events are signed with them. A key is valid
-- until valid_until. ended: that is the server's word and no notary's may move it.
-- direct: the key comes from the server itself.
CREATE TABLE server_key (
  server      {text} NOT NULL,
  key_id      {text} NOT NULL,
  public      {blob} NOT NULL,
  valid_until BIGINT NOT NULL,
  ended       BOOLEAN NOT NULL,
  direct      BOOLEAN NOT NULL,
  PRIMARY KEY (server, key_id)
) {clustered} {strict};
