"""Two requests side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.chats import answered, asked, call, store
from tests.support.looks import rendered
from tests.support.rows import opened
from tracecli.cli.main import run
from tracecli.comparing import compare
from tracecli.config import Home
from tracecli.exchange import Body, Message, Opened
from tracecli.tables.compared import compared, plain


def _messages(*texts: str) -> list[Message]:
    roles = ("system", "user", "assistant", "user", "assistant")
    return [
        {"role": role, "parts": [{"type": "text", "content": text}]} for role, text in zip(roles, texts, strict=False)
    ]


def _asked(*texts: str, body: Any = None, answer: str = "x", **changes: Any) -> Opened:
    given = Body([], json.dumps(body or {}).encode(), False)
    return opened(input_messages=_messages(*texts), output_messages=_messages(answer), request=given, **changes)


def test_messages_are_aligned() -> None:
    """What is the same stays together around what was changed, added or left out."""
    found = compare(_asked("s", "one", "two", "three"), _asked("s", "one!", "two", "three", "four", answer="y"))
    assert [(pair.side, pair.kind, pair.role) for pair in found.pairs] == [
        ("prompt", "same", "system"),
        ("prompt", "different", "user"),
        ("prompt", "same", "assistant"),
        ("prompt", "same", "user"),
        ("prompt", "only_b", "assistant"),
        ("completion", "different", "system"),
    ]
    assert found.first_difference == 1
    assert found.pairs[1].first == 3


def test_fields_and_parameters_that_differ() -> None:
    """Beside the messages: what was asked for otherwise, and what came of it."""
    a = _asked("s", body={"temperature": 0, "messages": [1], "top_p": 1}, status=200)
    b = _asked("s", body={"temperature": 1, "messages": [2], "seed": 7, "top_p": 1}, status=429)
    assert [(one.name, one.a, one.b) for one in compare(a, b).fields] == [
        ("status", 200, 429),
        ("temperature", 0, 1),
        ("seed", None, 7),
    ]


def test_the_same_is_the_same() -> None:
    """A request does not differ from itself."""
    found = compare(_asked("s", "a"), _asked("s", "a"))
    assert (found.fields, found.first_difference) == ([], None)
    assert "Nothing that was said differs." in rendered(compared(found))


@pytest.mark.parametrize("terminal", [True, False])
def test_hostile_and_long_texts(terminal: bool) -> None:
    """A megabyte shows in part, from where it differs; nothing in it acts on the terminal."""
    text = "same " * 200_000
    found = compare(_asked("s", text + "\x1b[2Jone" + text), _asked("s", text + "\u202etwo", body={"\x1b[31mx": 1}))
    shown = rendered(compared(found), 100) if terminal else "\n".join(plain(found))
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown
    assert "\\x1b[2Jone" in shown
    assert "first difference" in shown.replace("\n", " ") if not terminal else "difference" in shown
    if terminal:
        assert len(shown) < 30_000


def test_many_messages_take_no_time_to_align() -> None:
    """Thousands of messages are compared one by one."""
    many = [{"role": "user", "parts": [{"type": "text", "content": str(number)}]} for number in range(5000)]
    found = compare(opened(input_messages=many), opened(input_messages=many[1:]))
    assert found.first_difference == 0


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`usage diff` takes ids as `usage show` does, and writes a diff in a pipe, or JSON."""
    home = Home(tmp_path / "home")
    home.prepare()
    ids = store(home, call(0, asked("Hello Bob"), answered("a")), call(1, asked("Hello Eve", n=2), answered("b")))
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    assert run(["usage", "diff", ids[0], "last"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"--- {ids[0]}",
        f"+++ {ids[1]}",
        "@ n",
        "-–",  # noqa: RUF001 - an unknown value
        "+2",
        "@ prompt 1 user (first difference)",
        "-Hello Bob",
        "+Hello Eve",
        "@ completion 2 assistant",
        "-a",
        "+b",
    ]
    assert run(["usage", "diff", *ids, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["a"], told["b"], told["first_difference"]) == (*ids, 0)
    assert told["pairs"][0]["first"] == 6
    assert run(["usage", "diff", ids[0], "7"]) == 4
