"""Forms: fields and files, as far as the body holds them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracecli.wire.multipart import Field, fields

FORM = (
    b"preamble\r\n--b0\r\n"
    b'Content-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b0\r\n'
    b'content-disposition: form-data; name="file"; filename="a \xc3\xa9.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    b"RIFF\r\n--b\r\n\x00\r\n--b0\r\n"
    b'Content-Disposition: form-data; name="empty"\r\n\r\n\r\n--b0--\r\nepilogue'
)
FIELDS = [
    Field("model", b"whisper-1"),
    Field("file", b"RIFF\r\n--b\r\n\x00", "a é.wav", "audio/wav"),
    Field("empty", b""),
]


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=b0", 'multipart/form-data; boundary="b0"; x=y']
)
def test_fields(content_type: str) -> None:
    """Names, file names and types are told, the bytes of files are left as they are."""
    assert fields(content_type, FORM) == FIELDS


def test_cut() -> None:
    """A form that was cut gives the fields before, and the beginning of the last."""
    end = FORM.index(b"\x00")
    beginning = Field("file", b"RIFF\r\n--b\r\n", "a é.wav", "audio/wav")
    assert fields("multipart/form-data; boundary=b0", FORM[:end]) == [FIELDS[0], beginning]


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=", ""])
def test_no_boundary(content_type: str) -> None:
    """Without a boundary there are no fields."""
    assert fields(content_type, FORM) == []


def test_odd_parts() -> None:
    """Parts without a name, or without an end of their head, are passed over."""
    body = b"--b\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data\r\n\r\ny\r\n--b\r\nno end of head\r\n--b--"
    assert fields("multipart/form-data; boundary=b", body) == []


@settings(deadline=None)
@given(st.text(max_size=10), st.binary(max_size=80))
def test_anything(boundary: str, body: bytes) -> None:
    """Nothing raises."""
    fields(f"multipart/form-data; boundary={boundary}", body)
    fields("multipart/form-data; boundary=b", b"--b\r\n" + body)
