-- What reports of one thing are about. target names the thing: a case that is not closed is
-- the only one of its target.
CREATE TABLE report_case (
  id        BIGINT PRIMARY KEY,
  kind      {text} NOT NULL,
  target    {text} NOT NULL,
  room_id   {text} NOT NULL,
  event_id  {text} NOT NULL,
  user_id   {text} NOT NULL,
  state     {text} NOT NULL,
  assignee  {text} NOT NULL,
  outcome   {text} NOT NULL,
  opened    BIGINT NOT NULL,
  updated   BIGINT NOT NULL,
  reporters BIGINT NOT NULL,
  priority  BIGINT NOT NULL
) {strict};
CREATE INDEX report_case_target ON report_case (target, id);
CREATE INDEX report_case_queue ON report_case (state, priority, id);

-- evidence and claims are JSON; sha256 is that of evidence.
CREATE TABLE report (
  id       BIGINT PRIMARY KEY,
  case_id  BIGINT NOT NULL,
  kind     {text} NOT NULL,
  reporter {text} NOT NULL,
  room_id  {text} NOT NULL,
  event_id {text} NOT NULL,
  user_id  {text} NOT NULL,
  reason   {text} NOT NULL,
  score    BIGINT,
  ts       BIGINT NOT NULL,
  evidence {blob},
  claims   {blob},
  sha256   {blob}
) {strict};
CREATE INDEX report_of_case ON report (case_id, id);
CREATE INDEX report_kind ON report (kind, id);

CREATE TABLE note (
  case_id BIGINT NOT NULL,
  n       BIGINT NOT NULL,
  author  {text} NOT NULL,
  ts      BIGINT NOT NULL,
  body    {text} NOT NULL,
  PRIMARY KEY (case_id, n)
) {strict};

-- hash is over the entry and the hash before it. Rows are only ever added.
CREATE TABLE audit (
  seq      BIGINT PRIMARY KEY,
  ts       BIGINT NOT NULL,
  actor    {text} NOT NULL,
  action   {text} NOT NULL,
  target   {text} NOT NULL,
  reason   {text} NOT NULL,
  before   {blob},
  after    {blob},
  hash     {blob} NOT NULL
) {strict};
CREATE INDEX audit_target ON audit (target, seq);
CREATE INDEX audit_actor ON audit (actor, seq);
