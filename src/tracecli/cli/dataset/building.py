"""`tracecli dataset build` and `delete`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from tracecli import config
from tracecli.cli import output
from tracecli.errors import TracecliError


@click.command("build")
@click.argument("reference", metavar="NAME[@VERSION]")
@click.option(
    "--format", "formats", multiple=True, metavar="NAME", help="In this format, whatever the definition says."
)
@click.option(
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write to this folder.  [default: the dataset's in the home]",
)
@click.option("--allow-few", is_flag=True, help="Also with fewer examples than the provider takes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def build(reference: str, formats: tuple[str, ...], folder: Path | None, allow_few: bool, as_json: bool) -> None:
    """Make the files of a dataset: clean what it chose, split it, write it.

    What each step dropped is shown, and stays in the dataset's card. What was built before is replaced when all of it
    is written, and stays if that fails. The files are only yours to read; they are not encrypted, also in an encrypted
    home.

    `tracecli erase` knows of what is built, also in other folders, and builds it again without what it erased.
    """
    from tracecli.datasets import building
    from tracecli.datasets import folder as folders
    from tracecli.datasets.building import TooFew
    from tracecli.datasets.definition import definition
    from tracecli.policy.rules import PolicyError
    from tracecli.tables import datasets as tables

    home = config.home()
    version = folders.version(home, reference)
    of = version.definition()
    if formats:
        try:
            of = definition("", msgspec.structs.asdict(of) | {"formats": list(dict.fromkeys(formats))})
        except PolicyError as error:
            raise click.BadParameter(f"{error.problem}.", param_hint="--format") from None
    place = folder.absolute() if folder else version.folder
    try:
        if folder:
            version.note_copy(place)  # before, so that an erasure knows of it however the build ends
        built = building.build(home, version, place, of, allow_few=allow_few)
    except TooFew as error:
        for text in tables.steps_plain([one for one in error.steps if one.dropped]):
            output.say(text)
        raise
    except OSError as error:
        raise TracecliError(
            f"cannot write to {place}: {error.strerror or error}", "Name another folder with --output."
        ) from error
    if as_json:
        output.json(msgspec.to_builtins(built) | {"folder": str(place)})
        return
    output.listing(tables.result(built), tables.result_plain(built))
    output.say(f"Written to {place}")


@click.command("delete")
@click.argument("reference", metavar="NAME[@VERSION]")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(reference: str, yes: bool) -> None:
    """Delete a dataset, or one version of it, with what was built in the home.

    What was built in other folders stays, and is not known any more to `tracecli erase`.
    """
    from tracecli.datasets import folder

    home = config.home()
    home.refuse_changes()
    version = folder.version(home, reference)
    gone = [version] if "@" in reference else folder.versions(home, version.name)
    if not yes:
        what = version.reference if "@" in reference else f"{version.name}, {len(gone)} versions"
        click.confirm(f"Delete {what}?", abort=True, err=True)
    for place in [place for one in gone for place in one.copies()]:
        output.say(f"What was built in {place} stays.")
    folder.delete(home, version.name, [one.number for one in gone])
