"""HTTP Archive 1.2 (http://www.softwareishard.com/blog/har-12-spec/): exchanges as browsers' developer tools keep them.

Bodies are told without their content encoding, as browsers tell them: text as it is, everything else as Base64. What
was not recorded is left out, and a comment says so. What HAR has no name for is under `_tracecli`.
"""

from __future__ import annotations

import base64
import datetime as dt
import http
import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tracecli import __version__
from tracecli.exchange import Body, Headers, Opened, Row

_OURS = (
    *("id", "user", "policy", "session", "provider", "operation", "request_model", "response_model", "stream"),
    *("input_tokens", "output_tokens", "cache_read_input_tokens", "reasoning_output_tokens", "cost_usd", "cost_source"),
    *("cache_status", "outcome", "error", "ttft_ms", "flags"),
)
_UNKNOWN = -1


def pieces(exchanges: Iterable[Opened]) -> Iterator[str]:
    """The archive as text, entry by entry."""
    about = json.dumps({"name": "tracecli", "version": __version__})
    yield f'{{"log": {{"version": "1.2", "creator": {about}, "pages": [], "entries": ['
    for number, one in enumerate(exchanges):
        yield ("," if number else "") + "\n" + json.dumps(entry(one), allow_nan=False)
    yield "\n]}}\n"


def entry(exchange: Opened) -> dict[str, Any]:
    """One exchange."""
    row = exchange.row
    told = row.as_json()
    return {
        "startedDateTime": row.started_at.astimezone(dt.UTC).isoformat(timespec="milliseconds"),
        "time": row.duration_ms,
        "request": _request(exchange),
        "response": _response(exchange),
        "cache": {},
        "timings": _timings(row, exchange.connect_ms),
        "_tracecli": {name: told[name] for name in _OURS},
    }


def _request(exchange: Opened) -> dict[str, Any]:
    row, side = exchange.row, exchange.request
    told: dict[str, Any] = {
        "method": row.method,
        "url": exchange.url,
        "httpVersion": exchange.http_version,
        "cookies": [],
        "headers": _pairs(side.headers),
        "queryString": _pairs(parse_qsl(urlsplit(exchange.url).query, keep_blank_values=True)),
        "headersSize": _UNKNOWN,
        "bodySize": row.request_bytes,
    }
    if side.body:
        text, encoding = _text(side.body)
        told["postData"] = {"mimeType": _type(side.headers), "params": [], "text": text, **encoding, **_cut(side)}
    elif row.request_bytes:
        told["comment"] = _WITHOUT
    return told


def _response(exchange: Opened) -> dict[str, Any]:
    row, side = exchange.row, exchange.response
    content: dict[str, Any] = {"size": len(side.body), "mimeType": _type(side.headers), **_cut(side)}
    if side.body:
        text, encoding = _text(side.body)
        content |= {"text": text, **encoding}
    elif row.response_bytes:
        content |= {"size": row.response_bytes, "comment": _WITHOUT}
    status = row.status or 0
    return {
        "status": status,
        "statusText": http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else "",
        "httpVersion": exchange.http_version,
        "cookies": [],
        "headers": _pairs(side.headers),
        "content": content,
        "redirectURL": next((value for name, value in side.headers if name.lower() == "location"), ""),
        "headersSize": _UNKNOWN,
        "bodySize": row.response_bytes,
        **({} if row.status else {"comment": row.error or "no answer"}),
    }


_WITHOUT = "recorded without content"


def _timings(row: Row, connect_ms: float | None) -> dict[str, float]:
    """They add up to the whole: connecting includes TLS, and what is sent goes out meanwhile."""
    connect = connect_ms or 0.0
    first = max(connect, row.duration_ms if row.ttfb_ms is None else row.ttfb_ms)
    return {
        "blocked": _UNKNOWN,
        "dns": _UNKNOWN,
        "connect": _UNKNOWN if connect_ms is None else connect,
        "ssl": _UNKNOWN,
        "send": 0,
        "wait": first - connect,
        "receive": max(0.0, row.duration_ms - first),
    }


def _pairs(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in pairs]


def _type(headers: Headers) -> str:
    return next((value for name, value in headers if name.lower() == "content-type"), "application/octet-stream")


def _text(body: bytes) -> tuple[str, dict[str, str]]:
    try:
        return body.decode(), {}
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), {"encoding": "base64"}


def _cut(side: Body) -> dict[str, str]:
    return {"comment": "only the beginning was recorded"} if side.cut else {}
