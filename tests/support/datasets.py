"""What tests of datasets share."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

from tracecli import finding
from tracecli.config import Home
from tracecli.datasets import folder
from tracecli.datasets.building import build
from tracecli.datasets.definition import Definition
from tracecli.datasets.folder import Version
from tracecli.query import syntax


def made(home: Home, name: str = "all", **settings: Any) -> Version:
    """A dataset of what fits, which is everything by itself."""
    of = Definition(**({"where": "user:*"} | settings))
    found = finding.ids(home, syntax.parse(of.where), dt.datetime.now(dt.UTC), sessions=of.sessions)
    return folder.make(home, name, of, sorted(found))


def built(home: Home, name: str = "all", **settings: Any) -> Version:
    """The same, built, however few examples there are."""
    version = made(home, name, **settings)
    build(home, version, version.folder, allow_few=True)
    return version


def lines(version: Version, file: str = "openai/train.jsonl") -> list[dict[str, Any]]:
    """The examples in a file; none if there is none."""
    path = version.folder / file
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def examples(version: Version, form: str = "openai") -> dict[str, dict[str, Any]]:
    """The examples of all files by the ids of their exchanges."""
    found: dict[str, dict[str, Any]] = {}
    for split in ("train", "validation", "test"):
        sources = lines(version, f"{form}/{split}.provenance.jsonl")
        found |= {
            (source.get("chosen") or source)["id"]: one
            for source, one in zip(sources, lines(version, f"{form}/{split}.jsonl"), strict=True)
        }
    return found


def dropped(version: Version) -> dict[str, str]:
    """The steps by which exchanges went, by their ids."""
    told = (json.loads(line) for line in version.dropped_file.read_text("utf-8").splitlines())
    return {one["id"]: one["step"] for one in told}


def digests(folder_: Path) -> dict[str, str]:
    """The files below a folder, and their hashes."""
    return {
        str(path.relative_to(folder_)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder_.rglob("*"))
        if path.is_file()
    }
