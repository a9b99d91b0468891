-- What was answered to transactions of other servers, so that a repetition gets the same
-- answer. at is in milliseconds.
CREATE TABLE inbound_txn (
  origin {text} NOT NULL,
  txn    {text} NOT NULL,
  answer {blob} NOT NULL,
  at     BIGINT NOT NULL,
  PRIMARY KEY (origin, txn)
) {clustered} {strict};
CREATE INDEX inbound_txn_at ON inbound_txn (at);
CREATE INDEX inbound_txn_origin ON inbound_txn (origin, at);
