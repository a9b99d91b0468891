-- {int} is a 64-bit integer (and, as a primary key, the row id of SQLite).
-- One dictionary for types, state keys and user ids, so that other rows hold numbers.
CREATE TABLE name (
  nid {int} PRIMARY KEY,
  s   {text} NOT NULL UNIQUE
) {strict};

-- heads, snap and last_ord are a checkpoint as of pos; later events are replayed on top of it.
CREATE TABLE room (
  room     {int} PRIMARY KEY,
  id       {text} NOT NULL UNIQUE,
  version  {text} NOT NULL,
  pos      {int} NOT NULL,
  snap     {int} NOT NULL,
  heads    {blob} NOT NULL
) {strict};

-- nid > 0: an event of the live timeline, and nid is its log position.
-- nid < 0: an event that we hold but that never was live (outlier, backfill).
-- ord places it in the room's timeline; live events have pos * 2^20.
-- skey is NULL for message events; snap is the state after the event, cur the
-- state of the room after it was accepted (another one only where the DAG forks).
CREATE TABLE event (
  nid      {int} PRIMARY KEY,
  room     {int} NOT NULL,
  id       {blob} NOT NULL UNIQUE,
  ord      {int} NOT NULL,
  flags    {int} NOT NULL,
  type     {int} NOT NULL,
  skey     {int},
  sender   {int} NOT NULL,
  ts       {int} NOT NULL,
  depth    {int} NOT NULL,
  gen      {int} NOT NULL,
  snap     {int} NOT NULL,
  cur      {int} NOT NULL,
  replaces {int} NOT NULL,
  redacted_by {int} NOT NULL,
  links    {blob} NOT NULL,
  origin   {text}
) {strict};
CREATE INDEX event_timeline ON event (room, ord);
CREATE INDEX event_state ON event (room, type, skey, ord) WHERE skey IS NOT NULL;

-- Bodies stand apart from the skeleton: one can go while the DAG stays.
CREATE TABLE body (
  nid  {int} PRIMARY KEY,
  json {blob} NOT NULL
) {strict};

CREATE TABLE snap (
  snap   {int} PRIMARY KEY,
  room   {int} NOT NULL,
  seq    {int} NOT NULL,
  prev   {int} NOT NULL,
  parent {int} NOT NULL,
  chain  {blob} NOT NULL,
  n      {int} NOT NULL,
  delta  {blob} NOT NULL
) {strict};

-- The current member event of each user in each room.
CREATE TABLE member (
  user_nid   {int} NOT NULL,
  room       {int} NOT NULL,
  membership {int} NOT NULL,
  nid        {int} NOT NULL,
  sender     {int} NOT NULL,
  forgotten  {int} NOT NULL,
  PRIMARY KEY (user_nid, room)
) {clustered};
CREATE INDEX member_room ON member (room, membership, nid);

-- Which event a device's transaction id has made.
CREATE TABLE txn (
  sender {int} NOT NULL,
  device {text} NOT NULL,
  txn    {text} NOT NULL,
  nid    {int} NOT NULL,
  at     {int} NOT NULL,
  PRIMARY KEY (sender, device, txn)
) {clustered};

CREATE TABLE receipt (
  room     {int} NOT NULL,
  user_nid {int} NOT NULL,
  thread   {text} NOT NULL,
  kind     {text} NOT NULL,
  event_id {text} NOT NULL,
  ord      {int} NOT NULL,
  ts       {int} NOT NULL,
  pos      {int} NOT NULL,
  PRIMARY KEY (room, user_nid, thread, kind)
) {clustered};
CREATE INDEX receipt_pos ON receipt (pos);
CREATE INDEX receipt_room ON receipt (room, pos);

CREATE TABLE alias (
  alias   {text} PRIMARY KEY,
  room    {int} NOT NULL,
  creator {int} NOT NULL
) {strict};
CREATE INDEX alias_room ON alias (room);

-- Entries of the log that have no row elsewhere.
CREATE TABLE log (
  pos      {int} PRIMARY KEY,
  kind     {int} NOT NULL,
  room     {int} NOT NULL,
  user_nid {int} NOT NULL
) {strict};
