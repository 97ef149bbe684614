"""A page about what was recorded: `figures` gathers, `charts` draws, `page` writes HTML. No script, no network."""
