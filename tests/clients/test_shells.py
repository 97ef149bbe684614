"""What is printed for a shell or a file is read by it as it was meant."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tracecli.clients import shells
from tracecli.errors import ConfigError

HARD = {
    "PLAIN": "http://run:a-b_c.d@127.0.0.1:1",
    "SPACED": "/a b/c",
    "QUOTED": 'it\'s $HOME `id` \\ "x" \u2019',
    "E": "",
}
LINES = {"SEVERAL": "one\ntwo"}  # a shell keeps the name LINES to itself
RUNS = {
    "bash": ["bash", "--norc"],
    "zsh": ["zsh", "-f"],
    "fish": ["fish", "--no-config"],
    "powershell": ["pwsh", "-NoProfile", "-Command", "-"],
}


@pytest.mark.parametrize("shell", RUNS)
def test_a_shell_reads_what_was_meant(shell: str) -> None:
    """Values come back from a program that the shell starts, and are gone after the way back."""
    if shutil.which(RUNS[shell][0]) is None:
        pytest.skip(f"there is no {shell}")
    look = "python3 -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    values = HARD | LINES
    script = [*shells.assignments(shell, values), look, *shells.removals(shell, values), look]
    done = subprocess.run(RUNS[shell], input="\n".join(script), capture_output=True, text=True, check=True)
    during, after = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert {name: during.get(name) for name in values} == values
    assert not values.keys() & after.keys()


def test_the_other_shells_by_their_rules() -> None:
    """Fish knows two escapes in single quotes, PowerShell doubles quotes, typographic ones too."""
    assert list(shells.assignments("fish", {"A": "it's \\"})) == ["set -gx A 'it\\'s \\\\'"]
    assert list(shells.assignments("powershell", {"A": "it's \u2019"})) == ["$env:A = 'it''s \u2019\u2019'"]
    assert list(shells.removals("fish", ["A"])) == ["set -e A"]


def test_a_dotenv_file(tmp_path: Path) -> None:
    """Node reads a dotenv file as it was meant; what no reader takes is refused."""
    values = {"PLAIN": HARD["PLAIN"], "SPACED": HARD["SPACED"], "D": 'a "b" $c', "S": "it's"}
    lines = list(shells.assignments("dotenv", values))
    assert lines[0] == f"PLAIN={HARD['PLAIN']}"
    with pytest.raises(ConfigError, match="QUOTED"):
        list(shells.assignments("dotenv", HARD))
    if shutil.which("node") is None:
        pytest.skip("there is no node")
    (tmp_path / ".env").write_text("\n".join(lines) + "\n")
    show = "console.log(JSON.stringify(process.env))"
    done = subprocess.run(
        ["node", "--env-file", ".env", "-e", show], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert {name: json.loads(done.stdout).get(name) for name in values} == values


def test_a_file_for_docker() -> None:
    """Docker takes all after the `=` as it is, and one line."""
    assert list(shells.assignments("docker", {"A": 'it\'s "x"'})) == ['A=it\'s "x"']
    for form in ("docker", "dotenv"):
        with pytest.raises(ConfigError, match="more than one line"):
            list(shells.assignments(form, LINES))


@pytest.mark.parametrize(
    ("path", "form"),
    [("/bin/bash", "bash"), ("/usr/bin/fish", "fish"), ("pwsh", "powershell"), ("/bin/dash", "bash"), ("", "bash")],
)
def test_the_form_for_a_shell(path: str, form: str) -> None:
    """By its name; a POSIX shell that is not known takes what bash takes."""
    assert shells.of_program(path) == form
