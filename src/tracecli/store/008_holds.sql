-- Whose records, and records of which tag, nothing removes as long as it stands here.
CREATE TABLE hold (
    kind VARCHAR,               -- user or tag
    value VARCHAR,              -- the name
    since TIMESTAMPTZ,
    reason VARCHAR              -- for people
);
