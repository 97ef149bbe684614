"""Embeddings, moderation, images, transcription and speech."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.providers.readings import HELLO, JSON_HEAD, STREAM_HEAD, asked, blob, fed, output, said, streamed, whole
from tracecli.exchange import Usage
from tracecli.understanding import Reading


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ("hi", said("hi")),
        (["a", "b"], said("a") + said("b")),
        ([1, 2], []),
        ([{"type": "text", "text": "a"}], said("a")),
        (None, []),
    ],
)
@pytest.mark.parametrize("wire_format", ["openai.embeddings", "openai.moderation"])
def test_input(wire_format: str, given: Any, parts: list[Any]) -> None:
    """A text, texts or parts; lists of token numbers say nothing."""
    found = asked(wire_format, {"model": "m", "input": given, "user": "ann"}).finish()
    assert found.input_messages == ([{"role": "user", "parts": parts}] if parts else [])
    assert (found.claimed_user, found.stream) == ("ann", False)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [({"prompt_tokens": 4, "total_tokens": 4}, 4), ({"total_tokens": 7}, 7), ({}, None)],
)
def test_embeddings(usage: Any, tokens: int | None) -> None:
    """Model and tokens are told, vectors are not kept; where only a total is given, all of it is input."""
    found = whole("openai.embeddings", {"model": "m-1", "data": [{"embedding": "AAAA"}], "usage": usage})
    assert (found.response_model, found.understood, found.output_messages) == ("m-1", True, [])
    assert (found.usage and found.usage.input_tokens) == tokens


def test_moderation() -> None:
    """An answer without usage is an answer all the same."""
    found = whole("openai.moderation", {"id": "modr-1", "model": "m-1", "results": [{"flagged": True}]})
    assert (found.response_id, found.response_model, found.usage, found.understood) == ("modr-1", "m-1", None, True)
    assert whole("openai.moderation", {"id": "x"}).flags == ["not_understood"]


def test_images() -> None:
    """Images are described; where the answer does not tell, all the tokens made are images."""
    data = [{"b64_json": HELLO}, {"url": "https://example.com/a.png"}, {}]
    usage = {"input_tokens": 50, "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}, "output_tokens": 100}
    answer = {"data": data, "output_format": "png", "usage": usage}
    found = whole("openai.images", answer, request={"model": "m", "prompt": "a cat"})
    assert output(found) == [blob("image/png"), {"type": "uri", "uri": "https://example.com/a.png"}]
    assert found.input_messages == [{"role": "user", "parts": said("a cat")}]
    assert found.usage == Usage(input_tokens=50, output_tokens=100, input_image_tokens=40, output_image_tokens=100)
    details = {"output_tokens_details": {"image_tokens": 90, "text_tokens": 10}}
    told = whole("openai.images", answer | {"usage": usage | details}).usage
    assert told is not None and told.output_image_tokens == 90
    stream = streamed(
        "openai.images",
        {"type": "image_generation.partial_image", "b64_json": "xx"},
        {"type": "image_generation.completed", "b64_json": HELLO, "output_format": "png", "usage": usage},
    )
    assert (output(stream), stream.flags) == ([blob("image/png")], [])
    assert stream.usage == found.usage


def form(*fields: tuple[str, str, bytes]) -> bytes:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data
        for name, more, data in fields
    ]
    return b"\r\n".join([*parts, b"--b--\r\n"])


def transcribed(*fields: tuple[str, str, bytes], content: bool = True) -> Reading:
    reading = Reading("openai", "openai.transcription", "/v1/audio/transcriptions", content=content)
    reading.request([("Content-Type", "multipart/form-data; boundary=b")], form(*fields))
    return reading


FILE = ("file", '; filename="a.wav"\r\nContent-Type: audio/wav', b"hello")


def test_forms() -> None:
    """The fields of a form are read as JSON would be, its file is described."""
    found = transcribed(("model", "", b"whisper-1"), ("stream", "", b"true"), ("prompt", "", b"names"), FILE).finish()
    assert (found.request_model, found.stream, found.understood) == ("whisper-1", True, True)
    parts = [blob("audio/wav", filename="a.wav"), *said("names")]
    assert found.input_messages == [{"role": "user", "parts": parts}]
    assert transcribed(("model", "", b"whisper-1"), FILE, content=False).finish().input_messages == []


def test_transcription() -> None:
    """JSON, plain text and events; tokens of sound are told apart."""
    usage = {"type": "tokens", "input_tokens": 14, "input_token_details": {"audio_tokens": 14}, "output_tokens": 4}
    counted = Usage(input_tokens=14, output_tokens=4, input_audio_tokens=14)
    reading = transcribed(("model", "", b"m"), FILE)
    found = fed(reading, JSON_HEAD, b'{"text": "hello there", "usage": %s}' % str(usage).replace("'", '"').encode())
    assert (found.completion, found.usage, found.understood) == ("hello there", counted, True)
    plain = fed(transcribed(("model", "", b"m"), FILE), [("content-type", "text/plain")], b"hello ", b"there\n")
    assert (plain.completion, plain.understood, plain.flags) == ("hello there", True, [])
    events = (
        b'data: {"type": "transcript.text.delta", "delta": "hello"}\n\n',
        b'data: {"type": "transcript.text.done", "text": "hello there", "usage": {"input_tokens": 14}}\n\n',
    )
    stream = fed(transcribed(("model", "", b"m"), FILE), STREAM_HEAD, *events)
    assert (stream.completion, stream.flags, stream.usage) == ("hello there", [], Usage(input_tokens=14))
    metered = fed(transcribed(("model", "", b"m"), FILE, content=False), [("content-type", "text/plain")], b"hello")
    assert (metered.completion, metered.understood) == (None, True)


def test_speech() -> None:
    """Sound is described by its size and hash and never held; an error is told as ever."""
    sound = bytes(range(256)) * 1000
    request = {"model": "tts", "input": "hi", "voice": "v"}
    reading = asked("openai.speech", request)
    found = fed(reading, [("content-type", "audio/mpeg")], sound[:1000], sound[1000:])
    assert reading._whole == []
    part = {
        "type": "blob",
        "mime_type": "audio/mpeg",
        "size_bytes": 256_000,
        "sha256": hashlib.sha256(sound).hexdigest(),
    }
    assert (output(found), found.understood, found.flags) == ([part], True, [])
    assert found.input_messages == [{"role": "user", "parts": said("hi")}]
    assert (
        fed(asked("openai.speech", request, content=False), [("content-type", "audio/mpeg")], sound).output_messages
        == []
    )
    assert whole("openai.speech", {"error": {"message": "no"}}, status=400, request=request).error == "no"
    events = [
        {"type": "speech.audio.delta", "audio": HELLO},
        {"type": "speech.audio.done", "usage": {"input_tokens": 3}},
    ]
    stream = streamed("openai.speech", *events, request=request)
    assert (stream.usage, stream.flags) == (Usage(input_tokens=3), [])
