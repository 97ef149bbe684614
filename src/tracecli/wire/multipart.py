"""Forms: multipart/form-data (RFC 7578), as far as a body holds them. Split on the boundary, bytes left as they are."""

from __future__ import annotations

import re

import msgspec

_BOUNDARY = re.compile(r'boundary=(?:"(?P<quoted>[^"]+)"|(?P<plain>[^;\s]+))', re.IGNORECASE)
_PARAMETER = re.compile(rb'(?P<name>\w+)="(?P<value>[^"]*)"')


class Field(msgspec.Struct, frozen=True):
    """One field of a form."""

    name: str
    data: bytes
    filename: str | None = None
    content_type: str | None = None


def fields(content_type: str, body: bytes) -> list[Field]:
    """The fields of a form; the last one may be cut. None at all if the content type names no boundary."""
    match = _BOUNDARY.search(content_type)
    if match is None:
        return []
    boundary = (match["quoted"] or match["plain"]).encode("latin-1", "replace")
    # Each part begins after the line that holds the boundary and ends before the line end in front of the next one.
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary)[1:]
    return [field for part in parts if (field := _field(part)) is not None]


def _field(part: bytes) -> Field | None:
    head, separator, data = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    if not separator:
        return None
    parameters: dict[bytes, str] = {}
    content_type = None
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        match name.strip().lower():
            case b"content-disposition":
                parameters = {
                    one["name"]: one["value"].decode("utf-8", "replace") for one in _PARAMETER.finditer(value)
                }
            case b"content-type":
                content_type = value.strip().decode("latin-1")
    if b"name" not in parameters:
        return None
    return Field(parameters[b"name"], data, parameters.get(b"filename"), content_type)
