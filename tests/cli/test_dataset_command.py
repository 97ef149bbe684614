"""`tracecli dataset`: from a query to files, and what is said when it cannot be done."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.chats import store
from tests.support.corpus import planted
from tests.support.datasets import digests
from tests.support.upkeep import new_home
from tracecli import ledger
from tracecli.cli.main import run
from tracecli.config import Home


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home with traffic."""
    folder = tmp_path_factory.mktemp("dataset")
    store(new_home(folder), *(one.captured for one in planted(60)))
    return folder


@pytest.fixture
def home(filled: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TRACECLI_HOME", str(filled / "home"))
    monkeypatch.setenv("TRACECLI_POLICIES", str(filled / "policies"))
    return Home(filled / "home")


@pytest.fixture
def ran(home: Home, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command; returns what it wrote to either stream."""

    def command(*args: str, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        assert run(["dataset", *args]) == code, capsys.readouterr()
        told = capsys.readouterr()
        return told.out, told.err

    return command


def test_from_a_query_to_files(home: Home, ran: Any) -> None:
    """Create, preview, build, look, compare, delete."""
    _, told = ran("create", "support", "--where", "policy:support", "--formats", "openai,vertex", "--seed", "7")
    assert "support@1:" in told and "tracecli dataset build support" in told
    folder = home.datasets / "support" / "1"
    assert tomllib.loads((folder / "dataset.toml").read_text()) == {
        "where": "policy:support",
        "formats": ["openai", "vertex"],
        "seed": 7,
    }
    shown, _ = ran("preview", "support", "--limit", "2")
    assert shown.count("  assistant\n") == 2 and "gpt-4o-mini" in shown
    first, _ = ran("preview", "support", "--limit", "1", "--json")
    assert json.loads(first)["messages"][-1]["role"] == "assistant"

    out, told = ran("build", "support", "--allow-few")
    assert "openai/train.jsonl" in out and "vertex/train.jsonl" in out and str(folder) in told
    listed = json.loads(ran("list", "--json")[0])
    assert [(one["name"], one["version"]) for one in listed] == [("support", 1)] and listed[0]["built"]["examples"]
    shown, _ = ran("show", "support")
    assert 'where = "policy:support"' in shown and "refusals" in shown
    gone, _ = ran("preview", "support", "--dropped", "--step", "refusals", "--limit", "2", "--json")
    assert [json.loads(line)["step"] for line in gone.splitlines()] == ["refusals", "refusals"]

    ran("create", "support", "--update", "--where", "policy:support user:user-2", "--refusals", "keep")
    ran("build", "support", "--allow-few")
    different = json.loads(ran("diff", "support", "--json")[0])
    assert {one["what"] for one in different["settings"]} == {"where", "refusals"}
    assert different["removed"] and not different["added"] and different["built"]
    assert len(different["removed_ids"]) == different["removed"]
    text, _ = ran("diff", "support@2", "support@1")
    assert "refusals" in text and "+ 01a" in text

    ran("delete", "support@1", "--yes")
    assert [one["version"] for one in json.loads(ran("list", "--all", "--json")[0])] == [2]
    ran("delete", "support", "--yes")
    assert ran("list")[1] == "There are none yet: tracecli dataset create NAME --where QUERY\n"
    assert not (home.datasets / "support").exists()


def test_what_is_built_is_valid(home: Home, ran: Any) -> None:
    """By the same rules that are held against anybody's files."""
    ran("create", "valid", "--where", "user:*", "--formats", "openai,huggingface,bedrock-conversation,sharegpt")
    ran("build", "valid", "--allow-few")
    for name in ("openai", "huggingface", "sharegpt"):
        ran("validate", str(home.datasets / "valid" / "1" / name / "train.jsonl"), "--format", name)
    ran("delete", "valid", "--yes")


def test_a_definition_is_a_file_that_people_can_write(home: Home, ran: Any, tmp_path: Path) -> None:
    """`--from` reads one, options have precedence; what is wrong is told with the line, and a remedy."""
    file = tmp_path / "mine.toml"
    file.write_text('where = "policy:agents"\nturns = "each"\nper_user = 3\n')
    ran("create", "mine", "--from", str(file), "--per-user", "4")
    made = tomllib.loads((home.datasets / "mine" / "1" / "dataset.toml").read_text())
    assert made == {"where": "policy:agents", "turns": "each", "per_user": 4}
    for text, expected in (
        ('where = "user:*"\nturn = "each"\n', f"{file}:2: key `turn`: is unknown (did you mean `turns`?)"),
        ('where = "user:*"\nturns = "all"\n', f"{file}:2: key `turns`: Invalid enum value 'all'"),
        ('where = "user:"\n', f"{file}:1: key `where`:"),
        ("where = \n", f"{file}:1: not valid TOML"),
        ("seed = 1\n", f"{file}: key `where`: says which exchanges"),
        ('where = "user:*"\ntrain = 0.5\n', f"{file}:2: key `train`: and `validation` and `test` have to be 1"),
        ('where = "user:*"\nmax_tokens = 0\n', f"{file}:2: key `max_tokens`: must be 1 or more"),
        ('where = "user:*"\n[patterns]\nx = "("\n', f"{file}:3: key `patterns.x`: is no regular expression"),
    ):
        file.write_text(text)
        assert expected in ran("create", "other", "--from", str(file), code=3)[1]
    (home.datasets / "mine" / "1" / "dataset.toml").write_text("where = ?")
    assert "its file is broken" not in ran("list")[0]  # in a pipe it has no value
    assert "dataset.toml:1: not valid TOML" in ran("show", "mine", code=3)[1]
    ran("delete", "mine", "--yes")


_ALL = ("create", "x", "--where", "user:*")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("create", "x", "--where", "user:nobody"), 11, "no recorded request fits 'user:nobody'"),
        (("create", "x", "--where", "nope:1"), 3, "--where: there is no field `nope`"),
        (("create", "../x", "--where", "user:*"), 3, "the name of a dataset has small letters"),
        (("create", "x"), 3, "--where: says which exchanges"),
        (("create", "x", "--update"), 3, "there is no dataset x yet"),
        (
            ("create", "x", "--where", "user:*", "--kind", "preference", "--formats", "openai"),
            3,
            "is for the kind chat",
        ),
        (
            ("create", "x", "--where", "user:*", "--near-duplicates", "2"),
            3,
            "--near-duplicates: must be between 0 and 1",
        ),
        ((*_ALL, "--patterns", "x"), 2, "is no NAME=EXPRESSION"),
        (("build", "x"), 11, "there is no dataset 'x'"),
        (("build", "x@y"), 11, "there is no dataset 'x@y'"),
        (("diff", "x"), 11, "there is no dataset 'x'"),
        (("preview", "../../x"), 11, "there is no dataset"),
        (("delete", "x", "--yes"), 11, "there is no dataset 'x'"),
    ],
)
def test_what_cannot_be_done_is_said(ran: Any, home: Home, args: tuple[str, ...], code: int, said: str) -> None:
    """One sentence that names what is wrong, an exit code, and nothing is left behind."""
    out, told = ran(*args, code=code)
    assert said in told and not out
    assert not (home.datasets / "x").exists() and not (home.root / "x").exists()


def test_too_few_examples_are_no_dataset(home: Home, ran: Any) -> None:
    """What each step dropped is told, the exit code is 11, and no file is written."""
    ran("create", "few", "--where", "user:user-2,user-12,user-13")
    _, told = ran("build", "few", code=11)
    assert "openai asks for 10" in told and "--allow-few" in told and "refusals" in told
    assert sorted(path.name for path in (home.datasets / "few" / "1").iterdir()) == [
        "chosen.txt",
        "dataset.toml",
        "notes.md",
    ]
    assert "is not built" in ran("preview", "few", "--dropped", code=11)[1]
    ran("delete", "few", "--yes")


def test_other_folders_and_formats(home: Home, ran: Any, tmp_path: Path) -> None:
    """--output and --format leave the definition as it is; the folder is remembered; what cannot be written is said."""
    ran("create", "out", "--where", "user:*")
    place = tmp_path / "there"
    told = json.loads(ran("build", "out", "--output", str(place), "--format", "sharegpt", "--allow-few", "--json")[0])
    assert told["folder"] == str(place)
    assert (place / "sharegpt" / "train.jsonl").exists() and place.stat().st_mode & 0o777 == 0o700
    assert json.loads(ran("show", "out", "--json")[0])["copies"] == [str(place)]
    assert "formats" not in (home.datasets / "out" / "1" / "dataset.toml").read_text()
    before = digests(place)
    (tmp_path / "file").write_text("")
    assert "cannot write to" in ran("build", "out", "--output", str(tmp_path / "file" / "below"), code=1)[1]
    (tmp_path / "README.md").write_text("mine")
    assert "which is not of a dataset" in ran("build", "out", "--output", str(tmp_path), code=3)[1]
    assert (tmp_path / "README.md").read_text() == "mine"
    assert "there is no format 'nope'" in ran("build", "out", "--format", "nope", code=2)[1]
    assert digests(place) == before
    assert str(place) in ran("delete", "out", "--yes")[1]


def test_reading_content_is_in_the_ledger(home: Home, ran: Any) -> None:
    """Of a preview what it looked at, of a build all that was chosen; creating one reads nothing that was said."""

    before = len(list(ledger.entries(home)))

    def noted(command: str) -> set[str]:
        new = list(ledger.entries(home))[before:]
        return {name for one in new if one.command == command for name in one.ids}

    ran("create", "noted", "--where", "policy:support")
    assert not noted("dataset create")
    ran("preview", "noted", "--limit", "1")
    assert 0 < len(noted("dataset preview")) <= 25
    ran("build", "noted", "--allow-few")
    chosen = (home.datasets / "noted" / "1" / "chosen.txt").read_text().split()
    assert noted("dataset build") == set(chosen)
    ran("delete", "noted", "--yes")
