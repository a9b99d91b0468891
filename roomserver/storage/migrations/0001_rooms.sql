-- One dictionary for types, state keys and user ids, so that other rows hold numbers.
CREATE TABLE name (
  nid BIGINT PRIMARY KEY,
  s   {text} NOT NULL UNIQUE
) {strict};

-- heads, snap and last_ord are a checkpoint as of pos; later events are replayed on top of it.
CREATE TABLE room (
  room     BIGINT PRIMARY KEY,
  id       {text} NOT NULL UNIQUE,
  version  {text} NOT NULL,
  pos      BIGINT NOT NULL,
  snap     BIGINT NOT NULL,
  heads    {blob} NOT NULL
) {strict};

-- nid > 0: an event of the live timeline, and nid is its log position.
-- nid < 0: an event that we hold but that never was live (outlier, backfill).
-- ord places it in the room's timeline; live events have pos * 2^20.
-- skey is NULL for message events; snap is the state after the event, cur the
-- state of the room after it was accepted (another one only where the DAG forks).
CREATE TABLE event (
  nid      BIGINT PRIMARY KEY,
  room     BIGINT NOT NULL,
  id       {blob} NOT NULL UNIQUE,
  ord      BIGINT NOT NULL,
  flags    BIGINT NOT NULL,
  type     BIGINT NOT NULL,
  skey     BIGINT,
  sender   BIGINT NOT NULL,
  ts       BIGINT NOT NULL,
  depth    BIGINT NOT NULL,
  gen      BIGINT NOT NULL,
  snap     BIGINT NOT NULL,
  cur      BIGINT NOT NULL,
  replaces BIGINT NOT NULL,
  redacted_by BIGINT NOT NULL,
  links    {blob} NOT NULL,
  origin   {text}
) {strict};
CREATE INDEX event_timeline ON event (room, ord);
CREATE INDEX event_state ON event (room, type, skey, ord) WHERE skey IS NOT NULL;

-- Bodies stand apart from the skeleton: one can go while the DAG stays.
CREATE TABLE body (
  nid  BIGINT PRIMARY KEY,
  json {blob} NOT NULL
) {strict};

CREATE TABLE snap (
  snap   BIGINT PRIMARY KEY,
  room   BIGINT NOT NULL,
  seq    BIGINT NOT NULL,
  prev   BIGINT NOT NULL,
  parent BIGINT NOT NULL,
  chain  {blob} NOT NULL,
  n      BIGINT NOT NULL,
  delta  {blob} NOT NULL
) {strict};

-- The current member event of each user in each room.
CREATE TABLE member (
  user_nid   BIGINT NOT NULL,
  room       BIGINT NOT NULL,
  membership BIGINT NOT NULL,
  nid        BIGINT NOT NULL,
  sender     BIGINT NOT NULL,
  forgotten  BIGINT NOT NULL,
  PRIMARY KEY (user_nid, room)
) {clustered};
CREATE INDEX member_room ON member (room, membership, nid);

-- Which event a device's transaction id has made.
CREATE TABLE txn (
  sender BIGINT NOT NULL,
  device {text} NOT NULL,
  txn    {text} NOT NULL,
  nid    BIGINT NOT NULL,
  at     BIGINT NOT NULL,
  PRIMARY KEY (sender, device, txn)
) {clustered};
CREATE INDEX txn_at ON txn (at);

CREATE TABLE receipt (
  room     BIGINT NOT NULL,
  user_nid BIGINT NOT NULL,
  thread   {text} NOT NULL,
  kind     {text} NOT NULL,
  event_id {text} NOT NULL,
  ord      BIGINT NOT NULL,
  ts       BIGINT NOT NULL,
  pos      BIGINT NOT NULL,
  PRIMARY KEY (room, user_nid, thread, kind)
) {clustered};
CREATE INDEX receipt_pos ON receipt (pos);
CREATE INDEX receipt_room ON receipt (room, pos);

CREATE TABLE alias (
  alias   {text} PRIMARY KEY,
  room    BIGINT NOT NULL,
  creator BIGINT NOT NULL
) {strict};
CREATE INDEX alias_room ON alias (room);

-- Entries of the log that have no row elsewhere.
CREATE TABLE log (
  pos      BIGINT PRIMARY KEY,
  kind     BIGINT NOT NULL,
  room     BIGINT NOT NULL,
  user_nid BIGINT NOT NULL
) {strict};
