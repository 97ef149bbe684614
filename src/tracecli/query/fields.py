"""What a query can ask for: the fields, their kinds, and the columns that answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

type Kind = Literal[
    "word",
    "words",
    "list",
    "choice",
    "status",
    "truth",
    "money",
    "count",
    "score",
    "duration",
    "since",
    "until",
    "id",
    "content",
]
"""How values are read:

`word`      the whole value, `*` for any characters
`words`     any part of it, whatever the case
`list`      as `word`, of any element
`choice`    one of a few
`status`    a number, or `4xx`
`truth`     yes or no
`money`     US dollars: `0.01`, `$2`
`count`     a number: `500`, `10k`, `2M`
`score`     a number: `4`, `4.5`
`duration`  with its unit: `150ms`, `2s`, `5m`
`since`     an instant, as `when.moment` reads it, and what is after; `until`: what is before
`id`        the beginning of an id
`content`   a part of prompt or completion, whatever the case; `/.../` is a regular expression
"""


@dataclass(frozen=True)
class Field:
    """A field: its name, what it is, and the SQL expressions that hold it; a word fits if one of them does."""

    name: str
    kind: Kind
    columns: tuple[str, ...]
    help: str
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()


NUMERIC: frozenset[Kind] = frozenset({"money", "count", "score", "duration", "status"})
"""Kinds whose values have an order: `>`, `..` and the like mean something."""

ERRORS = "(coalesce(status >= 400, false) OR outcome <> 'complete' OR error IS NOT NULL)"
"""The SQL expression for an exchange that went wrong; never NULL."""

_ALL = (
    Field("user", "word", ('"user"',), "who it belongs to"),
    Field(
        "model",
        "word",
        ("request_model", "response_model"),
        "asked for, or answered by",
        ("request_model", "response_model"),
    ),
    Field("provider", "word", ("provider",), "as openai, anthropic"),
    Field("operation", "word", ("operation",), "as chat, embeddings", ("op",)),
    Field("status", "status", ("status",), "of HTTP: 429, 4xx, >=400"),
    Field("outcome", "choice", ("outcome",), "how it ended", choices=("complete", "aborted", "failed")),
    Field("errors", "truth", (ERRORS,), "a status from 400 on, a broken connection or an error in the answer"),
    Field("error", "words", ("error",), "a part of the error's message"),
    Field("policy", "word", ("policy",), "the policy that applied"),
    Field("session", "word", ("session",), "the agent run or conversation"),
    Field(
        "cache",
        "choice",
        ("cache_status",),
        "what the response cache did",
        ("cache_status",),
        ("hit", "miss", "stored", "bypass", "stale", "collapsed"),
    ),
    Field("host", "word", ("host",), "the name the client asked for"),
    Field("path", "word", ("path",), "of the URL, with its query"),
    Field("method", "word", ("method",), "of HTTP"),
    Field("id", "id", ("id",), "the beginning of an id"),
    Field("flag", "list", ("flags",), "a mark on the record, as no_end_event, or a rule that fits", ("flags",)),
    Field("tag", "list", ("tags",), "what a client or a reader called it", ("tags",)),
    Field("score", "score", ("score",), "how good somebody found the answer, 1 to 5"),
    Field("rated", "truth", ("(score IS NOT NULL)",), "somebody has said how good it is"),
    Field("tool", "list", ("tools",), "a tool that the model called", ("tools",)),
    Field("finish", "list", ("finish_reasons",), "why the answer ended, as stop, length", ("finish_reasons",)),
    Field("lane", "choice", ("lane",), "which adapter captured it", choices=("flows", "fast")),
    Field("traced", "truth", ("traced",), "recorded with content"),
    Field("streamed", "truth", ("stream",), "asked for as a stream", ("stream",)),
    Field("cost", "money", ("cost_usd",), "in US dollars", ("cost_usd",)),
    Field("saved", "money", ("saved_usd",), "by the response cache", ("saved_usd",)),
    Field(
        "tokens",
        "count",
        # Providers report what they like: two of the largest numbers must not overflow.
        ("coalesce(input_tokens::HUGEINT + output_tokens, input_tokens, output_tokens)",),
        "in and out together",
    ),
    Field("in", "count", ("input_tokens",), "tokens in, cached ones included", ("input", "input_tokens")),
    Field("out", "count", ("output_tokens",), "tokens out, reasoning included", ("output", "output_tokens")),
    Field(
        "cached",
        "count",
        ("cache_read_input_tokens",),
        "tokens read from the provider's prompt cache",
        ("cache_read_input_tokens",),
    ),
    Field("reasoning", "count", ("reasoning_output_tokens",), "tokens of reasoning", ("reasoning_output_tokens",)),
    Field("duration", "duration", ("duration_ms",), "to the last byte", ("latency", "took", "duration_ms")),
    Field("ttft", "duration", ("ttft_ms",), "to the first token of a stream", ("ttft_ms",)),
    Field("ttfb", "duration", ("ttfb_ms",), "to the first byte of the answer", ("ttfb_ms",)),
    Field("since", "since", ("started_at",), "from then on: 2h, 7d or a date", ("after",)),
    Field("until", "until", ("started_at",), "before then", ("before",)),
    Field(
        "ended",
        "since",
        ("make_timestamptz(epoch_us(started_at) + (least(duration_ms, 1e12) * 1000)::BIGINT)",),
        "that ended from then on: 5m, or a date",
    ),
    Field("text", "content", (), "words of prompt or completion; words without a field are this"),
    Field("prompt", "content", (), "words of the prompt"),
    Field("completion", "content", (), "words of the completion"),
)
FIELDS = {field.name: field for field in _ALL}
_NAMED = FIELDS | {alias: field for field in _ALL for alias in field.aliases}
NAMES = tuple(_NAMED)
"""Every name that a field can be called by."""


def named(name: str) -> Field | None:
    """The field of this name, in whatever case; or None."""
    return _NAMED.get(name.lower())
