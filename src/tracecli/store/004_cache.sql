-- The response cache, and for how long a record is kept.
ALTER TABLE exchange ADD COLUMN cache_detail VARCHAR;   -- why it was no hit, or was not stored
ALTER TABLE exchange ADD COLUMN credential VARCHAR;     -- the fingerprint of the caller's credential
ALTER TABLE exchange ADD COLUMN asked_hash BLOB;        -- what was asked, whoever asked; NULL: recorded without content
ALTER TABLE exchange ADD COLUMN content_until TIMESTAMPTZ;      -- its content is removed then; NULL: kept
ALTER TABLE exchange ADD COLUMN metadata_until TIMESTAMPTZ;     -- the row itself goes then; NULL: kept
ALTER TABLE exchange ADD COLUMN content_removed_at TIMESTAMPTZ; -- when the content was removed; NULL: it was not
