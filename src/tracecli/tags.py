"""Tags and scores: what people say of recorded exchanges. Pure.

A tag is a few words without commas. A client gives tags in a header, `X-Tracecli-Tags: nightly, agent-7`; readers add
and remove others.
"""

from __future__ import annotations

import re

from tracecli.errors import ConfigError

LONGEST = 64
"""Characters of a tag."""
MOST = 32
"""Tags of an exchange."""
LOWEST, HIGHEST = 1.0, 5.0
"""A score, from bad to good."""
LONGEST_COMMENT = 2000

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def of_header(value: str) -> list[str]:
    """The tags that a header lists, each once, as far as they are any: it comes from a client, and never fails."""
    named = (" ".join(_CONTROLS.sub("", part).split())[:LONGEST].strip() for part in value.split(","))
    return list(dict.fromkeys(name for name in named if name))[:MOST]


def checked(text: str) -> str:
    """A tag as somebody typed it, without spaces around. Raises ConfigError if it cannot be one."""
    tag = text.strip()
    remedy = "Write a few words, as `good` or `for-review`."
    if not tag:
        raise ConfigError("a tag is empty", remedy)
    if "," in tag or _CONTROLS.search(tag):
        raise ConfigError(f"a tag has a comma or a control character: {tag!r}", remedy)
    if len(tag) > LONGEST:
        raise ConfigError(f"a tag has {len(tag)} characters, and {LONGEST} are the most: {tag[:20]!r}...", remedy)
    return tag


def checked_score(score: float) -> float:
    """A score. Raises ConfigError if it is out of range."""
    if not LOWEST <= score <= HIGHEST:  # nor is what is no number
        raise ConfigError(f"a score of {score:g} is not from {LOWEST:g} to {HIGHEST:g}", "5 is good, 1 is bad.")
    return score


def checked_comment(text: str) -> str:
    """A comment. Raises ConfigError if it is too long."""
    if len(text) > LONGEST_COMMENT:
        raise ConfigError(
            f"a comment has {len(text)} characters, and {LONGEST_COMMENT} are the most", "Say it in fewer words."
        )
    return text.encode("utf-8", "replace").decode()
