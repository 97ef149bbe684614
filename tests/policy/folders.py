"""A folder of policies for a test."""

from __future__ import annotations

from pathlib import Path


def folder(path: Path, **files: str) -> Path:
    """Policies by name, in `users__` those of users; there is a default."""
    (path / "users").mkdir(parents=True, exist_ok=True)
    for name, text in ({"default": ""} | files).items():
        (path / f"{name.replace('__', '/', 1)}.toml").write_text(text, "utf-8")
    return path
