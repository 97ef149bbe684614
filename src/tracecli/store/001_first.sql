-- The schema of traces.duckdb. No keys, indexes, enums or sequences: ids are UUIDv7 in time order, so zone maps find
-- them, and the same statements run on DuckLake. Money is USD. Durations are milliseconds.

-- One row for each migration that was applied; the highest is the version of the schema.
CREATE TABLE schema_version (
    version INTEGER,
    applied_at TIMESTAMPTZ,
    tracecli VARCHAR            -- the version of tracecli that applied it
);

-- One row for each exchange.
CREATE TABLE exchange (
    id UUID,                    -- UUIDv7 of the start
    started_at TIMESTAMPTZ,     -- when the head of the request had arrived
    duration_ms DOUBLE,         -- to the last byte, or to the break
    ttfb_ms DOUBLE,             -- to the first byte of the answer
    ttft_ms DOUBLE,             -- to the first generated token of a stream
    "user" VARCHAR,             -- who it belongs to
    user_source VARCHAR,        -- header, credential or anonymous
    policy VARCHAR,             -- the policy that applied
    reason VARCHAR,             -- the rule that chose it
    session VARCHAR,            -- the agent run or conversation it is part of
    provider VARCHAR,           -- OpenTelemetry name
    host VARCHAR,               -- the name the client asked for
    operation VARCHAR,          -- OpenTelemetry name; NULL: unknown
    method VARCHAR,             -- of HTTP
    scheme VARCHAR,             -- https or http
    port INTEGER,               -- of the provider
    path VARCHAR,               -- with the query, without credentials
    http_version VARCHAR,       -- of the client
    lane VARCHAR,               -- which adapter captured it
    status INTEGER,             -- NULL: no answer
    stream BOOLEAN,             -- asked for as a stream
    request_model VARCHAR,      -- asked for
    response_model VARCHAR,     -- answered by
    response_id VARCHAR,        -- the provider's
    finish_reasons VARCHAR[],   -- in the provider's words, one for each choice
    input_tokens BIGINT,        -- cached ones included
    output_tokens BIGINT,       -- reasoning included
    cache_read_input_tokens BIGINT, -- read from the provider's prompt cache
    cache_creation_input_tokens BIGINT, -- written to it
    reasoning_output_tokens BIGINT, -- part of output_tokens
    usage_source VARCHAR,       -- reported, estimated or unknown
    cost_usd DECIMAL(28, 15),   -- NULL: unknown
    cost_source VARCHAR,        -- provider, computed, estimated or unknown
    cost_detail VARCHAR,        -- how it was computed, or why it is unknown
    cache_status VARCHAR,       -- of our response cache, in words of RFC 9211
    cache_origin UUID,          -- the exchange that a hit was answered from
    saved_usd DECIMAL(28, 15),  -- by a hit
    saved_ms DOUBLE,            -- by a hit
    outcome VARCHAR,            -- complete, aborted or failed
    error VARCHAR,              -- what the provider said, or why the connection broke
    request_bytes BIGINT,       -- body bytes that passed, also where fewer were kept
    response_bytes BIGINT,      -- the same of the answer
    request_cut BOOLEAN,        -- only the beginning was kept
    response_cut BOOLEAN,       -- only the beginning was kept
    traced BOOLEAN,             -- recorded with content
    flags VARCHAR[],            -- what to know when reading it, as request_cut; and names of rules
    request_headers STRUCT(name VARCHAR, value VARCHAR)[], -- without credentials
    response_headers STRUCT(name VARCHAR, value VARCHAR)[], -- without credentials
    chunks STRUCT(bytes BIGINT, ms DOUBLE)[],  -- when the first pieces of the answer had arrived
    record_version INTEGER      -- of the spool record it was made from
);

-- Which segments of the spool were loaded, in the same transaction as their exchanges: so nothing is loaded twice.
CREATE TABLE loaded_segment (
    name VARCHAR,
    loaded_at TIMESTAMPTZ
);

-- The Parquet files in bodies/ and the ids they hold: columns id UUID, request_body BLOB, response_body BLOB,
-- as the bytes were on the wire.
CREATE TABLE body_file (
    name VARCHAR,
    min_id UUID,
    max_id UUID,
    rows BIGINT,
    bytes BIGINT
);
