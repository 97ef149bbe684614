"""Media inside JSON, found by their hashes."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from tests.support.chats import answered, call, store
from tests.support.datasets import built, examples
from tests.support.upkeep import new_home
from tracecli.datasets import media

_IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2
_NAME = hashlib.sha256(_IMAGE).hexdigest()
_TEXT = base64.b64encode(_IMAGE).decode()


def test_bytes_are_found_however_they_are_written() -> None:
    """In data URLs, bare, with slashes escaped, in the alphabet for URLs."""
    url_safe = base64.urlsafe_b64encode(_IMAGE).decode()
    for written in (f"data:image/png;base64,{_TEXT}", _TEXT, url_safe):
        for body in (json.dumps({"a": [{"b": written}]}), json.dumps({"a": written}).replace("/", "\\/")):
            assert list(media.found([body.encode()], [_NAME])) == [(_NAME, _IMAGE)]


def test_only_what_is_wanted_and_each_once() -> None:
    """Other texts are none, whatever they look like."""
    body = json.dumps([_TEXT, _TEXT, "A" * 40, "no Base64 at all " * 9]).encode()
    assert list(media.found([body, body], [_NAME])) == [(_NAME, _IMAGE)]
    assert list(media.found([body], ["00"])) == [] and list(media.found([b"\xff\x00"], [_NAME])) == []


def test_images_are_in_the_line_or_beside_it(tmp_path: Path) -> None:
    """As a data URL where the provider takes no file, else as a file that the line names; a URL stays one."""
    home = new_home(tmp_path)
    url = "https://example.org/ä.png?x=1&y=2"
    content: list[dict[str, Any]] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_TEXT}"}},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    asked = json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()
    store(home, call(1, asked, answered("A lamp.")))
    version = built(home, formats=["openai", "huggingface"], train=1.0, validation=0.0, test=0.0)
    [inline] = examples(version).values()
    urls = [part["image_url"]["url"] for part in inline["messages"][0]["content"] if part["type"] == "image_url"]
    assert urls == [f"data:image/png;base64,{_TEXT}", url]
    text = (version.folder / "huggingface" / "train.jsonl").read_text("utf-8")
    assert f"media/{_NAME}.png" in text and url in text
    assert (version.folder / "huggingface" / "media" / f"{_NAME}.png").read_bytes() == _IMAGE
