"""The templates of the pages: one file of HTML each, that asks for nothing. Values are escaped, and none is missing."""

from __future__ import annotations

from typing import Any

import jinja2

_environment = jinja2.Environment(
    loader=jinja2.PackageLoader("tracecli", "report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def rendered(name: str, /, **values: Any) -> str:
    """A page as HTML."""
    return _environment.get_template(name).render(values)
