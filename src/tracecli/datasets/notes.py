"""The notes that a person keeps of a version of a dataset: licence, consent, what is left of people in it.

They are a file beside its definition, which is laid there as a form and not written again: they stay when the dataset
is built again, and are in every card.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from tracecli import files

NAME = "notes.md"
UNKNOWN = "unknown"
"""The id that the Hub has for a licence that nobody named."""
FORM = """\
License: unknown

(Its id on the Hugging Face Hub, as cc-by-4.0, or other. Look at what the providers of the models allow to be trained on
their answers.)

Who agreed that this is used for training, when, and how they can take it back:
to be filled in

On which ground (consent, contract, legitimate interest), and who decided:
to be filled in

What personal data is left, and who looked:
to be filled in

Who may have it, where copies are, and until when they are kept:
to be filled in

Whom to ask:
to be filled in
"""
_LICENSE = re.compile(r"^license:[ \t]*([a-z0-9][a-z0-9.-]{0,60})[ \t]*$", re.IGNORECASE | re.MULTILINE)
_MOST_BYTES = 1 << 20


def read(folder: Path) -> str:
    """The notes in the folder of a version; the form if there are none. Raises OSError if they cannot be read."""
    try:
        with (folder / NAME).open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace").replace("\r\n", "\n")
    except FileNotFoundError:
        return FORM


def lay_out(folder: Path) -> None:
    """Lay the form there, if there is nothing. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        files.write_new(folder / NAME, FORM.encode())


def license_of(text: str) -> str:
    """The licence that notes name, as an id of the Hub."""
    match = _LICENSE.search(text)
    return match[1].lower() if match else UNKNOWN
