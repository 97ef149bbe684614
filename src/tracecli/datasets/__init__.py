"""Training datasets from what was recorded: chosen by a query, cleaned step by step, split, and written in formats."""
