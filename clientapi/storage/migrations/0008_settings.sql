-- What administrators have set for accounts, by name; value is JSON.
CREATE TABLE account_setting (
  localpart {text} NOT NULL,
  name      {text} NOT NULL,
  value     {blob} NOT NULL,
  PRIMARY KEY (localpart, name)
) {clustered} {strict};
