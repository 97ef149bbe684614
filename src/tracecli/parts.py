"""Parts of a recorded exchange as bytes, for files and pipes. Pure."""

from __future__ import annotations

from tracecli.contents import said_in
from tracecli.exchange import Captured, Headers, Opened


def part(opened: Opened, name: str) -> bytes:
    """`request` and `response`: the body without its content encoding; `prompt` and `completion`: what was said.

    A prompt is the messages under their roles; where nothing was understood, it is the body.
    """
    match name:
        case "request":
            return opened.request.body
        case "response":
            return opened.response.body
        case "prompt":
            if not opened.input_messages:
                return opened.request.body
            messages = [
                f"[{message.get('role') or '-'}]\n" + "\n".join(said_in(message)) for message in opened.input_messages
            ]
            return _encoded("\n\n".join(messages) + "\n")
        case "completion":
            if opened.completion is not None:
                return _encoded(opened.completion)
            texts = [text for message in opened.output_messages for text in said_in(message)]
            return _encoded("\n".join(texts)) if texts else opened.response.body
    raise ValueError(name)


def raw(captured: Captured, name: str | None) -> bytes:
    """The bytes as they were: of one body, or of heads and bodies one after the other, as HTTP/1.1 writes them."""
    exchange = captured.exchange
    if name is not None:
        return captured.request_body if name == "request" else captured.response_body
    asked = _head(f"{exchange.method} {exchange.path} {exchange.http_version}", exchange.request_headers)
    if exchange.status is None:
        return asked + captured.request_body
    answered = _head(f"{exchange.http_version} {exchange.status}", exchange.response_headers)
    return asked + captured.request_body + b"\r\n\r\n" + answered + captured.response_body


def _head(first: str, headers: Headers) -> bytes:
    return _encoded("".join(f"{line}\r\n" for line in (first, *(f"{name}: {value}" for name, value in headers), "")))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
