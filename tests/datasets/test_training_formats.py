"""Examples written in the formats: what each keeps, what it cannot tell, and that nothing else is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.datasets.training_examples import (
    IMAGE,
    PAIR,
    SIMPLE,
    SOURCE,
    WEATHER,
    WITH_TOOLS,
    call,
    example,
    examples,
    media_of_format,
    pair,
    pairs,
    result,
    said,
    text,
)
from tests.providers import recordings
from tracecli.datasets.example import Example, Pair, Tool
from tracecli.datasets.formats import base
from tracecli.datasets.formats.base import Format, Line, Unfit
from tracecli.datasets.formats.registry import FORMATS
from tracecli.understanding import understand

CHAT = [form for form in FORMATS.values() if form.kind == "chat"]
PREFERENCE = [form for form in FORMATS.values() if form.kind == "preference"]
URL = "https://example.com/ü?a=1&b=2#c"
ANSWER = said("assistant", "So it is.")


def written(form: str | Format, one: Example | Pair) -> Line:
    """A line, as one reads it from a file again; it keeps to the format's own rules."""
    form = FORMATS[form] if isinstance(form, str) else form
    line = form.write(one, media_of_format(form))
    again: Line = json.loads(base.text(line).encode())
    assert again == line
    assert [one for one in form.check(again) if one.severity == "error"] == []
    return again


def reason(form: str, one: Example | Pair) -> str:
    """Why it cannot be told."""
    with pytest.raises(Unfit) as raised:
        FORMATS[form].write(one, media_of_format(FORMATS[form]))
    return str(raised.value)


# -- each format


@pytest.mark.parametrize("form", CHAT, ids=lambda form: form.name)
def test_each_format_tells_a_plain_conversation(form: Format) -> None:
    line = written(form, SIMPLE)
    assert all(word in base.text(line) for word in ("Be brief.", "How are you?", "Fine."))
    assert form.shape <= line.keys()


@pytest.mark.parametrize("form", PREFERENCE, ids=lambda form: form.name)
def test_each_format_of_pairs_tells_both_answers(form: Format) -> None:
    line = written(form, PAIR)
    assert all(word in base.text(line) for word in ("Be brief.", "How are you?", "Fine.", "Ill"))


@pytest.mark.parametrize("form", [one for one in CHAT if "tools" in one.keeps], ids=lambda form: form.name)
def test_a_tool_call_is_told_with_its_arguments_and_result(form: Format) -> None:
    told = base.text(written(form, WITH_TOOLS)).replace("\\", "")
    assert '{"city": "Zürich", "days": [1, 2.5, null, true]}' in told
    assert all(word in told for word in ("get_weather", "18 °C", "Say how the weather is.", "☀️"))


@pytest.mark.parametrize("form", [one for one in CHAT if "tools" not in one.keeps], ids=lambda form: form.name)
def test_what_has_no_place_for_tools_says_so(form: Format) -> None:
    assert reason(form.name, WITH_TOOLS) == "tools that could be called"
    without = Example(messages=WITH_TOOLS.messages, source=SOURCE)
    assert reason(form.name, without) == "a tool call"


def test_the_same_example_gives_the_same_bytes() -> None:
    for form in CHAT:
        one = WITH_TOOLS if "tools" in form.keeps else SIMPLE
        again = Example(messages=json.loads(json.dumps(one.messages)), tools=one.tools, source=SOURCE)
        assert base.text(written(form, one)) == base.text(written(form, again))


def test_openai_is_written_as_its_reference_has_it() -> None:
    one = example(
        said("developer", "Be brief."),
        said("user", "What is it?", IMAGE, {"type": "uri", "uri": URL, "mime_type": "image/png"}, name="alice"),
        said("assistant", call(arguments={"city": "ü"}, identifier=None)),
        said("user", result([text("1"), text("2")], "get_weather"), "Well?"),
        said("assistant", {**text("No."), "refusal": True}),
        tools=[Tool("get_weather", strict=True)],
        parallel_tool_calls=False,
        only_last=True,
    )
    assert written("openai", one) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "name": "alice",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'ab' * 32}"}},
                    {"type": "image_url", "image_url": {"url": URL}},
                ],
            },
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city": "ü"}'},
                    }
                ],
                "weight": 0,
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "1\n\n2"},
            {"role": "user", "content": "Well?"},
            {"role": "assistant", "refusal": "No."},
        ],
        "tools": [{"type": "function", "function": {"name": "get_weather", "strict": True}}],
        "parallel_tool_calls": False,
    }


def test_vertex_has_functions_and_their_responses_in_turns() -> None:
    one = example(
        said("system", "Be brief."),
        said("user", "Both!", {"type": "uri", "uri": "gs://b/a.pdf", "mime_type": "application/pdf"}),
        said("assistant", call("a", {"x": 1}, "1"), call("b", None, "2")),
        said("tool", result({"temperature": 18}, "1")),
        said("tool", {**result("no such city", "2"), "is_error": True}),
        ANSWER,
        tools=[WEATHER],
    )
    assert written("vertex", one) == {
        "systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]},
        "contents": [
            {
                "role": "user",
                "parts": [{"text": "Both!"}, {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/a.pdf"}}],
            },
            {
                "role": "model",
                "parts": [
                    {"functionCall": {"name": "a", "args": {"x": 1}}},
                    {"functionCall": {"name": "b", "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"name": "a", "response": {"temperature": 18}}},
                    {"functionResponse": {"name": "b", "response": {"error": "no such city"}}},
                ],
            },
            {"role": "model", "parts": [{"text": "So it is."}]},
        ],
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "get_weather", "description": WEATHER.description, "parameters": WEATHER.parameters}
                ]
            }
        ],
    }


def test_bedrock_has_blocks_in_turns() -> None:
    one = example(
        said("user", "Look.", {"type": "uri", "uri": "s3://b/a.png", "mime_type": "image/png"}),
        said("assistant", {"type": "reasoning", "content": "Hm."}, call(arguments={"city": "x"})),
        said("user", {**result("none"), "is_error": True}, "Well?"),
        ANSWER,
        tools=[Tool("get_weather")],
    )
    line = written("bedrock-conversation", one)
    assert line["schemaVersion"] == "bedrock-conversation-2024"
    assert line["messages"] == [
        {
            "role": "user",
            "content": [
                {"text": "Look."},
                {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/a.png"}}}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm."}}},
                {"toolUse": {"toolUseId": "call_1", "name": "get_weather", "input": {"city": "x"}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "call_1", "content": [{"text": "none"}], "status": "error"}},
                {"text": "Well?"},
            ],
        },
        {"role": "assistant", "content": [{"text": "So it is."}]},
    ]
    schema = {"type": "object", "properties": {}}
    assert line["toolConfig"] == {"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": {"json": schema}}}]}


def test_sharegpt_has_calls_and_observations() -> None:
    one = example(*WITH_TOOLS.messages[:1], said("user", IMAGE, "Where?"), *WITH_TOOLS.messages[2:], tools=[WEATHER])
    line = written("sharegpt", one)
    assert line["system"] == "Be brief."
    assert line["images"] == [f"media/{'ab' * 32}.png"]
    assert [said["from"] for said in line["conversations"]] == ["human", "function_call", "observation", "gpt"]
    assert line["conversations"][0]["value"] == "<image>\n\nWhere?"
    assert json.loads(line["tools"])[0]["name"] == "get_weather"


def test_hugging_face_has_arguments_as_objects_and_images_beside() -> None:
    one = example(*WITH_TOOLS.messages[:1], said("user", IMAGE, "Where?"), *WITH_TOOLS.messages[2:], tools=[WEATHER])
    line = written("huggingface", one)
    assert line["images"] == [f"media/{'ab' * 32}.png"]
    assert line["messages"][1]["content"] == [{"type": "image"}, {"type": "text", "text": "Where?"}]
    assert line["messages"][2]["tool_calls"][0]["function"]["arguments"]["days"] == [1, 2.5, None, True]
    assert line["messages"][3]["name"] == "get_weather"
    assert all(isinstance(message["content"], list | str) for message in line["messages"])


def test_columns_have_the_same_fields_in_every_line() -> None:
    lines = [written("parquet", one) for one in (SIMPLE, WITH_TOOLS)]
    assert {tuple(message) for line in lines for message in line["messages"]} == {tuple(lines[0]["messages"][0])}
    assert {tuple(line) for line in lines} == {tuple(name for name, _ in FORMATS["parquet"].columns)}
    [told] = lines[1]["messages"][2]["tool_calls"]
    assert json.loads(told["function"]["arguments"])["city"] == "Zürich"


def test_a_prompt_is_one_text_with_the_system_first() -> None:
    assert written("prompt-completion", SIMPLE) == {"prompt": "Be brief.\n\nHow are you?", "completion": "Fine."}


# -- what goes where, and what cannot be told

THOUGHT = example(said("user", "Hm?"), said("assistant", {"type": "reasoning", "content": "I think."}, "Yes."))


@pytest.mark.parametrize("form", CHAT, ids=lambda form: form.name)
def test_reasoning_is_written_where_there_is_a_place_for_it(form: Format) -> None:
    assert ("I think." in base.text(written(form, THOUGHT))) == ("reasoning" in form.keeps)


@pytest.mark.parametrize("form", CHAT, ids=lambda form: form.name)
def test_a_refusal_is_never_lost(form: Format) -> None:
    one = example(said("user", "Do it."), said("assistant", {**text("I will not."), "refusal": True}))
    assert "I will not." in base.text(written(form, one))


@pytest.mark.parametrize("form", CHAT, ids=lambda form: form.name)
def test_a_name_is_told_or_the_example_is_not(form: Format) -> None:
    one = example(said("user", "Hm?", name="alice"), said("assistant", "Yes."))
    if "names" in form.keeps:
        assert "alice" in base.text(written(form, one))
    else:
        assert reason(form.name, one) == "a name of who speaks"


@pytest.mark.parametrize("form", CHAT, ids=lambda form: form.name)
def test_earlier_answers_have_no_weight_where_there_are_weights(form: Format) -> None:
    if form.name == "prompt-completion":
        pytest.skip("it has one answer")
    messages = [said("user", "1"), said("assistant", "one"), said("user", "2"), said("assistant", "two")]
    line = written(form, example(*messages, only_last=True))
    weights = [message.get("weight") for message in line.get("messages", []) if isinstance(message, dict)]
    assert (weights == [None, 0, None, None]) == ("weights" in form.keeps)
    assert '"weight"' not in base.text(written(form, example(*messages)))


@pytest.mark.parametrize(
    ("form", "uri", "fits"),
    [
        ("openai", URL, True),
        ("huggingface", URL, True),
        ("huggingface", "a/b.png", True),
        ("sharegpt", URL, True),
        ("parquet", URL, True),
        ("vertex", URL, True),
        ("vertex", "gs://bucket/a.png", True),
        ("vertex", "s3://bucket/a.png", False),
        ("bedrock-conversation", "s3://bucket/a.png", True),
        ("bedrock-conversation", URL, False),
        ("together", URL, False),
        ("fireworks", URL, False),
        ("openai", "gs://bucket/a.png", False),
        ("openai-preference", URL, False),
        ("bedrock-claude", URL, False),
        ("prompt-completion", URL, False),
    ],
)
def test_an_image_by_address_keeps_it(form: str, uri: str, fits: bool) -> None:
    asked = said("user", "What is it?", {"type": "uri", "uri": uri, "mime_type": "image/png"})
    one = example(asked, ANSWER) if FORMATS[form].kind == "chat" else pair([asked], ANSWER, said("assistant", "?"))
    if fits:
        assert uri in base.text(written(form, one))
    else:
        assert reason(form, one).startswith(("an image", "a file"))


def test_the_type_of_an_image_is_taken_from_its_address_if_nothing_else_says_it() -> None:
    bare = {"type": "uri", "uri": "s3://bucket/a.webp"}
    line = written("bedrock-conversation", example(said("user", bare), ANSWER))
    assert line["messages"][0]["content"][0]["image"]["format"] == "webp"


UNFIT: list[tuple[str, Example, str]] = [
    (
        "openai",
        example(said("user", "?"), said("assistant", call(arguments="{"))),
        "tool arguments that are no JSON object",
    ),
    (
        "openai",
        example(said("user", "?"), said("assistant", call(arguments=[1]))),
        "tool arguments that are no JSON object",
    ),
    ("openai", example(said("user", "?"), said("assistant", call(name=""))), "a tool call without a name"),
    (
        "openai",
        example(said("user", "?"), said("assistant", call(name="a b"))),
        "a tool name that the provider does not take",
    ),
    (
        "openai",
        example(said("user", "?"), said("assistant", call()), said("user", "!"), ANSWER),
        "a tool call without its result",
    ),
    ("openai", example(said("user", "?"), said("tool", result("1")), ANSWER), "a tool's result without its call"),
    ("openai", example(said("user", "?"), said("assistant", call(), call())), "tool calls of one id"),
    ("openai", example(said("user", "?"), said("assistant", call(), "Then.")), "text after a tool call in one message"),
    (
        "openai",
        example(said("user", "?"), said("assistant", {"type": "reasoning", "content": "Hm."})),
        "an answer without text or tool call",
    ),
    ("openai", example(said("user", "?")), "no prompt, or no answer at the end"),
    ("openai", example(ANSWER), "no prompt, or no answer at the end"),
    ("openai", example(said("critic", "?"), ANSWER), "a message of an unknown role"),
    ("openai", example(said("user", {"type": "file", "file_id": "f"}), ANSWER), "a file that only its provider holds"),
    ("openai", example(said("user", {"type": "server_tool_call"}), ANSWER), "a tool that the provider ran itself"),
    ("openai", example(said("user", {"type": "new"}), ANSWER), "a part of an unknown kind"),
    ("openai", example(said("user", "?"), said("assistant", IMAGE)), "an image or a file in an answer"),
    (
        "openai",
        example(said("user", "?", IMAGE | {"mime_type": "audio/wav"}), ANSWER),
        "sound or a file that is no image",
    ),
    (
        "openai",
        example(said("user", "?", IMAGE | {"mime_type": "image/gif"}), ANSWER),
        "an image of a kind that the provider does not take",
    ),
    ("together", example(said("user", *[IMAGE] * 11), ANSWER), "more images than the provider takes in an example"),
    (
        "openai",
        example(said("user", "?"), said("assistant", call()), said("tool", result([text("1"), IMAGE])), ANSWER),
        "an image or a file in a tool's result",
    ),
    (
        "openai",
        example(said("user", "?"), said("assistant", call(arguments={"x": float("nan")}))),
        "a number that JSON does not have, or too many lists in each other",
    ),
    ("fireworks", example(said("user", "?"), said("system", "!"), ANSWER), "a system message after the beginning"),
    (
        "fireworks",
        example(said("user", "?"), said("assistant", "1", {"type": "reasoning", "content": "2"})),
        "reasoning between the parts of an answer",
    ),
    ("together", example(said("user", "?"), said("assistant", "1"), ANSWER), "two answers that follow one another"),
    (
        "bedrock-claude",
        example(said("user", "?"), said("assistant", "1"), ANSWER),
        "two answers that follow one another",
    ),
    (
        "bedrock-claude",
        example(said("assistant", "Hello."), said("user", "?"), ANSWER),
        "a conversation that the user does not begin",
    ),
    (
        "vertex",
        example(said("user", "?", {"type": "uri", "uri": "https://example.com/a"}), ANSWER),
        "a file of which nobody says what it is",
    ),
    (
        "prompt-completion",
        example(said("user", "1"), said("assistant", "2"), said("user", "3"), ANSWER),
        "more than one turn",
    ),
    ("sharegpt", example(said("user", "?"), said("assistant", "I look.", call())), "text beside a tool call"),
    ("sharegpt", example(said("user", "An <image>?"), ANSWER), "a text that holds the sign for an image"),
    (
        "sharegpt",
        example(
            said("user", "?"),
            said("assistant", call(identifier="1"), call(identifier="2")),
            said("tool", result("1", "1"), result("2", "2")),
            ANSWER,
        ),
        "results of several tool calls at once",
    ),
    ("sharegpt", example(said("user", "?"), said("assistant", "1"), ANSWER), "messages that do not take turns"),
    (
        "openai",
        example(said("user", "?"), said("assistant", "1"), said("assistant")),
        "an answer without text or tool call",
    ),
]


@pytest.mark.parametrize(("form", "one", "why"), UNFIT, ids=[f"{form}: {why}" for form, _, why in UNFIT])
def test_what_a_format_cannot_tell_is_said_without_content(form: str, one: Example, why: str) -> None:
    assert reason(form, one) == why


def test_messages_of_one_role_are_made_one_where_turns_are_asked_for() -> None:
    one = example(
        said("system", "A"),
        said("developer", "B"),
        said("user", "1"),
        said("user", "2"),
        said("assistant", "3"),
        said("assistant", "4"),
        said("user", "5"),
        said("assistant", "6"),
    )
    texts = ["1\n\n2", "3\n\n4", "5", "6"]
    claude = written("bedrock-claude", one)
    assert (claude["system"], [message["content"] for message in claude["messages"]]) == ("A\n\nB", texts)
    assert [message["content"] for message in written("together", one)["messages"]] == ["A\n\nB", *texts]
    assert len(written("openai", one)["messages"]) == 8


def test_results_without_an_id_go_to_the_calls_in_their_order() -> None:
    one = example(
        said("user", "?"),
        said("assistant", call("a", {"n": 1}, None), call("b", {}, None), call("a", {"n": 2}, None)),
        said("tool", result("first", "a"), result("third", "a"), result("second", None)),
        ANSWER,
    )
    line = written("openai", one)
    calls = {one["id"]: one["function"] for one in line["messages"][1]["tool_calls"]}
    told = [(calls[one["tool_call_id"]]["arguments"], one["content"]) for one in line["messages"][2:5]]
    assert told == [('{"n": 1}', "first"), ('{"n": 2}', "third"), ("{}", "second")]


# -- any example


class Facts:
    """What was said, called, answered and shown, in order; without lines' ends, which join texts."""

    def __init__(self) -> None:
        self.texts = ""
        self.calls: list[Any] = []
        self.results: list[Any] = []
        self.images: list[str] = []

    def say(self, content: str | None) -> None:
        self.texts += (content or "").replace("\n", "")

    def same(self) -> tuple[Any, ...]:
        return self.texts, self.calls, self.results, self.images


def _told(response: Any) -> Any:
    """A result as a text, as formats of texts have it."""
    if isinstance(response, list):
        return "".join(part["content"] for part in response)
    return response if isinstance(response, str) else json.dumps(response, ensure_ascii=False)


def meant(one: Example, form: Format) -> Facts:
    """The facts of an example itself."""
    facts, media = Facts(), media_of_format(form)
    for message in one.messages:
        for part in message["parts"]:
            match part["type"]:
                case "text":
                    facts.say(part["content"])
                case "tool_call":
                    facts.calls.append((part["name"], part["arguments"] or {}))
                case "tool_call_response":
                    told = part["response"]
                    if form.name == "vertex":
                        facts.results.append(told if isinstance(told, dict) else {"output": _told(told)})
                    else:
                        facts.results.append(_told(told))
                case "uri":
                    facts.images.append(part["uri"])
                case "blob":
                    facts.images.append(media(part))
    return facts


def read_openai(line: Line) -> Facts:
    facts = Facts()
    for message in line["messages"]:
        content = message.get("content")
        if message["role"] == "tool":
            facts.results.append(content.replace("\n", ""))
            continue
        for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            if part["type"] == "text":
                facts.say(part["text"])
            else:
                facts.images.append(part["image_url"]["url"])
        for one in message.get("tool_calls", []):
            facts.calls.append((one["function"]["name"], json.loads(one["function"]["arguments"])))
    return facts


def read_huggingface(line: Line) -> Facts:
    facts = Facts()
    facts.images = line.get("images", [])
    for message in line["messages"]:
        content = message.get("content")
        texts = [part.get("text") for part in content] if isinstance(content, list) else [content]
        if message["role"] == "tool":
            facts.results.append("".join(texts).replace("\n", ""))
            continue
        for one in texts:
            facts.say(one)
        facts.calls += [
            (one["function"]["name"], one["function"]["arguments"]) for one in message.get("tool_calls", [])
        ]
    return facts


def read_vertex(line: Line) -> Facts:
    facts = Facts()
    for content in [line.get("systemInstruction", {"parts": []}), *line["contents"]]:
        for part in content["parts"]:
            facts.say(part.get("text"))
            if "functionCall" in part:
                facts.calls.append((part["functionCall"]["name"], part["functionCall"]["args"]))
            if "functionResponse" in part:
                response = part["functionResponse"]["response"]
                facts.results.append(
                    {"output": told.replace("\n", "")} if isinstance(told := response.get("output"), str) else response
                )
            if "fileData" in part:
                facts.images.append(part["fileData"]["fileUri"])
    return facts


def read_bedrock(line: Line) -> Facts:
    facts = Facts()
    for block in [*line.get("system", []), *(block for message in line["messages"] for block in message["content"])]:
        facts.say(block.get("text"))
        if "toolUse" in block:
            facts.calls.append((block["toolUse"]["name"], block["toolUse"]["input"]))
        if "toolResult" in block:
            content = block["toolResult"]["content"]
            facts.results.append("".join(one["text"] if "text" in one else _told(one["json"]) for one in content))
        if "image" in block:
            facts.images.append(block["image"]["source"]["s3Location"]["uri"])
    return facts


def read_sharegpt(line: Line) -> Facts:
    facts = Facts()
    facts.images = line.get("images", [])
    facts.say(line.get("system"))
    for one in line["conversations"]:
        match one["from"]:
            case "function_call":
                calls = json.loads(one["value"])
                for each in calls if isinstance(calls, list) else [calls]:
                    facts.calls.append((each["name"], each["arguments"]))
            case "observation":
                facts.results.append(one["value"].replace("\n", ""))
            case _:
                facts.say(one["value"].replace("<image>", ""))
    return facts


READERS: dict[str, Callable[[Line], Facts]] = {
    "openai": read_openai,
    "huggingface": read_huggingface,
    "vertex": read_vertex,
    "bedrock-conversation": read_bedrock,
    "sharegpt": read_sharegpt,
}
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@SLOW
@given(examples())
def test_any_example_is_told_whole_or_not_at_all(one: Example) -> None:
    for form in CHAT:
        try:
            line = form.write(one, media_of_format(form))
        except Unfit as unfit:
            assert str(unfit)
            continue
        again = json.loads(base.text(line).encode())
        assert again == line
        assert [finding for finding in form.check(again) if finding.severity == "error"] == []
        if form.name not in READERS:
            continue
        facts = READERS[form.name](again)
        wanted = meant(one, form)
        assert facts.same() == wanted.same()


@SLOW
@given(pairs())
def test_any_pair_is_told_by_its_rules_or_not_at_all(one: Pair) -> None:
    for form in PREFERENCE:
        try:
            line = form.write(one, media_of_format(form))
        except Unfit:
            continue
        again = json.loads(base.text(line).encode())
        assert again == line
        assert [finding for finding in form.check(again) if finding.severity == "error"] == []


def test_any_example_is_often_told() -> None:
    """The examples that are drawn are no corner: each format tells some of them."""
    told = dict.fromkeys([form.name for form in CHAT], 0)

    @settings(max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(examples())
    def draw(one: Example) -> None:
        for form in CHAT:
            try:
                form.write(one, media_of_format(form))
            except Unfit:
                continue
            told[form.name] += 1

    draw()
    assert min(told.values()) > 0, told


@recordings.needs_recordings
@pytest.mark.parametrize("form", list(FORMATS.values()), ids=lambda form: form.name)
def test_recorded_calls_are_told_by_the_rules(form: Format) -> None:
    told = with_tools = 0
    for row in recordings.rows("exchanges.jsonl"):
        found, _ = understand(*recordings.exchange(row))
        if not found.input_messages or not found.output_messages:
            continue
        answer = found.output_messages[0]
        one: Example | Pair = example(*found.input_messages, answer)
        if form.kind == "preference":
            one = pair(found.input_messages, answer, said("assistant", "No."))
        try:
            line = form.write(one, media_of_format(form))
        except Unfit:
            continue
        again = json.loads(base.text(line).encode())
        assert [finding for finding in form.check(again) if finding.severity == "error"] == []
        told += 1
        with_tools += any(part["type"] == "tool_call" for part in answer["parts"])
    assert told >= 100
    assert (with_tools >= 20) == ("tools" in form.keeps)
