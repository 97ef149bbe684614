"""The ledger of what was read: whole lines in a chain, and everything found that breaks it."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import pwd
import stat
import time
from pathlib import Path

import pytest

from tracecli import ledger
from tracecli.config import Home
from tracecli.errors import HomeError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Empty, and there."""
    made = Home(tmp_path / "home")
    made.prepare()
    return made


def _filled(home: Home, entries: int = 4) -> list[bytes]:
    for number in range(entries):
        ledger.note(home, "read", "usage show", [f"id-{number}"])
    return home.ledger.read_bytes().splitlines(keepends=True)


def test_a_line_says_who_read_what(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who, when, with what and which; what sudo says; and what else the caller tells."""
    monkeypatch.setenv("SUDO_USER", "alice")
    ledger.note(home, "erase", "erase", ["a", "b"], reason="asked", bodies=2)
    [one] = ledger.entries(home)
    assert (one.number, one.event, one.command, one.count, one.ids) == (1, "erase", "erase", 2, ["a", "b"])
    assert (one.uid, one.sudo_user, one.pid) == (os.getuid(), "alice", os.getpid())
    assert one.user == pwd.getpwuid(os.getuid()).pw_name
    assert one.about == {"reason": "asked", "bodies": 2}
    assert one.previous == ledger.START
    assert abs(one.at.timestamp() - time.time()) < 60
    line = json.loads(home.ledger.read_bytes())
    assert line["at"].endswith("Z")
    claimed = line.pop("hash")
    assert claimed == one.hash
    assert claimed == hashlib.sha256(json.dumps(line, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def test_many_ids_are_hashed(home: Home) -> None:
    """Of more than a thousand the first are listed, and the hash of all proves which the others were."""
    ids = [f"id-{number}" for number in range(1001)]
    ledger.note(home, "read", "sql", ids)
    ledger.note(home, "read", "sql", ids[:1000])
    more, all_ = ledger.entries(home)
    assert (more.count, more.ids) == (1001, ids[:1000])
    assert more.ids_hash == hashlib.sha256("".join(f"{one}\n" for one in ids).encode()).hexdigest()
    assert (all_.count, all_.ids, all_.ids_hash) == (1000, ids[:1000], None)
    assert ledger.verify(home).problem is None


def test_a_stream_of_ids_takes_few_lines(home: Home) -> None:
    """A thousand ids a line, all of them listed; of nothing read nothing is noted."""
    ledger.reading(home, [])
    assert not home.ledger.exists()
    ids = [f"id-{number}" for number in range(2500)]
    ledger.reading(home, iter(ids))
    found = list(ledger.entries(home))
    assert [one.count for one in found] == [1000, 1000, 500]
    assert [name for one in found for name in one.ids] == ids


def test_it_is_private_whatever_the_umask(home: Home) -> None:
    """Nobody else reads it, even where a umask or a person left it open."""
    before = os.umask(0)
    try:
        _filled(home, 1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(home.ledger.stat().st_mode) == 0o600
    home.ledger.chmod(0o644)
    _filled(home, 1)
    assert stat.S_IMODE(home.ledger.stat().st_mode) == 0o600


def test_an_absent_ledger_is_empty(tmp_path: Path) -> None:
    """Looking makes nothing; noting makes no home."""
    absent = Home(tmp_path / "absent")
    assert list(ledger.entries(absent)) == []
    verified = ledger.verify(absent)
    assert (verified.entries, verified.last, verified.problem) == (0, ledger.START, None)
    with pytest.raises(HomeError, match="nothing is shown that is not noted"):
        ledger.note(absent, "read", "usage show", ["a"])
    assert not absent.root.exists()


def test_every_changed_byte_is_found(home: Home) -> None:
    """Each bit pattern at each place: never does a ledger pass that is not the one that was written."""
    whole = b"".join(_filled(home, 2))
    for place, byte in enumerate(whole):
        for other in {byte ^ 1, byte ^ 0x20, byte ^ 0x80, 0, ord("\n"), ord(" ")} - {byte}:
            home.ledger.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
            verified = ledger.verify(home)
            assert verified.problem is not None, (place, other)
            assert verified.problem.kind != "torn" or place == len(whole) - 1 or other in (0, ord("\n")), (place, other)
    home.ledger.write_bytes(whole)
    assert ledger.verify(home).problem is None


def test_every_byte_put_in_or_taken_out_is_found(home: Home) -> None:
    """The same of one byte more, and one less."""
    whole = b"".join(_filled(home, 2))
    for place in range(len(whole)):
        for changed in (
            whole[:place] + whole[place + 1 :],
            *(whole[:place] + one + whole[place:] for one in (b" ", b"\n")),
        ):
            home.ledger.write_bytes(changed)
            assert ledger.verify(home).problem is not None, (place, changed)


@pytest.mark.parametrize("gone", [[0], [1], [2], [0, 1], [1, 2]])
def test_a_line_taken_out_is_missing(home: Home, gone: list[int]) -> None:
    """And it is said after which."""
    lines = _filled(home)
    home.ledger.write_bytes(b"".join(line for place, line in enumerate(lines) if place not in gone))
    verified = ledger.verify(home)
    assert verified.problem is not None
    assert (verified.problem.kind, verified.problem.line) == ("missing", gone[0] + 1)
    assert str(gone[0] + 1) in verified.problem.told
    assert verified.entries == 4 - len(gone)


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [0, 2, 1, 3], [0, 1, 3, 2], [3, 2, 1, 0], [0, 1, 1, 2, 3]])
def test_lines_that_were_moved_or_doubled_are_found(home: Home, order: list[int]) -> None:
    """They are not missing, they are elsewhere."""
    lines = _filled(home)
    home.ledger.write_bytes(b"".join(lines[place] for place in order))
    problem = ledger.verify(home).problem
    assert problem is not None
    assert problem.kind == "order"


def test_a_line_with_a_hash_made_anew_does_not_fit(home: Home) -> None:
    """Who changes a line and its hash breaks the chain behind it."""
    lines = _filled(home)
    values = json.loads(lines[1])
    values["user"] = "mallory"
    del values["hash"]
    told = json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
    values["hash"] = hashlib.sha256(told).hexdigest()
    lines[1] = json.dumps(values, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    home.ledger.write_bytes(b"".join(lines))
    problem = ledger.verify(home).problem
    assert problem is not None
    assert (problem.line, problem.kind) == (3, "changed")


def test_a_cut_end_needs_a_hash_that_was_kept(home: Home) -> None:
    """Without the last lines the rest is whole; the hash of one of them is not there any more."""
    lines = _filled(home)
    last = ledger.verify(home).last
    assert last == json.loads(lines[-1])["hash"]
    _filled(home, 1)
    assert ledger.verify(home).holds(last)  # more was noted since
    home.ledger.write_bytes(b"".join(lines[:-1]))
    verified = ledger.verify(home)
    assert verified.problem is None
    assert not verified.holds(last)


@pytest.mark.parametrize("lost", range(1, 40))
def test_a_torn_end_stays_and_the_chain_goes_on(home: Home, lost: int) -> None:
    """A write that was cut off is told as torn, before and after the next one."""
    whole = b"".join(_filled(home, 2))
    home.ledger.write_bytes(whole[:-lost])
    torn = ledger.verify(home)
    assert torn.problem is not None
    assert (torn.problem.line, torn.problem.kind, torn.entries) == (2, "torn", 2 if lost == 1 else 1)
    ledger.note(home, "read", "usage show", ["after"])
    assert home.ledger.read_bytes().startswith(whole[:-lost] + b"\n{")
    after = ledger.verify(home)
    if lost == 1:  # its end alone was lost
        assert (after.entries, after.problem) == (3, None)
        return
    assert after.problem is not None
    assert (after.problem.line, after.problem.kind, after.entries) == (2, "torn", 2)
    assert [one.ids for one in ledger.entries(home)] == [["id-0"], ["after"]]


def test_a_changed_line_is_told_before_a_torn_one(home: Home) -> None:
    """What somebody did matters more than what a power cut did."""
    _filled(home, 2)
    with home.ledger.open("ab") as stream:
        stream.write(b'{"about":{},')
    lines = _filled(home, 2)
    lines[4] = lines[4].replace(b"id-1", b"id-7")
    home.ledger.write_bytes(b"".join(lines))
    problem = ledger.verify(home).problem
    assert problem is not None
    assert (problem.line, problem.kind) == (5, "changed")


def test_a_full_disk_refuses_and_leaves_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line is taken back, and the reading does not happen."""
    before = b"".join(_filled(home, 1))
    write = os.write
    monkeypatch.setattr("tracecli.ledger.os.write", lambda file, data: write(file, data[:20]))
    with pytest.raises(HomeError, match="No space left"):
        ledger.note(home, "read", "usage show", ["b"])
    assert home.ledger.read_bytes() == before


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_what_cannot_be_noted_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """One sentence says why, and the remedy."""

    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("tracecli.ledger.os.open", refuse)
    with pytest.raises(HomeError, match=os.strerror(code)):
        ledger.note(home, "read", "usage show", ["a"])


def test_no_link_is_followed(home: Home, tmp_path: Path) -> None:
    """A link in its place leads nowhere."""
    home.ledger.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HomeError):
        ledger.note(home, "read", "usage show", ["a"])
    assert not (tmp_path / "elsewhere").exists()


def _many(root: str, times: int) -> None:
    for number in range(times):
        ledger.note(Home(Path(root)), "read", "usage show", [f"{os.getpid()}-{number}"])


def test_processes_write_one_chain(home: Home) -> None:
    """Several at once: every note is there once, in one chain."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_many, args=(str(home.root), 40)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    verified = ledger.verify(home)
    assert (verified.entries, verified.problem) == (160, None)
    assert len({one.ids[0] for one in ledger.entries(home)}) == 160


@pytest.mark.parametrize("size", [1, 65_534, 65_535, 65_536, 65_537, 65_538, 200_000])
def test_the_last_line_is_found_behind_any_torn_one(home: Home, size: int) -> None:
    """However long what was left is, and wherever it ends."""
    _filled(home, 2)
    with home.ledger.open("ab") as stream:
        stream.write(b"{" + b"x" * size)
    ledger.note(home, "read", "usage show", ["after"])
    verified = ledger.verify(home)
    assert verified.entries == 3
    assert verified.problem is not None
    assert verified.problem.kind == "torn"


def test_a_note_reads_the_end_alone(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long ledger costs no more than a short one."""
    _filled(home, 1)
    line = home.ledger.read_bytes()
    home.ledger.write_bytes(b"x" * 5_000_000 + b"\n" + line)
    read = 0
    pread = os.pread

    def counted(file: int, size: int, place: int) -> bytes:
        nonlocal read
        found = pread(file, size, place)
        read += len(found)
        return found

    monkeypatch.setattr("tracecli.ledger.os.pread", counted)
    _filled(home, 1)
    assert read < 200_000
