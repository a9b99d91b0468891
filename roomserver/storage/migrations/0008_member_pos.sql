-- The position in the log at which a membership came to be the room's: not always that of its
-- event, which may have been known before state resolution chose it.
ALTER TABLE member ADD COLUMN pos BIGINT NOT NULL DEFAULT 0;
UPDATE member SET pos = nid WHERE nid > 0;
CREATE INDEX member_pos ON member (room, membership, pos);
