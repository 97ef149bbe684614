-- What was said, as text that the database engine can look for words in. The Parquet files in said/ hold the pieces:
-- columns id UUID, role, type, name, call_id, text VARCHAR. A row of a body file has since then prompt_said UUID[] and
-- prompt_message INTEGER[]: these pieces are of these messages, -1 where none was understood; the same of completion.
CREATE TABLE said_file (
    name VARCHAR,
    min_id UUID,
    max_id UUID,
    rows BIGINT,
    bytes BIGINT,
    text_bytes BIGINT           -- of the texts, before compression
);
