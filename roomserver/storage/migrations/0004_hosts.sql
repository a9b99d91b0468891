-- How many joined members each server has in each room. There is no row for none.
CREATE TABLE host (
  room   BIGINT NOT NULL,
  server BIGINT NOT NULL,
  joined BIGINT NOT NULL,
  PRIMARY KEY (room, server)
) {clustered};
CREATE INDEX host_server ON host (server, room);

-- Up to now all members were of this server. The server of a user is what follows the first colon:
-- ltrim takes off everything that a localpart is made of.
INSERT INTO name (nid, s)
SELECT (SELECT COALESCE(MAX(nid), 0) FROM name) + ROW_NUMBER() OVER (ORDER BY d.server), d.server FROM (
  SELECT DISTINCT substr(ltrim(n.s, '@abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._=-/+!#$%&*()~'), 2) AS server
  FROM member m JOIN name n ON n.nid = m.user_nid) d
WHERE d.server <> '' AND d.server NOT IN (SELECT s FROM name);

INSERT INTO host (room, server, joined)
SELECT m.room, d.nid, COUNT(*) FROM member m JOIN name n ON n.nid = m.user_nid
JOIN name d ON d.s = substr(ltrim(n.s, '@abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._=-/+!#$%&*()~'), 2)
WHERE m.membership = 1 GROUP BY m.room, d.nid;

-- Whether the receipt goes to other servers.
ALTER TABLE receipt ADD COLUMN federate BIGINT NOT NULL DEFAULT 0;
