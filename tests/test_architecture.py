"""Who may import what, and who may read the environment."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "tracecli"


def test_import_contracts_hold() -> None:
    """The contracts in pyproject.toml hold for the package as it is."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=PACKAGE.parents[1], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_one_place_reads_the_environment(path: Path) -> None:
    """Only config.py asks for environment variables; others may copy the whole for a child process."""
    if path.name == "config.py":
        return
    tree = ast.parse(path.read_text("utf-8"))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert not names & {"environ", "getenv", "environb"}


def test_the_proxy_stays_light() -> None:
    """Importing what the event loop runs brings in neither database nor tables nor prices."""
    heavy = {"duckdb", "rich", "click", "genai_prices", "pydantic", "httpx2", "openai", "anthropic"}
    script = f"import sys, tracecli.capture, tracecli.runtime; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
