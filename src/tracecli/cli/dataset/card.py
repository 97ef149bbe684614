"""`tracecli dataset card`: where a dataset is from and what is in it, to hand on with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracecli import config
from tracecli.cli import output
from tracecli.cli.formats import Form
from tracecli.errors import DatasetError, HomeError

if TYPE_CHECKING:
    from tracecli.datasets.folder import Version
    from tracecli.datasets.manifest import Manifest

_FORMATS = {"markdown": (".md", ".markdown"), "json": (".json",), "html": (".html", ".htm")}


@click.command("card")
@click.argument("reference", metavar="NAME[@VERSION]")
@click.option("--format", "as_format", type=click.Choice(list(_FORMATS)), help="How to write it.  [default: markdown]")
@click.option(
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to this file, which only you can read, in the format that its name says: .md, .json, .html.",
)
def card(reference: str, as_format: str | None, file: Path | None) -> None:
    """Write the card of a built dataset: where it is from, what is in it, how it was made.

    It has no content of requests: models, policies, pseudonyms of users, counts, what each step dropped and why, hashes
    of the files, what training would cost, and the notes on licence and consent that you keep in notes.md beside the
    dataset's definition. As Markdown it is a dataset card of the Hugging Face Hub; as HTML it has charts.
    """
    from tracecli.datasets import card as cards
    from tracecli.datasets import folder

    chosen = as_format or ("markdown" if file is None else _format_of(file))
    version = folder.version(config.home(), reference)
    manifest = _built(version)
    notes = _notes(version)
    match chosen:
        case "markdown":
            text = cards.markdown(manifest, notes)
        case "json":
            text = cards.json_text(manifest, notes)
        case _:
            from tracecli.report import dataset_page

            text = dataset_page.page(manifest, notes)
    if file is None:
        output.data_lines([text])
        return
    from tracecli.files import write_whole

    with Form(chosen, file).writing():
        write_whole(file, text.encode())
    output.say(f"Wrote {file}.")


def _format_of(file: Path) -> str:
    for name, suffixes in _FORMATS.items():
        if file.suffix.lower() in suffixes:
            return name
    raise click.UsageError(f"--output {file} names no format: add --format markdown, json or html.")


def _built(version: Version) -> Manifest:
    """What was built of it, in the home or else in another folder."""
    from tracecli.datasets.folder import read_manifest

    for place in (version.folder, *version.copies()):
        if manifest := read_manifest(place):
            return manifest
    raise DatasetError(
        f"{version.reference} is not built, so there is nothing to tell",
        f"Build it: tracecli dataset build {version.reference}",
    )


def _notes(version: Version) -> str:
    from tracecli.datasets import notes

    try:
        return notes.read(version.folder)
    except OSError as error:
        raise HomeError(
            f"cannot read {version.folder / notes.NAME}: {error.strerror or error}", "Make it a readable file."
        ) from error
