"""All formats, by name."""

from __future__ import annotations

from tracecli.datasets.formats import bedrock, fireworks, huggingface, openai, plain, sharegpt, together, vertex
from tracecli.datasets.formats.base import Format

FORMATS: dict[str, Format] = {
    one.name: one
    for family in (
        openai.FORMATS,
        together.FORMATS,
        fireworks.FORMATS,
        bedrock.FORMATS,
        vertex.FORMATS,
        huggingface.FORMATS,
        huggingface.PARQUET,
        plain.FORMATS,
        sharegpt.FORMATS,
    )
    for one in family
}
"""The providers' own formats first, then those of libraries."""
