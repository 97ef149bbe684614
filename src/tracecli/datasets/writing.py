"""Writing the files of one format: examples, where they are from, and media that are files of their own."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tracecli.config import PRIVATE_FILE, PRIVATE_FOLDER, Home
from tracecli.datasets.definition import SPLITS, Definition
from tracecli.datasets.example import Example, Pair, media_name
from tracecli.datasets.formats.base import Format, Line, Unfit, text
from tracecli.datasets.manifest import File
from tracecli.store import parquet

MEDIA = "media"
"""The folder of images and the like, in that of a format."""
_SOURCE_COLUMN = ("metadata", "STRUCT(id VARCHAR, model VARCHAR, started_at VARCHAR, policy VARCHAR)")


def provenance_of(name: str) -> str:
    """The file that says where the examples of a file are from, beside it."""
    path = Path(name)
    return str(path.with_name(f"{path.stem}.provenance.jsonl"))


def write(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read."""
    with private(path) as file:
        file.write(content)


def private(path: Path) -> IO[bytes]:
    """A new file that only its owner can read."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE), "w+b")


@dataclass
class _Output:
    """A file that is being written."""

    lines: IO[bytes]
    provenance: IO[bytes] | None
    examples: int = 0


class Writer:
    """The files of one format."""

    def __init__(self, of: Format, draft: Path, media: Path, definition: Definition) -> None:
        self._format = of
        self._folder = draft / of.name
        self._media = media
        self._provenance = definition.provenance
        self._outputs: dict[str, _Output] = {}
        self._left_out: dict[str, dict[str, int]] = {}
        self._named: dict[str, Path] = {}
        """The files of media that the example names which is being written, and where their bytes are."""
        self._folder.mkdir(mode=PRIVATE_FOLDER)

    def add(self, split: str, example: Example | Pair) -> None:
        """Write an example, if it can be told in the format."""
        source = _source(example)
        self._named = {}
        try:
            line = self._format.write(example, self._url)
            if self._provenance == "inline":
                line = line | {"metadata": source}
            told = text(line).encode()
        except Unfit as why:
            reasons = self._left_out.setdefault(split, {})
            reasons[str(why)] = reasons.get(str(why), 0) + 1
            return
        output = self._outputs.get(split) or self._begun(split)
        output.lines.write(told)
        if output.provenance is not None:
            output.provenance.write(text(source).encode())
        output.examples += 1
        self._write_media()

    def _begun(self, split: str) -> _Output:
        beside = self._provenance == "beside"
        output = _Output(
            private(self._folder / f"{split}.jsonl"),
            private(self._folder / provenance_of(f"{split}.jsonl")) if beside else None,
        )
        self._outputs[split] = output
        return output

    def _url(self, part: dict[str, Any]) -> str:
        """Of media: a data URL, or the name of a file, which is written if the example is."""
        source = self._media / part["sha256"]
        if not source.exists():
            raise Unfit("media whose bytes are not recorded")
        if self._format.media == "inline":
            data = base64.b64encode(source.read_bytes()).decode()
            return f"data:{part.get('mime_type') or 'application/octet-stream'};base64,{data}"
        name = media_name(part)
        self._named[name] = source
        return f"{MEDIA}/{name}"

    def _write_media(self) -> None:
        for name, source in self._named.items():
            place = self._folder / MEDIA / name
            if not place.exists():
                place.parent.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
                write(place, source.read_bytes())

    def finish(self, home: Home) -> list[File]:
        """The files that were written."""
        self.close()
        found = []
        for split in SPLITS:
            left_out = dict(sorted(self._left_out.get(split, {}).items()))
            if output := self._outputs.get(split):
                path = self._folder / f"{split}.jsonl"
                if self._format.suffix == ".parquet":
                    path = self._as_parquet(home, path)
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                    size = os.fstat(file.fileno()).st_size
                name = f"{self._format.name}/{path.name}"
                found.append(_file(name, self._format.name, split, output.examples, size, digest, left_out))
            elif left_out:
                found.append(_file("", self._format.name, split, 0, 0, "", left_out))
        return found

    def _as_parquet(self, home: Home, path: Path) -> Path:
        """Lines of JSON as a Parquet file in their place."""
        made = path.with_suffix(".parquet")
        columns = [*self._format.columns, *([_SOURCE_COLUMN] if self._provenance == "inline" else [])]
        with path.open(encoding="utf-8") as lines:
            parquet.export(home, lines, made, columns)
        path.unlink()
        return made

    def close(self) -> None:
        """Close what is open."""
        for output in self._outputs.values():
            output.lines.close()
            if output.provenance is not None:
                output.provenance.close()


def _file(path: str, name: str, split: str, examples: int, size: int, digest: str, left_out: dict[str, int]) -> File:
    return File(path=path, format=name, split=split, examples=examples, bytes=size, sha256=digest, left_out=left_out)


def _source(example: Example | Pair) -> Line:
    if isinstance(example, Example):
        return example.source.as_json()
    return {"chosen": example.source.as_json(), "rejected": example.rejected_source.as_json()}
