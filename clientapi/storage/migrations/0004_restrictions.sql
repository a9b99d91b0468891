-- What administrators have taken from an account; role is what it may do with the admin API,
-- beside admin: '', read or moderate.
ALTER TABLE account ADD COLUMN locked BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE account ADD COLUMN suspended BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE account ADD COLUMN shadow_banned BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE account ADD COLUMN role {text} NOT NULL DEFAULT '';
