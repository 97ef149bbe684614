"""Files of anybody's: what cannot be read is told by its line, and nothing of what they hold is."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.datasets.training_examples import PAIR, SIMPLE, WITH_TOOLS, example, media_of_format, said
from tracecli.config import Home
from tracecli.datasets import validation
from tracecli.datasets.formats import base
from tracecli.datasets.formats.base import Problem
from tracecli.datasets.formats.registry import FORMATS
from tracecli.datasets.validation import Validation, guessed
from tracecli.errors import ConfigError
from tracecli.store import parquet

SECRET = "sk-proj-0123456789abcdef"
GOOD = {name: base.text(form.write(SIMPLE, str)) for name, form in FORMATS.items() if form.kind == "chat"}
GOOD |= {name: base.text(form.write(PAIR, str)) for name, form in FORMATS.items() if form.kind == "preference"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def check(
    home: Home, content: bytes | str, form: str = "prompt-completion", name: str = "train.jsonl"
) -> list[Problem]:
    file = home.root.parent / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(Validation(home, file, FORMATS[form]).problems())


ONE = GOOD["prompt-completion"].encode()
UNREAD = "is no JSON that can be read: a number of too many digits, or lists too deep"
TWICE = b'{"prompt": "x", "completion": "y", "a b@c": {"SECRET": 1, "SECRET": 2}}\n'.replace(b"SECRET", SECRET.encode())


@pytest.mark.parametrize(
    ("lines", "line", "told"),
    [
        ([ONE, b'{"prompt": "\xff", "completion": "x"}\n', ONE], 2, "is no UTF-8 at byte 13 of the line"),
        ([ONE, b"\n", ONE], 2, "is empty: remove it"),
        ([ONE, b"  \r\n", ONE], 2, "is empty: remove it"),
        ([ONE, b"\xef\xbb\xbf" + ONE], 2, "is no JSON: see its character 1"),
        ([ONE, b'{"prompt": "x" "completion": "y"}\n', ONE], 2, "is no JSON: see its character 16"),
        ([ONE, b'[{"prompt": "x", "completion": "y"}]\n'], 2, "has to be a JSON object, and is a list"),
        ([ONE, b'"prompt"\n'], 2, "has to be a JSON object, and is a text"),
        ([ONE, ONE, b'{"prompt": "x", "comp'], 3, "ends in its middle, as if the file was cut"),
        ([ONE, ONE, b'{"prompt": {"x": 1}'], 3, "ends in its middle, as if the file was cut"),
        ([b'{"prompt": "x", "completion": "y", "prompt": "z"}\n', ONE], 1, "has a key twice: `prompt`"),
        ([TWICE, ONE], 1, "has a key twice: another one"),
        ([b'{"prompt": "x", "completion": NaN}\n', ONE], 1, "is no JSON: it holds NaN, which JSON does not have"),
        ([b'{"prompt": ' + b"9" * 5000 + b"}\n", ONE], 1, UNREAD),
        ([b"[" * 100_000 + b"\n", ONE], 1, UNREAD),
        ([b"\xef\xbb\xbf" + ONE, ONE], 1, "begins with a byte order mark: save the file without one"),
    ],
)
def test_a_line_that_cannot_be_read_is_told_by_its_number(home: Home, lines: list[bytes], line: int, told: str) -> None:
    assert check(home, b"".join(lines)) == [Problem(line, "", told)]


def test_lines_may_end_as_windows_has_it_and_the_last_one_need_not_end(home: Home) -> None:
    assert check(home, ONE.replace(b"\n", b"\r\n") * 2 + ONE.rstrip()) == []


def test_a_byte_order_mark_is_fine_where_the_provider_takes_it(home: Home) -> None:
    assert check(home, b"\xef\xbb\xbf" + GOOD["openai"].encode() * 10, "openai") == []


def test_an_empty_file_holds_no_examples(home: Home) -> None:
    for content in (b"", b"\xef\xbb\xbf"):
        assert check(home, content, "openai") == [Problem(None, "", "the file holds no examples")]


LINES = [name for name in GOOD if FORMATS[name].suffix == ".jsonl"]


@pytest.mark.parametrize(
    ("form", "other"), [(one, other) for one in LINES for other in LINES if FORMATS[one].shape != FORMATS[other].shape]
)
def test_a_line_of_another_format_is_said_to_be_of_it(home: Home, form: str, other: str) -> None:
    problems = check(home, GOOD[form] * 5 + GOOD[other] + GOOD[form] * 5, form)
    [found] = [one for one in problems if one.severity == "error"]
    assert found.line == 6
    assert FORMATS[found.problem.removeprefix("is a line of the format ")].shape == FORMATS[other].shape


@pytest.mark.parametrize("depth", [500, 900, 3000, 20_000])
def test_a_line_may_be_as_deep_as_it_likes(home: Home, depth: int) -> None:
    """It is checked, or said to be too deep."""
    for form in LINES:
        assert check(home, GOOD[form][:-2] + f', "x": {"[" * depth}{"]" * depth}}}\n', form)


def test_too_few_examples_are_told_of_the_whole_file(home: Home) -> None:
    [found] = check(home, GOOD["openai"] * 9, "openai")
    assert found == Problem(None, "", "openai asks for 10 examples at least: 9")
    assert check(home, GOOD["openai"] * 10, "openai") == []


def test_more_than_a_provider_takes_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    form = FORMATS["fireworks"]
    small = type(form.limits)(most_examples=3, most_bytes=300, most_with_images=0, most_tokens=5)
    monkeypatch.setitem(FORMATS, "fireworks", type(form)(**{**vars(form), "limits": small}))
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    line = {"messages": [{"role": "user", "content": image}, {"role": "assistant", "content": "é" * 12}]}
    found = check(home, base.text(line) + GOOD["fireworks"] * 3, "fireworks")
    assert [(one.line, one.severity, one.problem) for one in found] == [
        (1, "warning", "has about 11 tokens by its length, and the provider takes 5"),
        *((line, "warning", "has about 11 tokens by its length, and the provider takes 5") for line in (2, 3, 4)),
        (None, "error", "fireworks takes 3 examples at most: 4"),
        (None, "error", f"fireworks takes 300 bytes at most: {(home.root.parent / 'train.jsonl').stat().st_size}"),
        (None, "error", "fireworks takes 0 examples with images at most: 1"),
    ]


def test_what_a_file_holds_is_never_told(home: Home) -> None:
    hostile = f"\x1b[31m{SECRET}\x1b[0m"
    lines = [
        {"messages": [{"role": hostile, hostile: 1, "content": 1}], hostile: 1},
        {"messages": [{"role": "user", "content": hostile, SECRET: 2}, {"role": SECRET, "content": SECRET}]},
        {"messages": hostile, "tools": [{"type": SECRET, "function": {"name": hostile}}]},
        {hostile: 1},
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    for form in LINES:
        told = str(check(home, content, form))
        assert SECRET not in told
        assert "x1b" not in told


def test_a_line_of_20_mb_is_fine_and_a_longer_one_than_anybody_takes_is_not_read(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = base.text({"prompt": "x" * 20_000_000, "completion": "y"})
    assert check(home, long + ONE.decode()) == []
    monkeypatch.setattr(validation, "MOST_LINE_BYTES", 1 << 20)
    assert check(home, ONE.decode() + long + ONE.decode()) == [Problem(2, "", "is longer than 1 MB, and was not read")]


_MEASURED = """
import resource, sys
from pathlib import Path
from tracecli.config import Home
from tracecli.datasets.formats.registry import FORMATS
from tracecli.datasets.validation import Validation
home, file, form = sys.argv[1:]
found = Validation(Home(Path(home)), Path(file), FORMATS[form])
list(found.problems())
print(found.examples, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_file(home: Home) -> None:
    def peak(lines: int) -> int:
        file = home.root.parent / f"{lines}.jsonl"
        with file.open("w") as stream:
            line = base.text({"prompt": "x" * 100_000, "completion": "y"})
            for _ in range(lines):
                stream.write(line)
        command = [sys.executable, "-c", _MEASURED, str(home.root), str(file), "prompt-completion"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        file.unlink()
        assert told[0] == str(lines)
        return int(told[1])

    unit = 1 if sys.platform == "linux" else 1024  # kilobytes, or bytes
    assert resource.RUSAGE_SELF == 0
    assert (peak(400) - peak(10)) / unit < 20_000  # the larger file has 40 MB


# -- Parquet


def test_a_parquet_file_is_checked_row_by_row(home: Home, tmp_path: Path) -> None:
    form = FORMATS["parquet"]
    rows = [form.write(one, media_of_format(form)) for one in (SIMPLE, WITH_TOOLS, SIMPLE)]
    home.prepare()
    good, bad = tmp_path / "a*[b]?.parquet", tmp_path / "bad.parquet"
    parquet.export(home, map(base.text, rows), good, form.columns)
    assert list(Validation(home, good, form).problems()) == []
    rows[1]["messages"][2]["tool_calls"][0]["function"]["arguments"] = "{"
    rows[2]["messages"][0]["content_parts"] = "no"
    parquet.export(home, map(base.text, rows), bad, form.columns)
    found = list(Validation(home, bad, form).problems())
    assert [(one.line, one.where) for one in found] == [
        (2, "messages[2].tool_calls[0].function.arguments"),
        (3, "messages[0].content_parts"),
    ]


def test_columns_keep_texts_that_look_like_something_else(home: Home, tmp_path: Path) -> None:
    form = FORMATS["parquet"]
    texts = ["2026-01-01T00:00:00", "4F1E1C2A-0000-4000-8000-ABCDEFABCDEF", '{"a": 1}', "12", "\u2028é\x00"]
    file = tmp_path / "odd.parquet"
    home.prepare()
    rows = [form.write(SIMPLE, str) for _ in texts]
    for row, content in zip(rows, texts, strict=True):
        row["messages"][1]["content"] = content
    parquet.export(home, map(base.text, rows), file, form.columns)
    assert [json.loads(row)["messages"][1]["content"] for row in parquet.rows(home, file)] == texts


def test_rows_are_read_slice_by_slice(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is lost or told twice, in their order, one at a time."""
    form = FORMATS["parquet"]
    wanted = [
        base.text(form.write(example(said("user", str(number)), said("assistant", "!")), str)) for number in range(100)
    ]
    home.prepare()
    parquet.export(home, wanted, tmp_path / "many.parquet", form.columns)
    monkeypatch.setattr(parquet, "_SLICE_BYTES", 1)
    assert [json.loads(row) for row in parquet.rows(home, tmp_path / "many.parquet")] == list(map(json.loads, wanted))


def test_no_lines_are_a_parquet_file_with_the_same_columns(home: Home, tmp_path: Path) -> None:
    home.prepare()
    parquet.export(home, [], tmp_path / "none.parquet", FORMATS["parquet"].columns)
    [found] = Validation(home, tmp_path / "none.parquet", FORMATS["parquet"]).problems()
    assert found.problem == "the file holds no examples"


def test_a_parquet_file_is_not_json_lines_nor_the_other_way_round(home: Home, tmp_path: Path) -> None:
    home.prepare()
    parquet.export(home, [GOOD["parquet"]], tmp_path / "a.parquet", FORMATS["parquet"].columns)
    [found, *_] = Validation(home, tmp_path / "a.parquet", FORMATS["openai"]).problems()
    assert found == Problem(None, "", "the file is a Parquet file, and openai is JSON Lines")
    [found, *_] = check(home, GOOD["openai"], "parquet")
    assert found == Problem(None, "", "the file is no Parquet file")


def test_a_damaged_parquet_file_is_said_to_be(home: Home, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + b"\x00" * 100)
    with pytest.raises(ConfigError, match="has to be a whole Parquet file"):
        list(Validation(home, tmp_path / "a.parquet", FORMATS["parquet"]).problems())


def test_what_is_no_file_cannot_be_read(home: Home, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        list(Validation(home, tmp_path / "none", FORMATS["openai"]).problems())
    with pytest.raises(ConfigError, match="is no file"):
        list(Validation(home, tmp_path, FORMATS["openai"]).problems())


# -- guessing


@pytest.mark.parametrize("form", list(GOOD))
def test_a_format_is_guessed_by_what_lines_are(home: Home, tmp_path: Path, form: str) -> None:
    home.prepare()
    file = tmp_path / "file"
    if form == "parquet":
        parquet.export(home, [GOOD[form]], file, FORMATS[form].columns)
    else:
        file.write_text("{\n" + GOOD[form] * 3)
    found = guessed(home, file)
    assert found is not None
    assert found.shape == FORMATS[form].shape
    assert (found.suffix == ".parquet") == (form == "parquet")


def test_what_only_one_format_takes_is_guessed_to_be_it(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text(base.text(FORMATS["huggingface"].write(WITH_TOOLS, str)))
    found = guessed(home, file)
    assert found is FORMATS["huggingface"]


def test_a_broken_file_is_guessed_by_its_keys(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "file"
    for line, form in (
        ({"messages": 1}, "openai"),
        ({"contents": 1}, "vertex"),
        ({"schemaVersion": 1, "messages": 1}, "bedrock-conversation"),
        ({"conversations": []}, "sharegpt"),
        ({"prompt": 1, "chosen": 2, "rejected": 3}, "huggingface-preference"),
    ):
        file.write_text(json.dumps(line))
        found = guessed(home, file)
        assert found is FORMATS[form]
    for content in ("", "{", '{"a": 1}\n'):
        file.write_text(content)
        assert guessed(home, file) is None
