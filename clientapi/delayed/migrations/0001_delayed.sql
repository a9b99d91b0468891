-- Events that are to be sent later, and for some days what became of them. delay is in
-- milliseconds, since is when it began to run, at when it is over. ts is the time that an
-- application service gives the event; 0: none. txn is the transaction id with its scope.
-- state is 0 scheduled, 1 sent, 2 cancelled.
CREATE TABLE delayed (
  id        {text} PRIMARY KEY,
  user_id   {text} NOT NULL,
  device    {text} NOT NULL,
  txn       {text} NOT NULL,
  room      {text} NOT NULL,
  type      {text} NOT NULL,
  state_key {text},
  content   {blob} NOT NULL,
  ts        BIGINT NOT NULL,
  delay     BIGINT NOT NULL,
  since     BIGINT NOT NULL,
  at        BIGINT NOT NULL,
  state     BIGINT NOT NULL,
  ended     BIGINT NOT NULL,
  event     {text} NOT NULL,
  error     {blob}
) {strict};
CREATE INDEX delayed_at ON delayed (at) WHERE state = 0;
CREATE INDEX delayed_user ON delayed (user_id, state, at);
CREATE INDEX delayed_ended ON delayed (ended) WHERE state > 0;
CREATE UNIQUE INDEX delayed_txn ON delayed (user_id, device, txn) WHERE txn <> '';
