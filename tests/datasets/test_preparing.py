"""The cleaning steps that look at one exchange alone."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from tests.support.chats import answered, call
from tracecli.datasets.definition import Definition
from tracecli.datasets.example import Example, Tool, text_of
from tracecli.datasets.preparing import Left, Prepared, Preparer
from tracecli.exchange import Captured
from tracecli.recorded import record

SECRET = "sk-proj-" + "a1B2c3D4" * 5
_CALL = {"id": "call_1", "type": "function", "function": {"name": "stock", "arguments": '{"tool": "Spaten ü"}'}}
_ASKS = {"role": "assistant", "content": None, "tool_calls": [_CALL]}
_RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "12"}
_HELLO = {"role": "user", "content": "How much is a spade?"}
_TOOLS = [{"type": "function", "function": {"name": "stock", "description": "d", "parameters": {"type": "object"}}}]


def chat(*messages: dict[str, Any], answer: str = "Twelve euros.", **changes: Any) -> Captured:
    """A chat; `tools` go into the request."""
    more = {"tools": changes.pop("tools")} if "tools" in changes else {}
    asked = json.dumps({"model": "gpt-4o-mini", "messages": messages or (_HELLO,), **more}).encode()
    return call(1, asked, changes.pop("response", None) or answered(answer), **changes)


def prepared(captured: Captured, **settings: Any) -> Prepared | Left:
    """What becomes of it."""
    return Preparer(Definition(where="user:*", **settings)).prepared(record(captured), captured)


def example(captured: Captured, **settings: Any) -> Example:
    """The example that it becomes."""
    made = prepared(captured, **settings)
    assert isinstance(made, Prepared), made
    return msgspec.json.decode(made.example, type=Example)


def left(captured: Captured, **settings: Any) -> tuple[str, str]:
    """By which step it goes, and why."""
    made = prepared(captured, **settings)
    assert isinstance(made, Left), made
    return made.step, made.why


def _answer(message: dict[str, Any], finish: str = "stop", **more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return json.dumps({"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], **more}).encode()


def test_a_chat_is_an_example_with_its_source() -> None:
    """Prompt and answer as they were; where they are from; what the provider counted."""
    captured = chat({"role": "system", "content": "Be brief."}, _HELLO, policy="support")
    made = prepared(captured)
    assert isinstance(made, Prepared)
    one = msgspec.json.decode(made.example, type=Example)
    assert [(message["role"], text_of(message)) for message in one.messages] == [
        ("system", "Be brief."),
        ("user", "How much is a spade?"),
        ("assistant", "Twelve euros."),
    ]
    assert (one.source.id, one.source.model, one.source.policy) == (captured.exchange.id, "gpt-4o-mini", "support")
    assert (made.tokens, made.answer_tokens, made.changed) == (1100, 100, [])


@pytest.mark.parametrize(
    ("captured", "expected"),
    [
        (chat(status=500, response=b'{"error": {"message": "no"}}'), ("errors", "status 5xx")),
        (chat(status=None, outcome="failed", response=b" "), ("errors", "no answer")),
        (chat(outcome="aborted"), ("truncated", "the call was aborted")),
        (chat(response_cut=True), ("truncated", "response cut")),
        (chat(response=_answer({"content": "so"}, "length")), ("truncated", "a limit of tokens")),
        (chat(response=_answer({"content": ""})), ("empty", "no text and no tool call")),
        (chat(answer="I can't help with that."), ("refusals", "the answer refuses")),
        (chat(response=_answer({"content": None, "refusal": "No."})), ("refusals", "the answer refuses")),
        (chat({"role": "system", "content": "Say something."}), ("checked", "an answer without a prompt")),
        (chat(_HELLO, _RESULT), ("checked", "a tool result without its call")),
        (chat(_HELLO, _ASKS, _HELLO, tools=_TOOLS), ("checked", "a tool call without its result")),
        (chat(traced=False, response=b" "), None),
    ],
)
def test_what_is_no_good_example_goes_and_says_why(captured: Captured, expected: tuple[str, str] | None) -> None:
    """Each by its step, in words without content."""
    if expected is None:
        gone = Captured(captured.exchange, b"", b"")
        assert left(gone) == ("checked", "recorded without content")
    else:
        assert left(captured) == expected


def test_arguments_that_are_no_json_go() -> None:
    """Nobody can train on a call that cannot be made."""
    broken = _ASKS | {"tool_calls": [_CALL | {"function": {"name": "stock", "arguments": '{"tool": '}}]}
    captured = chat(_HELLO, broken, _RESULT, tools=_TOOLS)
    assert left(captured) == ("checked", "a tool call whose arguments are no JSON object")


def test_a_prompt_whose_beginning_the_provider_keeps_goes() -> None:
    """What the model read is not recorded."""
    asked = json.dumps({"model": "m", "input": "And then?", "previous_response_id": "resp_1"}).encode()
    told = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "The end."}]}
    response = json.dumps({"id": "r", "object": "response", "status": "completed", "output": [told]}).encode()
    captured = call(1, asked, response, path="/v1/responses")
    assert left(captured) == ("checked", "the beginning of the prompt is kept by the provider")


def test_steps_can_be_off() -> None:
    """What is to be kept stays."""
    assert example(chat(outcome="aborted"), truncated="keep")
    assert example(chat(answer="I can't help with that."), refusals="keep")
    assert example(chat(response=_answer({"content": "so"}, "length")), truncated="keep")


def test_system_prompts_are_kept_dropped_or_replaced() -> None:
    """`replace` puts one also where there was none."""
    system = {"role": "system", "content": "Be brief."}
    assert [one["role"] for one in example(chat(system, _HELLO), system="drop").messages] == ["user", "assistant"]
    for asked in ((system, _HELLO), (_HELLO,)):
        one = example(chat(*asked), system="replace", system_text="Be kind.")
        assert text_of(one.messages[0]) == "Be kind."
        assert [message["role"] for message in one.messages] == ["system", "user", "assistant"]


def test_tool_calls_are_kept_dropped_or_all_there_is() -> None:
    """With the tools that the request offered, whatever is in them."""
    talk = chat(_HELLO, _ASKS, _RESULT, tools=_TOOLS)
    one = example(talk, tools="only")
    assert one.tools == [Tool("stock", "d", {"type": "object"})]
    assert one.messages[1]["parts"] == [
        {"type": "tool_call", "id": "call_1", "name": "stock", "arguments": {"tool": "Spaten ü"}}
    ]
    assert left(talk, tools="drop") == ("tools", "a tool call")
    assert left(chat(), tools="only") == ("tools", "no tool call")
    assert example(chat(tools=_TOOLS), tools="drop").tools == []


def test_reasoning_is_taken_out_unless_it_is_kept() -> None:
    """Of the answer and of the prompt."""
    past = {"role": "assistant", "content": "Hm.", "reasoning_content": "I wonder"}
    answer = _answer({"content": "Yes.", "reasoning_content": "Let me see"})
    captured = chat(_HELLO, past, _HELLO, response=answer)
    assert "reasoning" not in str(example(captured).messages)
    assert str(example(captured, reasoning="keep").messages).count("'reasoning'") == 2
    made = prepared(captured)
    assert isinstance(made, Prepared) and made.changed == ["reasoning"]


def test_media_are_kept_stripped_or_reason_to_go() -> None:
    """An image by its URL stays the URL; one inside the JSON is known by its hash."""
    pixel = base64.b64encode(b"\x89PNG" + bytes(60)).decode()
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixel}"}},
    ]
    captured = chat({"role": "user", "content": content})
    made = prepared(captured)
    assert isinstance(made, Prepared) and len(made.media) == 1
    assert [part["type"] for part in example(captured).messages[0]["parts"]] == ["text", "uri", "blob"]
    assert [part["type"] for part in example(captured, media="strip").messages[0]["parts"]] == ["text"]
    assert left(captured, media="drop") == ("media", "an image, sound or file")


def test_secrets_and_personal_data_are_redacted_or_reason_to_go() -> None:
    """Wherever they are: in texts, arguments, results, and what describes a tool."""
    call_ = _CALL | {"function": {"name": "stock", "arguments": json.dumps({"to": ["jo@example.org"]})}}
    talk: list[dict[str, Any]] = [
        {"role": "user", "content": f"my key is {SECRET}"},
        _ASKS | {"tool_calls": [call_]},
        _RESULT | {"content": "call +49 30 901820 now"},
    ]
    tools = [{"type": "function", "function": {"name": "stock", "description": "of jo@example.org", "parameters": {}}}]
    captured = chat(*talk, tools=tools, answer="Badge B-1234 for 10.1.2.3.")
    made = prepared(captured, patterns={"badge": "B-[0-9]{4}"})
    assert isinstance(made, Prepared) and made.changed == ["secrets", "personal_data"]
    text = made.example.decode()
    assert not any(one in text for one in (SECRET, "jo@example.org", "901820", "B-1234", "10.1.2.3"))
    markers = ("secrets", "email", "phone", "badge", "ip_address")
    assert all(f"[REDACTED:{kind}]" in text for kind in markers)
    assert text.count("[REDACTED:email]") == 2 and "stock" in text
    assert left(captured, secrets="drop") == ("secrets", "secrets")
    assert left(captured, personal_data="drop") == ("personal_data", "email")
    assert left(captured, personal_data="drop", kinds=["phone"]) == ("personal_data", "phone")
    assert "jo@example.org" in str(example(captured, personal_data="keep").messages)


def test_length_and_language_are_of_what_is_left() -> None:
    """Tokens as the provider counted them; the language of the answer, and not of code in it."""
    german = "Das kostet zwölf Euro, und wir haben noch genug davon im Lager."
    assert left(chat(), min_tokens=1101) == ("min_tokens", "too short")
    assert left(chat(), max_tokens=1099) == ("max_tokens", "too long")
    assert example(chat(), min_tokens=1100, max_tokens=1100)
    assert left(chat(answer=german), languages=["en"]) == ("languages", "de")
    assert example(chat(answer=german), languages=["en", "de"])
    assert example(chat(answer="ok"), languages=["fr"])
    assert example(chat(answer="```python\nimport os\nprint(os.getcwd())\n```"), languages=["fr"])


def test_ratings_are_asked_for() -> None:
    """What nobody rated goes too."""
    captured = chat()
    assert left(captured, min_score=4.0) == ("min_score", "not rated")
    rated = record(captured)
    rated = msgspec.structs.replace(rated, row=msgspec.structs.replace(rated.row, score=3.0))
    made = Preparer(Definition(where="user:*", min_score=4.0)).prepared(rated, captured)
    assert isinstance(made, Left) and made.why == "rated worse"


def test_what_says_the_same_is_known_by_the_same() -> None:
    """Case and blanks do not count; ids of tool calls do not; what was said does."""

    def said(captured: Captured) -> str:
        made = prepared(captured)
        assert isinstance(made, Prepared)
        return made.said

    assert said(chat(answer="Twelve euros.")) == said(chat(answer=" twelve  EUROS.\n"))
    assert said(chat(answer="Twelve euros.")) != said(chat(answer="Twelve euros!"))
    other = _CALL | {"id": "call_9"}
    talks = [
        chat(_HELLO, _ASKS | {"tool_calls": [one]}, _RESULT | {"tool_call_id": one["id"]}) for one in (_CALL, other)
    ]
    assert said(talks[0]) == said(talks[1])


def test_a_conversation_goes_on_however_its_answer_is_given_back() -> None:
    """In one message or in two; and another answer is another conversation."""

    def places(captured: Captured) -> tuple[str, list[str]]:
        made = prepared(captured)
        assert isinstance(made, Prepared)
        return made.conversation, made.earlier

    first, nothing = places(chat(answer="Twelve euros. Anything else?"))
    assert nothing == []
    whole = {"role": "assistant", "content": "Twelve euros. Anything else?"}
    halves = [{"role": "assistant", "content": "Twelve euros."}, {"role": "assistant", "content": " Anything else?"}]
    assert places(chat(_HELLO, whole, _HELLO))[1] == [first]
    assert first not in places(chat(_HELLO, whole | {"content": "Thirteen euros."}, _HELLO))[1]
    assert len(places(chat(_HELLO, *halves, _HELLO))[1]) == 1


def test_parts_of_an_answer_in_two_messages_are_one() -> None:
    """A text, and the tool call after it."""
    text = {"role": "assistant", "content": "One moment."}
    answer = _answer({"content": "One moment.", "tool_calls": [_CALL]}, "tool_calls")
    made = prepared(chat(response=answer, tools=_TOOLS))
    following = prepared(chat(_HELLO, text, _ASKS, _RESULT, tools=_TOOLS))
    assert isinstance(made, Prepared) and isinstance(following, Prepared)
    assert following.earlier == [made.conversation]


def test_templates_are_the_same_but_for_numbers() -> None:
    """And but for what comes after the first words."""

    def template(text: str, system: str = "Be brief.") -> str:
        made = prepared(chat({"role": "system", "content": system}, {"role": "user", "content": text}))
        assert isinstance(made, Prepared)
        return made.template

    first = template("Summarise ticket 4711 for the team lead in two sentences: the lamp is broken")
    assert first == template("summarise ticket 12 for the team lead in two sentences: the door is open")
    assert first != template("Translate ticket 4711 for the team lead in two sentences: the lamp is broken")
    assert first != template("Summarise ticket 4711 for the team lead in two sentences: x", "Be kind.")
