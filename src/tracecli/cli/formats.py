"""`--format` and `--output`, which every listing has: as a table for people, or as data."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracecli import config
from tracecli.cli import output
from tracecli.errors import TracecliError

if TYPE_CHECKING:
    from tracecli.tables.formats import Record

FORMATS = ("table", "json", "jsonl", "csv", "markdown", "parquet")
_SUFFIXES = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".md": "markdown"}
_SUFFIXES |= {".parquet": "parquet"}


@dataclass(frozen=True)
class Form:
    """How a listing is written, and where to; None is standard output."""

    name: str
    file: Path | None = None
    option: str = "--output"
    """What named the file."""

    @property
    def is_table(self) -> bool:
        """For people, or for a pipe of theirs: not by `write`."""
        return self.name == "table"

    def write(self, records: Iterable[Record], names: Sequence[str] = (), *, whole: Any = None) -> None:
        """Write records as data; `names` are their columns, without them those of the first one.

        `whole` is what JSON is, where it is more than a list of them.

        Raises TracecliError if the file cannot be written.
        """
        if not names and self.name in ("csv", "markdown"):
            records = list(records)
            names = list(records[0]) if records else ()
        if self.name == "json" and whole is not None:
            self._text([output.json_text(whole)])
        elif self.name == "parquet":
            self._parquet(records)
        else:
            self._text(self._lines(records, names))

    def _text(self, lines: Iterable[str]) -> None:
        if self.file is None:
            output.data_lines(lines)
            return
        with self.writing():
            from tracecli.files import drafted

            with drafted(self.file) as draft, draft.open("w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.writelines(lines)

    def _lines(self, records: Iterable[Record], names: Sequence[str]) -> Iterator[str]:
        from tracecli.tables import formats

        match self.name:
            case "json":
                yield from formats.json_lines(output.json_text(record) for record in records)
            case "jsonl":
                yield from (output.json_text(record, indent=None) for record in records)
            case "csv":
                yield from formats.csv_lines(records, names)
            case "markdown":
                yield from formats.markdown_lines(records, names)

    def _parquet(self, records: Iterable[Record]) -> None:
        from tracecli.store import parquet

        assert self.file is not None  # noqa: S101 - `options` sees to it
        with self.writing():
            home = config.home()
            if not home.foreign:
                home.prepare()
            parquet.export(home, (output.json_text(record, indent=None) for record in records), self.file)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """What goes wrong with the file meanwhile is told in a sentence."""
        try:
            yield
        except OSError as error:
            raise TracecliError(
                f"cannot write {self.file}: {error.strerror or error}", f"Name another file with {self.option}."
            ) from error


def options[R](
    *, csv: bool = False, json: str = "json", json_help: str = "The same as --format json."
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """`--format`, `--output` and `--json`, as the keyword argument `form`. `csv`: there is `--csv` too."""

    def made(command: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(command)
        def run(**given: Any) -> R:
            chosen = given.pop("as_format"), given.pop("as_json"), given.pop("as_csv", False), given.pop("output_file")
            return command(form=_form(*chosen, json=json), **given)

        wrapped: Any = run
        wrapped = click.option("--json", "as_json", is_flag=True, help=json_help)(wrapped)
        if csv:
            wrapped = click.option("--csv", "as_csv", is_flag=True, help="The same as --format csv.")(wrapped)
        wrapped = click.option(
            "--output",
            "output_file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Write to this file, in the format that its name says: .json, .jsonl, .csv, .md, .parquet.",
        )(wrapped)
        return click.option(  # type: ignore[no-any-return]
            "--format", "as_format", type=click.Choice(FORMATS), help="How to print it.  [default: table]"
        )(wrapped)

    return made


def _form(asked: Any, as_json: Any, as_csv: Any, file: Any, *, json: str) -> Form:
    typed = {f"--format {asked}": asked} if asked else {}
    typed |= {option: name for option, name, given in (("--json", json, as_json), ("--csv", "csv", as_csv)) if given}
    if len(set(typed.values())) > 1:
        raise click.UsageError(f"{' and '.join(typed)} are {len(typed)} formats: choose one.")
    name = next(iter(typed.values()), None) or (_SUFFIXES.get(file.suffix.lower()) if file else "table")
    if name is None or (name == "table" and file):
        raise click.UsageError(f"--output {file} names no format: add --format json, jsonl, csv, markdown or parquet.")
    if name == "parquet" and not file:
        raise click.UsageError("Parquet is no text: name a file with --output.")
    return Form(name, file)
