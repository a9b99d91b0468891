-- Long work for administrators. params and progress are JSON objects; times are in milliseconds.
CREATE TABLE job (
  id       {text} PRIMARY KEY,
  kind     {text} NOT NULL,
  target   {text} NOT NULL,
  actor    {text} NOT NULL,
  status   {text} NOT NULL,
  params   {blob} NOT NULL,
  progress {blob} NOT NULL,
  error    {text} NOT NULL,
  created  BIGINT NOT NULL,
  updated  BIGINT NOT NULL
) {strict};
CREATE INDEX job_status ON job (status, created);
CREATE INDEX job_target ON job (kind, target, created);
