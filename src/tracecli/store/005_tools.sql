
-- The tools that the model called, by name, each once; NULL: recorded before there was this column, or without content.
ALTER TABLE exchange ADD COLUMN tools VARCHAR[];
