"""Building a dataset: examples of what it chose, cleaned, split and written in its formats.

Everything is written beside, and takes its place file by file at the end: who builds again and fails keeps what there
was. The same ids, records and definition make the same bytes, whatever the machine.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import batched
from pathlib import Path
from typing import IO, Any

import msgspec

from tracecli import __version__, files, home_key, ledger, working
from tracecli.config import PRIVATE_FOLDER, Home
from tracecli.datasets import card, cleaning, language, notes, workers
from tracecli.datasets import definition as definitions
from tracecli.datasets.cleaning import Tally
from tracecli.datasets.definition import SPLITS, TRAIN, Definition
from tracecli.datasets.example import Example, Pair
from tracecli.datasets.folder import MANIFEST, Version, read_manifest
from tracecli.datasets.formats.registry import FORMATS
from tracecli.datasets.manifest import File, Manifest, Part, Step
from tracecli.datasets.preparing import CHECKED, Left, Prepared, spoken
from tracecli.datasets.writing import MEDIA, Writer, private, provenance_of, write
from tracecli.errors import ConfigError, DatasetError
from tracecli.store.curating import Entries, Place, entries
from tracecli.store.engine import scratch, spill_folder

_DRAFT = ".building-"
_AT_ONCE = 1000
_MOST_USERS = 1000


class TooFew(DatasetError):
    """So few examples are left that there is nothing to train on; `steps` say why."""

    def __init__(self, problem: str, remedy: str, steps: list[Step]) -> None:
        super().__init__(problem, remedy)
        self.steps = steps


def build(
    home: Home,
    version: Version,
    folder: Path,
    of: Definition | None = None,
    *,
    allow_few: bool = False,
    noted: bool = True,
) -> Manifest:
    """Build a version of a dataset into a folder, by its own definition or by another one.

    What it reads is noted in the ledger, unless it is built again without being asked for.

    Raises DatasetError if something was erased from it meanwhile, TooFew if fewer examples are left than a format's
    provider takes, ConfigError for a folder that has a card of something else, HomeError if it cannot be read or noted,
    and OSError if it cannot be written; what was in the folder is as it was then.
    """
    of = of or version.definition()
    if of.languages or of.balance == "language":
        language.needed()
    home.prepare()
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    _refuse_others(folder)
    with version.locked() as begun:
        pass
    with ExitStack() as stack:
        making = stack.enter_context(_begun(home, version, of))
        making.prepare(noted=noted)
        cleaning.clean(of, making.entries, making.spoken, making.tally)
        steps = making.steps()
        if not making.entries.number():
            raise TooFew("no example is left", "See what the steps dropped, and set some of them otherwise.", steps)
        draft = stack.enter_context(_draft(folder))
        written = making.write(draft)
        if not allow_few:
            _enough(of, written, steps)
        making.write_dropped(draft / version.dropped_file.name)
        manifest = making.manifest(steps, written)
        for name, content in card.written(manifest, notes.read(version.folder)).items():
            write(draft / name, content)
        write(draft / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        with version.locked() as now:
            if now != begun:
                raise DatasetError(f"something was erased from {version.reference} meanwhile", "Build it again.")
            _put(draft, folder)
    return manifest


def _refuse_others(folder: Path) -> None:
    """Raise ConfigError if files would be replaced that no build of ours has written."""
    names = [name for name in card.NAMES if (folder / name).exists()]
    if names and read_manifest(folder) is None:
        raise ConfigError(f"there is a file {folder / names[0]}, which is not of a dataset", "Name another folder.")


def places(version: Version) -> list[Path]:
    """The folders that hold what was built of a version."""
    return [folder for folder in (version.folder, *version.copies()) if (folder / MANIFEST).exists()]


def unbuild(folder: Path) -> None:
    """Remove what was built in a folder. Raises OSError."""
    _remove(folder, files_of(folder))


def files_of(folder: Path) -> list[Path]:
    """The files that a build put into a folder."""
    manifest = read_manifest(folder)
    if manifest is None:
        return []
    names = [one.path for one in manifest.files if one.path]
    media = [path for name in {Path(name).parent for name in names} for path in (folder / name / MEDIA).glob("*")]
    return [
        *(folder / name for name in names),
        *(folder / provenance_of(name) for name in names),
        *media,
        *(folder / name for name in ("dropped.jsonl", *card.NAMES, MANIFEST)),
    ]


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A folder beside what is built in another one, which goes in the end."""
    remove_left_over(folder)
    draft = folder / f"{_DRAFT}{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)  # of another process of that number
    draft.mkdir(mode=PRIVATE_FOLDER)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def remove_left_over(folder: Path) -> None:
    """Remove what builds left behind that were killed. Raises OSError."""
    for path in folder.glob(f"{_DRAFT}*"):
        process = path.name.removeprefix(_DRAFT)
        if process.isdigit() and not Path("/proc", process).exists():
            shutil.rmtree(path)


def _put(draft: Path, folder: Path) -> None:
    """Put what was built into its place: the manifest last, which names the rest."""
    new = sorted((path for path in draft.rglob("*") if path.is_file()), key=lambda path: path.name == MANIFEST)
    places = {path: folder / path.relative_to(draft) for path in new}
    old = set(files_of(folder)) - set(places.values())
    for path, place in places.items():
        place.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        files.to_disk(path)
        path.replace(place)
    _remove(folder, old)
    files.to_disk(folder)


def _remove(folder: Path, paths: Iterable[Path]) -> None:
    """Remove files below a folder, and the folders that are empty then."""
    for path in paths:
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == folder or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()


def _enough(of: Definition, written: Sequence[File], steps: list[Step]) -> None:
    for name in definitions.formats(of):
        least = FORMATS[name].limits.least_examples or 1
        there = next((one.examples for one in written if one.format == name and one.split == TRAIN), 0)
        if there < least:
            raise TooFew(
                f"{there:,} {'example' if there == 1 else 'examples'} to train on, and {name} asks for {least:,}",
                "Choose more, drop less, or build it nevertheless with --allow-few.",
                steps,
            )


class _Making:
    """A dataset in the making: its examples are in a file without a name, what is known of them in a table."""

    def __init__(
        self, home: Home, version: Version, of: Definition, work: IO[bytes], media: Path, found: Entries
    ) -> None:
        self._home = home
        self._version = version
        self._of = of
        self._work = work
        self._media = media
        self._chosen = 0
        self.entries = found
        self.tally = Tally()

    def prepare(self, *, noted: bool) -> None:
        """Make examples of what was chosen, one by one."""
        total = self._version.count()
        ids = self._noted() if noted else self._version.chosen()
        made = workers.prepared(self._home, self._of, ids, self._media)
        number = 0
        for some in batched(working.counted(made, total, "exchanges"), _AT_ONCE):
            added: list[dict[str, Any]] = []
            left: list[Left] = []
            for one in some:
                self._chosen += 1
                if isinstance(one, Left):
                    self.tally.note(one.step, one.why)
                    left.append(one)
                else:
                    added.append(self._entry(number, one))
                    number += 1
            self.entries.add(added, [(one.id, one.step, one.why) for one in left])

    def _noted(self) -> Iterator[list[str]]:
        """What was chosen, in the ledger before it is read."""
        for some in self._version.chosen():
            ledger.reading(self._home, some)
            yield some

    def _entry(self, number: int, one: Prepared) -> dict[str, Any]:
        at = self._work.tell()
        self._work.write(one.example)
        named = msgspec.structs.asdict(one)
        for name in ("example", "media"):
            del named[name]
        group = one.user if self._of.split_by == "user" else one.group
        return named | {
            "n": number,
            "draw": self._number("draw", one.id),
            "split": self._split(self._number("split", group) / 2**64),
            "at_byte": at,
            "size": len(one.example),
        }

    def _number(self, what: str, of: str) -> int:
        """A number of 64 bits that looks drawn, and is the same each time."""
        text = f"{self._of.seed}\0{what}\0{of}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())

    def _split(self, share: float) -> str:
        shares = definitions.shares(self._of)
        end = 0.0
        for name in SPLITS:
            end += shares[name]
            if share < end:
                return name
        return next(name for name in reversed(SPLITS) if shares[name])

    def spoken(self, at: int, size: int) -> tuple[str, str]:
        """Prompt and answer of an example, as they are compared."""
        messages = self._read(at, size).messages
        return spoken(messages[:-1]), spoken(messages[-1:])

    def _read(self, at: int, size: int) -> Example:
        self._work.flush()
        return msgspec.json.decode(os.pread(self._work.fileno(), size, at), type=Example)

    def steps(self) -> list[Step]:
        """What each step did."""
        changed = self.entries.changed()
        told = []
        for name in cleaning.STEPS:
            reasons = dict(sorted(self.tally.dropped.get(name, {}).items(), key=lambda one: (-one[1], one[0])))
            set_to = _setting(self._of, name)
            dropped = sum(reasons.values())
            told.append(Step(name=name, setting=set_to, dropped=dropped, changed=changed.get(name, 0), reasons=reasons))
        return told

    def write(self, draft: Path) -> list[File]:
        """Write what stays, split, in all formats."""
        formats = [FORMATS[name] for name in definitions.formats(self._of)]
        with ExitStack() as stack:
            writers = [stack.enter_context(closing(Writer(one, draft, self._media, self._of))) for one in formats]
            every = self.entries.staying(self._of.order)
            for place in working.counted(every, self.entries.number(), "examples written"):
                example = self._whole(place)
                for writer in writers:
                    writer.add(place.split, example)
            return [file for writer in writers for file in writer.finish(self._home)]

    def _whole(self, place: Place) -> Example | Pair:
        one = self._read(place.at, place.size)
        if place.other_at is None or place.other_size is None:
            return one
        other = self._read(place.other_at, place.other_size)
        return Pair(
            prompt=one.messages[:-1],
            tools=one.tools,
            parallel_tool_calls=one.parallel_tool_calls,
            chosen=one.messages[-1],
            rejected=other.messages[-1],
            source=one.source,
            rejected_source=other.source,
        )

    def write_dropped(self, path: Path) -> None:
        """Write down what became no example, by which step, and why."""
        with private(path) as file:
            for identifier, step, why in self.entries.gone():
                told = {"id": identifier, "step": step, "why": why or cleaning.why(step)}
                file.write(msgspec.json.encode(told) + b"\n")

    def manifest(self, steps: list[Step], written: list[File]) -> Manifest:
        """What was built."""
        found = self.entries
        period = found.period()
        first, last = (_instant(at) for at in period) if period else (None, None)
        key = home_key.read(self._home)
        users: dict[str, int] = {}
        for user, number in found.counted("user", _MOST_USERS).items():
            users[_pseudonym(key, user)] = number
        return Manifest(
            name=self._version.name,
            version=self._version.number,
            definition=definitions.text_of(self._of),
            chosen=self._chosen,
            ids_sha256=self._version.ids_sha256(),
            first_at=first,
            last_at=last,
            steps=steps,
            splits=[
                Part(
                    name=name,
                    examples=found.number(f"split = '{name}'"),
                    conversations=found.groups(name),
                    tokens=found.spread("tokens", name),
                )
                for name in SPLITS
                if definitions.shares(self._of)[name]
            ],
            files=written,
            examples=found.number(),
            answer_tokens=found.spread("answer_tokens").total,
            tokens=found.spread("tokens"),
            turns=found.spread("answers"),
            with_tools=found.number("calls_tools"),
            token_histogram=found.histogram("tokens"),
            models=found.counted("model"),
            policies=found.counted("policy"),
            providers=found.counted("provider"),
            languages=found.counted("language") if self._of.languages or self._of.balance == "language" else {},
            users=users,
            tracecli=__version__,
        )


def _setting(of: Definition, step: str) -> str:
    if step == CHECKED:
        return ""
    return definitions.value_text([of.balance, of.sample] if step == "balance" else getattr(of, step))


def _instant(at_us: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at_us / 1_000_000, dt.UTC)


def _pseudonym(key: bytes, user: str) -> str:
    return f"user-{hmac.new(key, f'dataset {user}'.encode('utf-8', 'surrogatepass'), 'sha256').hexdigest()[:10]}"


@contextmanager
def _begun(home: Home, version: Version, of: Definition) -> Iterator[_Making]:
    """A dataset of which nothing is made yet."""
    place = scratch(home)
    media = spill_folder(home)  # removed also if this process is killed
    media.mkdir(mode=PRIVATE_FOLDER)
    try:
        with tempfile.TemporaryFile(dir=place) as work, entries(home) as found:
            yield _Making(home, version, of, work, media, found)
    finally:
        shutil.rmtree(media, ignore_errors=True)
