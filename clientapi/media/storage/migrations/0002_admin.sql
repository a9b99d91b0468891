-- Who has put content into quarantine, and what is safe from that.
ALTER TABLE media ADD COLUMN quarantined_by {text} NOT NULL DEFAULT '';
ALTER TABLE media ADD COLUMN safe BOOLEAN NOT NULL DEFAULT FALSE;
