-- What /sync tells a device of itself, and the queue of messages sent to it: pos is
-- the log position of the last change; queued and bytes count table to_device; dropped
-- counts messages that did not fit.
CREATE TABLE device_news (
  localpart {text} NOT NULL,
  device    {text} NOT NULL,
  pos       BIGINT NOT NULL UNIQUE,
  queued    BIGINT NOT NULL,
  bytes     BIGINT NOT NULL,
  dropped   BIGINT NOT NULL,
  PRIMARY KEY (localpart, device)
) {strict};

-- The last change of each device as others see it; device is '' for the cross-signing
-- keys. prev is the position of the user's change before; gone: the device is deleted.
CREATE TABLE device_change (
  localpart {text} NOT NULL,
  device    {text} NOT NULL,
  pos       BIGINT NOT NULL UNIQUE,
  prev      BIGINT NOT NULL,
  gone      BOOLEAN NOT NULL,
  PRIMARY KEY (localpart, device)
) {strict};
CREATE INDEX device_change_user ON device_change (localpart, pos);

-- localpart has signed the master key of target, a localpart or the full id of another
-- server's user.
CREATE TABLE signature_change (
  localpart {text} NOT NULL,
  target    {text} NOT NULL,
  pos       BIGINT NOT NULL UNIQUE,
  PRIMARY KEY (localpart, target)
) {strict};

-- keys is the uploaded object as canonical JSON, with the user's own signatures.
CREATE TABLE device_key (
  localpart {text} NOT NULL,
  device    {text} NOT NULL,
  keys      {blob} NOT NULL,
  PRIMARY KEY (localpart, device)
) {clustered} {strict};

-- purpose: 1 master, 2 self-signing, 3 user-signing. id is the public key.
CREATE TABLE cross_signing_key (
  localpart {text} NOT NULL,
  purpose   BIGINT NOT NULL,
  id        {text} NOT NULL,
  keys      {blob} NOT NULL,
  PRIMARY KEY (localpart, purpose)
) {clustered} {strict};

-- Signatures that came later than what they sign. key is a device or the public part of
-- a cross-signing key of target, which is a localpart, or a full id if it is another
-- server's user.
CREATE TABLE key_signature (
  target    {text} NOT NULL,
  key       {text} NOT NULL,
  signer    {text} NOT NULL,
  signer_key {text} NOT NULL,
  signature {text} NOT NULL,
  PRIMARY KEY (target, key, signer, signer_key)
) {clustered} {strict};
CREATE INDEX key_signature_signer ON key_signature (signer, signer_key);

-- seq is the order of uploads. A claimed key stays for a while, so that an upload that
-- is repeated does not bring it back.
CREATE TABLE one_time_key (
  localpart {text} NOT NULL,
  device    {text} NOT NULL,
  algorithm {text} NOT NULL,
  id        {text} NOT NULL,
  seq       BIGINT NOT NULL,
  claimed   BOOLEAN NOT NULL,
  keys      {blob} NOT NULL,
  PRIMARY KEY (localpart, device, algorithm, id)
) {clustered} {strict};
CREATE INDEX one_time_key_next ON one_time_key (localpart, device, algorithm, claimed, seq, id);

CREATE TABLE fallback_key (
  localpart {text} NOT NULL,
  device    {text} NOT NULL,
  algorithm {text} NOT NULL,
  id        {text} NOT NULL,
  used      BOOLEAN NOT NULL,
  keys      {blob} NOT NULL,
  PRIMARY KEY (localpart, device, algorithm)
) {clustered} {strict};

-- event is the message as the device gets it, JSON.
CREATE TABLE to_device (
  localpart {text} NOT NULL,
  device    {text} NOT NULL,
  pos       BIGINT NOT NULL,
  event     {blob} NOT NULL,
  PRIMARY KEY (localpart, device, pos)
) {clustered} {strict};

-- Requests to send to devices that were carried out. part counts the pieces of one.
CREATE TABLE to_device_txn (
  localpart {text} NOT NULL,
  device    {text} NOT NULL,
  txn       {text} NOT NULL,
  part      BIGINT NOT NULL,
  at        BIGINT NOT NULL,
  PRIMARY KEY (localpart, device, txn, part)
) {clustered} {strict};
CREATE INDEX to_device_txn_at ON to_device_txn (at);

-- Versions of the backup of room keys. A deleted one stays, without keys, so that to
-- delete it again is no error. keys counts table backup_key; etag counts changes.
CREATE TABLE backup (
  localpart {text} NOT NULL,
  version   BIGINT NOT NULL,
  algorithm {text} NOT NULL,
  auth_data {blob} NOT NULL,
  keys      BIGINT NOT NULL,
  etag      BIGINT NOT NULL,
  deleted   BOOLEAN NOT NULL,
  PRIMARY KEY (localpart, version)
) {clustered} {strict};

CREATE TABLE backup_key (
  localpart {text} NOT NULL,
  version   BIGINT NOT NULL,
  room      {text} NOT NULL,
  session   {text} NOT NULL,
  first     BIGINT NOT NULL,
  forwarded BIGINT NOT NULL,
  verified  BOOLEAN NOT NULL,
  data      {blob} NOT NULL,
  PRIMARY KEY (localpart, version, room, session)
) {clustered} {strict};

CREATE TABLE dehydrated_device (
  localpart {text} PRIMARY KEY,
  device    {text} NOT NULL,
  data      {blob} NOT NULL
) {clustered} {strict};

-- Names this database and its copies.
CREATE TABLE incarnation (
  slot BIGINT PRIMARY KEY,
  id   {text} NOT NULL
) {strict};
