-- Rules of what may not be done here. ops are separated by spaces; source is 'admin' or the
-- room of the list.
CREATE TABLE policy_rule (
  id       {text} PRIMARY KEY,
  scope    {text} NOT NULL,
  entity   {text} NOT NULL,
  hashed   BIGINT NOT NULL,
  action   {text} NOT NULL,
  ops      {text} NOT NULL,
  reason   {text} NOT NULL,
  takedown BIGINT NOT NULL,
  until    BIGINT NOT NULL,
  source   {text} NOT NULL,
  dry_run  BIGINT NOT NULL,
  author   {text} NOT NULL,
  created  BIGINT NOT NULL
) {strict};
CREATE INDEX policy_rule_source ON policy_rule (source, id);
CREATE INDEX policy_rule_entity ON policy_rule (entity, id);

-- Rooms whose rules the server enforces.
CREATE TABLE policy_list (
  room_id {text} PRIMARY KEY,
  reader  {text} NOT NULL,
  name    {text} NOT NULL,
  ops     {text} NOT NULL,
  dry_run BIGINT NOT NULL,
  author  {text} NOT NULL,
  created BIGINT NOT NULL
) {strict};

-- One row: how often the rules have changed.
CREATE TABLE policy_revision (
  id       BIGINT PRIMARY KEY,
  revision BIGINT NOT NULL
) {strict};
INSERT INTO policy_revision (id, revision) VALUES (1, 0);
