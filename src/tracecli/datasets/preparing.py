"""From an exchange to an example: the cleaning steps that look at one exchange alone, in their order. Pure.

What the others need, that compare examples with each other, is noted beside the example (`Prepared`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import msgspec
import re2  # type: ignore[import-untyped]

from tracecli.contents import said_in
from tracecli.datasets import similar
from tracecli.datasets.definition import PERSONAL, Definition
from tracecli.datasets.example import ANSWER, Example, Source, Tool, all_parts, media_of, parts, text_of
from tracecli.datasets.language import language_of
from tracecli.datasets.refusals import refuses
from tracecli.exchange import Captured, Message, Understanding
from tracecli.providers.tool_definitions import offered
from tracecli.recorded import Recorded
from tracecli.redaction import ALWAYS, KINDS, redact_text, rules, spans
from tracecli.understanding import understand
from tracecli.wire.encodings import decode

CHECKED = "checked"
"""The step that is always taken: what is no example at all."""
_CUT = ("length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded", "incomplete")
_BROKEN = frozenset(
    {"truncated", "no_end_event", "bad_encoding", "bad_event", "too_large", "request_cut", "response_cut"}
)
_MEDIA = frozenset({"blob", "uri", "file"})
_CALLS = frozenset({"tool_call"})
_THOUGHTS = frozenset({"reasoning"})
_KEPT_ELSEWHERE = re.compile(rb'"(?:previous_response_id|conversation)"\s*:\s*["{]')
_NUMBER = re.compile(r"\d+")
_MEMORY = 64 << 20
"""Of an expression of all that is looked for, in bytes."""
_CHARACTERS_A_TOKEN = 4
_TEMPLATE_WORDS = 8
_TEMPLATE_CHARACTERS = 400
_ENDINGS = 12
"""A prompt is looked for in others by what it is up to each of its last so many answers."""


class Dropped(Exception):
    """That an exchange becomes no example: by which step, and why, in a few words without content."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(step, why)
        self.step, self.why = step, why


class Prepared(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """An example, and what it is compared by."""

    id: str
    example: bytes
    """As JSON, of `Example`."""
    changed: list[str]
    """The steps that changed it."""
    user: str
    group: str
    """Its conversation: by the client's session id, else by how it began."""
    model: str | None
    policy: str
    provider: str
    score: float | None
    started_at_us: int
    tokens: int
    answer_tokens: int
    answers: int
    """How many are in the conversation."""
    calls_tools: bool
    language: str | None
    template: str
    origin: str
    """The exchange whose answer it is: of a cache hit another one."""
    said: str
    """A hash of all of it, but for case and blanks."""
    prompt: str
    """A hash of the prompt, and of the tools."""
    conversation: str
    """A hash of the prompt with its answer, of one user."""
    earlier: list[str]
    """The same of the beginnings of the prompt that end with an answer."""
    bands: list[int]
    """See `similar.bands`."""
    media: list[str]
    """SHA-256 of the media it holds, whose bytes are recorded."""


class Left(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """An exchange that became no example."""

    id: str
    step: str
    why: str
    started_at_us: int


class Preparer:
    """Prepares exchanges as a definition says."""

    def __init__(self, definition: Definition) -> None:
        self._of = definition

    def prepared(self, recorded: Recorded, captured: Captured | None) -> Prepared | Left:
        """An example of an exchange, or why it is none; `captured` is None if its content is gone."""
        try:
            return self._prepared(recorded, captured)
        except Dropped as dropped:
            row = recorded.row
            return Left(row.id, dropped.step, dropped.why, recorded.exchange.started_at_us)

    def _prepared(self, recorded: Recorded, captured: Captured | None) -> Prepared:
        row = recorded.row
        if captured is None or not (captured.request_body or captured.response_body):
            raise Dropped(CHECKED, "recorded without content" if not row.traced else "the content is removed")
        understood, _ = understand(captured.exchange, captured.request_body, captured.response_body)
        self._went_well(recorded, understood)
        request = _plain(captured)
        messages, answer = _conversation(understood, request)
        self._is_answer(understood, answer)
        _check(messages, answer)
        changed: list[str] = []
        if self._of.min_score is not None and (row.score is None or row.score < self._of.min_score):
            raise Dropped("min_score", "not rated" if row.score is None else "rated worse")
        before = _characters(messages), _characters([answer])
        given = offered(request)
        tools = [Tool(*one) for one in given.tools]
        messages, answer, tools = self._shaped(messages, answer, tools, changed)
        messages, answer, tools = self._without_secrets(messages, answer, tools, changed)
        answer_tokens = _share(row.output_tokens, before[1], _characters([answer]))
        tokens = _share(row.input_tokens, before[0], _characters(messages)) + answer_tokens
        self._fits(tokens)
        language = self._language(answer)
        example = Example(
            messages=[*messages, answer],
            tools=tools,
            parallel_tool_calls=given.parallel if tools else None,
            source=Source(row.id, row.response_model or row.request_model, row.started_at, row.policy),
            only_last=self._of.turns == "each",
        )
        return self._noted(recorded, example, changed, tokens, answer_tokens, language)

    def _went_well(self, recorded: Recorded, understood: Understanding) -> None:
        row = recorded.row
        if row.status is None or row.status >= 400:
            why = "no answer" if row.status is None else f"status {row.status // 100}xx"
            raise Dropped("errors" if self._of.errors == "drop" else CHECKED, why)
        if row.outcome != "complete" and self._of.truncated == "drop":
            raise Dropped("truncated", f"the call was {row.outcome}")
        if self._of.errors == "drop" and (understood.error or "error_in_stream" in understood.flags):
            raise Dropped("errors", "an error in the answer")
        if self._of.truncated == "drop":
            if broken := sorted(_BROKEN.intersection([*understood.flags, *row.flags])):
                raise Dropped("truncated", broken[0].replace("_", " "))
            if any(reason.lower() in _CUT for reason in understood.finish_reasons or ()):
                raise Dropped("truncated", "a limit of tokens")
        if not understood.understood or {"not_understood", "request_not_understood"} & set(understood.flags):
            raise Dropped(CHECKED, "not understood")

    def _is_answer(self, understood: Understanding, answer: Message) -> None:
        calls = any(part.get("type") in _CALLS for part in answer["parts"])
        text = text_of(answer)
        if self._of.refusals == "drop":
            marked = any(part.get("refusal") for part in answer["parts"])
            if refuses(text, understood.finish_reasons or (), marked=marked, calls_tools=calls):
                raise Dropped("refusals", "the answer refuses")
        if not text.strip() and not calls and not any(part.get("type") in _MEDIA for part in answer["parts"]):
            if self._of.empty == "drop":
                raise Dropped("empty", "no text and no tool call")
            if not answer["parts"]:
                raise Dropped(CHECKED, "no answer")

    def _shaped(
        self, messages: list[Message], answer: Message, tools: list[Tool], changed: list[str]
    ) -> tuple[list[Message], Message, list[Tool]]:
        """As the steps want it that take out what is not to be learned."""
        of = self._of
        if of.system != "keep":
            rest = [one for one in messages if not is_system(one)]
            if of.system == "replace":
                rest.insert(0, {"role": "system", "parts": [{"type": "text", "content": of.system_text}]})
            if rest != messages:
                changed.append("system")
                messages = rest
        every = [*messages, answer]
        calls = any(part.get("type") in _CALLS for one in every for part in one["parts"])
        if of.tools == "drop" and calls:
            raise Dropped("tools", "a tool call")
        if of.tools == "only" and not calls:
            raise Dropped("tools", "no tool call")
        if of.tools == "drop" and tools:
            changed.append("tools")
            tools = []
        if of.reasoning == "drop":
            every = _without(every, _THOUGHTS, "reasoning", changed)
        if of.media != "keep":
            held = any(part.get("type") in _MEDIA for one in every for part in all_parts(one))
            if held and of.media == "drop":
                raise Dropped("media", "an image, sound or file")
            if held:
                every = _without(every, _MEDIA, "media", changed)
        if len(every) < 2 or not every[-1]["parts"] or every[-1].get("role") != ANSWER:
            raise Dropped(CHECKED, "nothing is left of the answer")
        if all(is_system(one) for one in every[:-1]):
            raise Dropped(CHECKED, "an answer without a prompt")
        return every[:-1], every[-1], tools

    def _without_secrets(
        self, messages: list[Message], answer: Message, tools: list[Tool], changed: list[str]
    ) -> tuple[list[Message], Message, list[Tool]]:
        every = [*messages, answer]
        for step, finder, what in (
            ("secrets", self._secrets, self._of.secrets),
            ("personal_data", self._personal, self._of.personal_data),
        ):
            if what == "keep" or not (found := finder.found(_texts(every, tools))):
                continue
            if what == "drop":
                raise Dropped(step, found[0].replace("_", " "))
            changed.append(step)
            redacted = partial(redact_text, by=finder.rules)
            every = _rewritten(every, redacted)
            tools = [
                msgspec.structs.replace(
                    one,
                    description=_replaced(one.description, redacted),
                    parameters=_replaced(one.parameters, redacted),
                )
                for one in tools
            ]
        return every[:-1], every[-1], tools

    @cached_property
    def _secrets(self) -> _Finder:
        return _Finder([ALWAYS], {})

    @cached_property
    def _personal(self) -> _Finder:
        return _Finder([kind for kind in PERSONAL if kind in (self._of.kinds or PERSONAL)], self._of.patterns)

    def _fits(self, tokens: int) -> None:
        if self._of.min_tokens is not None and tokens < self._of.min_tokens:
            raise Dropped("min_tokens", "too short")
        if self._of.max_tokens is not None and tokens > self._of.max_tokens:
            raise Dropped("max_tokens", "too long")

    @cached_property
    def _languages(self) -> frozenset[str]:
        return frozenset(self._of.languages)

    def _language(self, answer: Message) -> str | None:
        wanted = self._languages
        if not wanted and self._of.balance != "language":
            return None
        language = language_of(text_of(answer))
        if wanted and language is not None and language not in wanted:
            raise Dropped("languages", language)
        return language

    def _noted(
        self,
        recorded: Recorded,
        example: Example,
        changed: list[str],
        tokens: int,
        answer_tokens: int,
        language: str | None,
    ) -> Prepared:
        row, messages = recorded.row, example.messages
        heard = [_heard(one) for one in messages]
        talk = [(one.get("role"), text) for one, text in zip(messages, heard, strict=True) if not is_system(one)]
        roles = [str(one.get("role")) for one in messages]
        tools = [one.name for one in example.tools]
        conversation, earlier = self._places(row.user, talk)
        near: list[int] = []
        if self._of.near_duplicates:
            near = similar.bands("\n".join(text for _, text in talk[:-1]), heard[-1])
        return Prepared(
            id=row.id,
            example=msgspec.json.encode(example),
            changed=changed,
            user=row.user,
            group=_hash(row.user, row.session) if row.session else _hash(row.user, *talk[0][1:]),
            model=example.source.model,
            policy=row.policy,
            provider=row.provider,
            score=row.score,
            started_at_us=recorded.exchange.started_at_us,
            tokens=tokens,
            answer_tokens=answer_tokens,
            answers=roles.count(ANSWER),
            calls_tools=any(part.get("type") in _CALLS for one in messages for part in one["parts"]),
            language=language,
            template=_template(messages),
            origin=recorded.exchange.cache_origin or row.id,
            said=_hash(*roles, *(text.casefold() for text in heard), *tools),
            prompt=_hash(*roles[:-1], *heard[:-1], *tools),
            conversation=conversation,
            earlier=earlier,
            bands=near,
            media=sorted({part["sha256"] for part in media_of(messages)}),
        )

    def _places(self, user: str, talk: list[tuple[Any, str]]) -> tuple[str, list[str]]:
        """What the conversation is known by, and what its beginnings were known by when they ended there.

        Borders between messages of one role do not count: clients give an answer back in one or in several.
        """
        if self._of.turns == "each" or self._of.kind == "preference":
            return "", []
        digest = hashlib.blake2b(f"{user}\0".encode("utf-8", "surrogatepass"), digest_size=12)
        ends: list[str] = []
        before = None
        for place, (role, text) in enumerate(talk):
            digest.update((text if role == before else f"\0{role}\0{text}").encode("utf-8", "surrogatepass"))
            before = role
            if role == ANSWER and (place + 1 == len(talk) or talk[place + 1][0] != ANSWER):
                ends.append(digest.hexdigest())
        return ends[-1], ends[-1 - _ENDINGS : -1]


class _Finder:
    """Rules, and a quick look whether texts may hold what they find."""

    def __init__(self, kinds: Sequence[str], patterns: Mapping[str, str]) -> None:
        self.rules = rules(kinds, patterns)
        options = re2.Options()
        options.log_errors = False
        options.max_mem = _MEMORY
        self._any = re2.compile(
            "|".join(f"(?:{one})" for one in [*(KINDS[kind] for kind in kinds), *patterns.values()]), options
        )

    def found(self, texts: Sequence[str]) -> list[str]:
        """The names of what is there, in order."""
        if not self._any.search("\n".join(texts)):
            return []
        return sorted({name for text in texts for *_, name in spans(text, self.rules)})


def spoken(messages: Sequence[Message]) -> str:
    """What is compared of messages: all texts, calls and results, but no system prompt."""
    return "\n".join(_heard(one) for one in messages if not is_system(one))


def is_system(message: Message) -> bool:
    """Whether it is of those who run the model, and not of who talks to it."""
    return message.get("role") in ("system", "developer")


def _conversation(understood: Understanding, request: bytes) -> tuple[list[Message], Message]:
    """The prompt and the first of its answers. Raises Dropped if it is no conversation that can be learned."""
    answer = next(iter(understood.output_messages), None)
    if answer is None:
        raise Dropped(CHECKED, "no answer")
    if _KEPT_ELSEWHERE.search(request):
        raise Dropped(CHECKED, "the beginning of the prompt is kept by the provider")
    return [_bare(one) for one in understood.input_messages], _bare(answer)


def _bare(message: Message) -> Message:
    """A message without how it ended, its calls' arguments as objects."""
    told: Message = {"role": message.get("role") or "user", "parts": [_called(one) for one in parts(message)]}
    return told | ({"name": message["name"]} if message.get("name") else {})


def _called(part: dict[str, Any]) -> dict[str, Any]:
    return part | {"arguments": {}} if part.get("type") in _CALLS and part.get("arguments") in (None, "") else part


def _check(messages: Sequence[Message], answer: Message) -> None:
    """Raises Dropped for a conversation that no trainer takes."""
    if not any(one.get("role") in ("user", "tool") for one in messages):
        raise Dropped(CHECKED, "an answer without a prompt")
    waiting: dict[object, int] = {}
    nameless = 0
    for message in [*messages, answer]:
        for part in message["parts"]:
            if part.get("type") in _CALLS:
                if not isinstance(part.get("arguments"), dict) or not part.get("name"):
                    raise Dropped(CHECKED, "a tool call whose arguments are no JSON object")
                nameless += part.get("id") is None
                waiting[part.get("id")] = waiting.get(part.get("id"), 0) + 1
            elif part.get("type") == "tool_call_response" and not (waiting.pop(part.get("id"), 0) or nameless):
                raise Dropped(CHECKED, "a tool result without its call")
    called = {part.get("id") for part in answer["parts"] if part.get("type") in _CALLS}
    if any(identifier is not None and identifier not in called for identifier in waiting):
        raise Dropped(CHECKED, "a tool call without its result")


def _plain(captured: Captured) -> bytes:
    """The request without its content encoding."""
    named = captured.exchange.request_headers
    encoding = next((value for name, value in named if name.lower() == "content-encoding"), None)
    return decode(encoding, captured.request_body)[0] if encoding else captured.request_body


def _without(messages: list[Message], types: frozenset[str], step: str, changed: list[str]) -> list[Message]:
    """Messages without parts of some types, and without those that hold nothing else."""
    if not any(part.get("type") in types for one in messages for part in all_parts(one)):
        return messages
    changed.append(step)
    left: list[Message] = []
    for message in messages:
        kept = [_stripped(part, types) for part in message["parts"] if part.get("type") not in types]
        if kept or not message["parts"]:
            left.append(message | {"parts": kept})
    return left


def _stripped(part: dict[str, Any], types: frozenset[str]) -> dict[str, Any]:
    response = part.get("response")
    if not isinstance(response, list):
        return part
    kept = [one for one in response if not (isinstance(one, dict) and one.get("type") in types)]
    return part | {"response": kept}


_NAMES = frozenset({"type", "id", "role", "mime_type", "sha256", "size_bytes"})
"""Of a part: what says nothing."""


def _replaced(value: Any, by: Callable[[str], str], names: frozenset[str] = frozenset()) -> Any:
    """JSON with other texts; those under `names` stay."""
    if isinstance(value, str):
        return by(value)
    if isinstance(value, list):
        return [_replaced(one, by) for one in value]
    if isinstance(value, dict):
        return {key: one if key in names else _replaced(one, by) for key, one in value.items()}
    return value


def _rewritten(messages: Sequence[Message], by: Callable[[str], str]) -> list[Message]:
    """Messages with other texts."""
    return [one | {"parts": [_replaced(part, by, _NAMES) for part in one["parts"]]} for one in messages]


def _texts(messages: Sequence[Message], tools: Sequence[Tool]) -> list[str]:
    """All texts of an example."""
    found: list[str] = []

    def noted(text: str) -> str:
        found.append(text)
        return text

    _rewritten(messages, noted)
    for one in tools:
        _replaced([one.description, one.parameters], noted)
    return found


def _characters(messages: Iterable[Message]) -> int:
    return sum(len(text) for one in messages for text in said_in(one))


def _share(reported: int | None, before: int, after: int) -> int:
    """The tokens of a text of which some may be gone, by what the provider counted of the whole."""
    if not reported or not before:
        return -(-after // _CHARACTERS_A_TOKEN)
    return round(reported * after / before)


def _heard(message: Message) -> str:
    """What a message says, whoever writes it down: without reasoning and ids."""
    return "".join(_said(part) for part in message["parts"] if part.get("type") != "reasoning")


def _said(part: dict[str, Any]) -> str:
    match part.get("type"):
        case "text":
            return " ".join(str(part.get("content") or "").split())
        case "tool_call":
            return f"\1{part.get('name')}{_canonical(part.get('arguments'))}"
        case "tool_call_response":
            response = part.get("response")
            return f"\2{' '.join(response.split()) if isinstance(response, str) else _canonical(response)}"
        case _:
            return f"\3{_canonical({key: value for key, value in part.items() if key != 'id'})}"


def _canonical(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _template(prompt: Sequence[Message]) -> str:
    system = [text_of(one) for one in prompt if is_system(one)]
    first = next((text_of(one) for one in prompt if one.get("role") == "user"), "")
    words = _NUMBER.sub("0", first[:_TEMPLATE_CHARACTERS].casefold()).split()[:_TEMPLATE_WORDS]
    return _hash(*system, " ".join(words))


def _hash(*texts: str) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()
