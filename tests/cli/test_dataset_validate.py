"""`tracecli dataset validate` and `formats`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.datasets.training_examples import SIMPLE
from tracecli.cli.main import run
from tracecli.datasets.formats import base
from tracecli.datasets.formats.registry import FORMATS

GOOD = base.text(FORMATS["openai"].write(SIMPLE, str))
HOSTILE = "\x1b[31m sk-secret-1 [bold]"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACECLI_HOME", str(tmp_path / "home"))
    return tmp_path / "train.jsonl"


def test_a_file_that_is_right_is_said_to_be(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD * 10)
    assert run(["dataset", "validate", str(file), "--format", "openai"]) == 0
    assert capsys.readouterr() == ("", "openai: 10 examples, no errors, no warnings.\n")


def test_problems_are_told_by_line_and_place_and_nothing_of_the_content(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {
        "messages": [{"role": "user", "content": HOSTILE}, {"role": HOSTILE, "content": HOSTILE}],
        "extra": HOSTILE,
    }
    file.write_text(GOOD * 10 + json.dumps(wrong) + "\n")
    assert run(["dataset", "validate", str(file)]) == 7
    shown = capsys.readouterr()
    assert f"{file}:11: error: messages[1].role: has to be system" in shown.out
    assert f"{file}:11: error: extra: the format has no such key" in shown.out
    assert shown.err == "Looks like openai: 11 examples, 3 errors, no warnings.\n"
    assert "secret" not in shown.out + shown.err
    assert "\x1b" not in shown.out + shown.err


def test_only_so_many_problems_are_shown_and_all_are_counted(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("{}\n" * 20)
    assert run(["dataset", "validate", str(file), "--format", "prompt-completion", "--limit", "3"]) == 7
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 3
    assert "20 examples, 40 errors, no warnings. 37 more are not shown" in shown.err


def test_json_has_problems_and_counts(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD * 9)
    assert run(["dataset", "validate", str(file), "--json"]) == 7
    assert json.loads(capsys.readouterr().out) == {
        "valid": False,
        "format": "openai",
        "guessed": True,
        "examples": 9,
        "bytes": len(GOOD) * 9,
        "errors": 1,
        "warnings": 0,
        "problems": [
            {
                "line": None,
                "where": "",
                "problem": "openai asks for 10 examples at least: 9",
                "severity": "error",
            }
        ],
    }


def test_warnings_alone_are_no_failure(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = {"fileData": {"mimeType": "image/png", "fileUri": "media/a.png"}}
    line = {"contents": [{"role": "user", "parts": [part]}, {"role": "model", "parts": [{"text": "A dog."}]}]}
    file.write_text(json.dumps(line))
    assert run(["dataset", "validate", str(file)]) == 0
    shown = capsys.readouterr()
    assert ":1: warning: contents[0].parts[0].fileData.fileUri: is in no bucket" in shown.out
    assert "no errors, 1 warning." in shown.err


@pytest.mark.parametrize(
    ("content", "options", "code", "told"),
    [
        (None, [], 3, "No such file or directory. Name a file of examples."),
        ('{"a": 1}\n', [], 3, "looks like no format that is known. Name what it is to be with --format"),
        ("", ["--format", "gpt"], 2, "there is no format 'gpt'; there are openai, openai-preference,"),
        (b"PAR1 no", [], 3, "It has to be a whole Parquet file."),
    ],
)
def test_what_cannot_be_checked_is_one_sentence(
    file: Path,
    content: str | bytes | None,
    options: list[str],
    code: int,
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert run(["dataset", "validate", str(file), *options]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert told in shown.err


def test_no_home_is_made_for_a_file_of_lines(file: Path) -> None:
    file.write_text(GOOD * 10)
    assert run(["dataset", "validate", str(file)]) == 0
    assert not (file.parent / "home").exists()


def test_formats_are_listed_for_people_and_as_data(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dataset", "formats"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n{name} " in shown for name in FORMATS)
    assert "10 examples at least" in shown
    assert run(["dataset", "formats", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found] == list(FORMATS)
    assert found[0]["least_examples"] == 10
    assert found[0]["keeps"] == ["tools", "images", "names", "weights"]
    assert all(one["urls"] and one["rules"] for one in found)
    assert run(["dataset", "formats", "--csv"]) == 0
    assert capsys.readouterr().out.startswith("name,kind,title,")
