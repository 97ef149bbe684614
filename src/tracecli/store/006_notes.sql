-- What people say of an exchange: they change it, and ingest does not.
ALTER TABLE exchange ADD COLUMN tags VARCHAR[];         -- from the header X-Tracecli-Tags, and of readers
ALTER TABLE exchange ADD COLUMN score DOUBLE;           -- how good the answer is, 1 to 5; NULL: nobody has said
ALTER TABLE exchange ADD COLUMN comment VARCHAR;        -- what was said beside the score
