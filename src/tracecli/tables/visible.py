"""Recorded text, made safe to look at. Everything recorded passes here before it reaches a terminal.

What was recorded is hostile: a prompt or a header can hold escape sequences that clear the screen, write the
clipboard (OSC 52) or fake a prompt, bidirectional overrides that show another text than there is, and invisible
"tag" letters that only a model reads. None of it is dropped; each such character becomes its own escape, `\\x1b`.
"""

from __future__ import annotations

import re

# Controls (C0 but tab and newline, DEL, C1), marks that reorder text, invisible characters, lone surrogates, and
# the two separators that some terminals and pagers take for line ends. ZWNJ and ZWJ stay: scripts and emoji need them.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
_SPACE = re.compile(r"[ \n]+")


def lines(text: str) -> str:
    """Text of several lines: CRLF is a newline, a tab is spaces, everything else that acts is escaped."""
    return _UNSAFE.sub(_escape, text.replace("\r\n", "\n")).expandtabs(8)


def line(text: str) -> str:
    """Text for one line or one cell: as `lines`, with each run of blanks as one space and none at the ends."""
    return _SPACE.sub(" ", lines(text)).strip(" ")


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
