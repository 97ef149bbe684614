"""Tags, scores and comments: what they may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracecli import tags
from tracecli.errors import ConfigError


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", []),
        (" , ,", []),
        ("nightly", ["nightly"]),
        (" b ,a,b , two  words", ["b", "a", "two words"]),
        ("a\x1b[31m,\u202eb\u2028", ["a[31m", "b"]),
        ("x" * 100, ["x" * 64]),
        (",".join(map(str, range(99))), [str(number) for number in range(32)]),
    ],
)
def test_of_header(header: str, found: list[str]) -> None:
    """A header's list is taken as far as it is one: each tag once, cleaned, cut, and not too many."""
    assert tags.of_header(header) == found


@given(st.text())
def test_any_header(header: str) -> None:
    """Whatever a client sends makes tags that a reader could have typed."""
    assert [tags.checked(tag) for tag in tags.of_header(header)] == tags.of_header(header)


@pytest.mark.parametrize(
    ("text", "why"), [("", "empty"), (" ", "empty"), ("a,b", "comma"), ("a\nb", "control"), ("x" * 65, "65")]
)
def test_no_tag(text: str, why: str) -> None:
    """What is no tag is refused, and the sentence says why."""
    with pytest.raises(ConfigError, match=why):
        tags.checked(text)


@pytest.mark.parametrize("score", [0.9, 5.1, -1.0, float("nan"), float("inf")])
def test_no_score(score: float) -> None:
    """A score out of range, or that is no number, is refused."""
    with pytest.raises(ConfigError, match="1 to 5"):
        tags.checked_score(score)


def test_a_long_comment() -> None:
    """A comment has its limit."""
    assert tags.checked_comment("x" * 2000) == "x" * 2000
    with pytest.raises(ConfigError, match="2001"):
        tags.checked_comment("x" * 2001)
