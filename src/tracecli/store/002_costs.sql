-- What is needed to understand and to price an exchange again, as JSON; NULL: recorded before there was this column.
ALTER TABLE exchange ADD COLUMN cost_basis VARCHAR; -- usage in full, service tier, reported cost, estimate
ALTER TABLE exchange ADD COLUMN captured VARCHAR;   -- fields of the capture that no other column holds as they were

-- One row for each cost that was worked out again and came out differently; rows are only added.
CREATE TABLE cost_change (
    exchange_id UUID,
    changed_at TIMESTAMPTZ,
    cause VARCHAR,              -- reprice or reparse
    old_cost_usd DECIMAL(28, 15),
    old_cost_source VARCHAR,
    old_cost_detail VARCHAR,
    new_cost_usd DECIMAL(28, 15),
    new_cost_source VARCHAR,
    new_cost_detail VARCHAR
);
