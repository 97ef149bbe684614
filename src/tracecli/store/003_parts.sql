-- Large parts of bodies are stored once, however many bodies hold them. A row of a body file has since then
-- request_parts UUID[] and request_at BIGINT[]: these parts belong at these offsets of request_body; the same of the
-- response. The Parquet files in parts/ hold the parts: columns id UUID, part BLOB.
CREATE TABLE part_file (
    name VARCHAR,
    min_id UUID,
    max_id UUID,
    rows BIGINT,
    bytes BIGINT,
    part_bytes BIGINT           -- of the parts, before compression
);

-- One row for each part.
CREATE TABLE part (
    hash BLOB,                  -- SHA-256 of its bytes
    id UUID                     -- UUIDv7 of when it was first stored
);
