"""The spool: what was appended is read back, whatever happened to the file in between."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.encrypting import encrypt
from tests.support.exchanges import captured
from tests.support.synced import Synced
from tracecli import keys, spool
from tracecli.config import Home
from tracecli.exchange import Captured
from tracecli.spool import Damage, SpoolWriter


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "encrypted"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The home that segments belong to."""
    found = Home(tmp_path_factory.mktemp("spooling") / "home")
    found.prepare()
    if request.param:
        encrypt(found)
    return found


def written(home: Home, folder: Path, *exchanges: Captured) -> Path:
    writer = SpoolWriter(folder, ring=keys.ring(home))
    for exchange in exchanges:
        assert writer.append(exchange)
    writer.close()
    [segment] = spool.segments(folder)
    return segment


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), min_size=1, max_size=5))
def test_reads_back_what_was_written(
    home: Home, tmp_path_factory: pytest.TempPathFactory, bodies: list[tuple[bytes, bytes]]
) -> None:
    """Each exchange comes back equal, in order, whatever its bytes."""
    exchanges = [captured(*pair) for pair in bodies]
    segment = written(home, tmp_path_factory.mktemp("spool"), *exchanges)
    assert list(spool.read(home, segment)) == exchanges


def test_every_torn_tail_loses_only_the_last(home: Home, tmp_path: Path) -> None:
    """Cut anywhere in its last frame, a segment still gives the frames before it."""
    first, last = captured(), captured(b"q" * 40, b"a" * 40)
    segment = written(home, tmp_path, first, last)
    data = segment.read_bytes()
    alone = tmp_path / "alone"
    alone.mkdir()
    whole = len(data) - len(written(home, alone, last).read_bytes())
    for end in range(whole, len(data)):
        found = list(spool.frames(home, segment.stem, data[:end]))
        assert found[0] == first
        assert all(isinstance(one, Damage) for one in found[1:])
        assert len(found) == (1 if end == whole else 2)


@given(st.data())
def test_damage_costs_only_the_frame_it_hits(
    home: Home, segment_of_three: tuple[list[Captured], str, bytes, list[int]], data: st.DataObject
) -> None:
    """A flipped byte loses at most the exchange it lies in; the damage names those bytes, and reading goes on."""
    exchanges, name, raw, ends = segment_of_three
    at = data.draw(st.integers(0, len(raw) - 1))
    flip = data.draw(st.integers(1, 255))
    found = list(spool.frames(home, name, raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]))
    hit = next(number for number, end in enumerate(ends) if at < end)
    assert [one for one in found if not isinstance(one, Damage)] == [e for n, e in enumerate(exchanges) if n != hit]
    [damage] = [one for one in found if isinstance(one, Damage)]
    assert damage.offset <= at < damage.offset + damage.length


@pytest.fixture(scope="module")
def segment_of_three(
    home: Home, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Captured], str, bytes, list[int]]:
    """Exchanges, the name and bytes of the segment that holds them, and where each one's frame ends."""
    folder = tmp_path_factory.mktemp("three")
    exchanges = [captured(), captured(b"", b""), captured(b"x" * 100, b"y" * 100)]
    ends: list[int] = []
    writer = SpoolWriter(folder, ring=keys.ring(home))
    for exchange in exchanges:
        writer.append(exchange)
        ends.append(spool.segments(folder)[0].stat().st_size)
    writer.close()
    [segment] = spool.segments(folder)
    return exchanges, segment.stem, segment.read_bytes(), ends


@given(st.binary(max_size=2000))
def test_garbage_is_damage(home: Home, data: bytes) -> None:
    """Bytes that are no segment are reported, never raised on."""
    assert all(isinstance(one, Damage) for one in spool.frames(home, "garbage", data))


def test_recorded_content_cannot_pass_for_a_frame(home: Home, tmp_path: Path) -> None:
    """After damage, a frame of another segment inside a body is not taken for one of this."""
    other = tmp_path / "other"
    other.mkdir()
    inside = written(home, other, captured(b"forged")).read_bytes()
    segment = written(home, tmp_path, captured(inside, inside))
    data = segment.read_bytes()
    [damage] = list(spool.frames(home, segment.stem, bytes([data[0] ^ 1]) + data[1:]))
    assert isinstance(damage, Damage)
    assert damage.length == len(data)


def test_a_record_of_a_newer_version_is_kept_apart(home: Home, tmp_path: Path) -> None:
    """What a newer tracecli wrote is not read as something else."""
    [damage] = list(spool.read(home, written(home, tmp_path, captured(version=99))))
    assert isinstance(damage, Damage)


def test_a_segment_is_finished_when_its_writer_is_gone(tmp_path: Path) -> None:
    """A growing segment is left alone; sealed, or with its lock free, it may be taken."""
    writer = SpoolWriter(tmp_path, seal_after_s=0)
    writer.append(captured())
    [growing] = spool.segments(tmp_path)
    assert not spool.is_finished(growing)
    writer.tick()
    assert spool.segments(tmp_path) == [growing]
    assert spool.is_finished(growing)
    assert not spool.is_finished(tmp_path / "gone.seg")


def test_a_segment_is_finished_when_its_writer_was_killed(home: Home, tmp_path: Path) -> None:
    """A killed process leaves its segment to whoever reads it next."""
    script = (
        "import os, sys; from pathlib import Path; from tests.support.exchanges import captured\n"
        "from tracecli.spool import SpoolWriter\n"
        "writer = SpoolWriter(Path(sys.argv[1])); writer.append(captured()); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path], cwd=Path(__file__).parents[1], check=False, timeout=30)
    [left] = spool.segments(tmp_path)
    assert spool.is_finished(left)
    [one] = spool.read(home, left)
    assert isinstance(one, Captured)


def test_size_seals(tmp_path: Path) -> None:
    """A segment that grew to its limit is followed by another."""
    writer = SpoolWriter(tmp_path, seal_bytes=1000)
    for _ in range(4):
        writer.append(captured(b"x" * 600))
    writer.close()
    assert len(spool.segments(tmp_path)) == 4


def test_files_are_private(home: Home, tmp_path: Path) -> None:
    """Nobody else may read a segment."""
    assert written(home, tmp_path, captured()).stat().st_mode & 0o077 == 0


def test_a_failing_disk_is_counted_and_recovered_from(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails costs that exchange and no other, and leaves no half frame."""
    writer = SpoolWriter(tmp_path, ring=keys.ring(home))
    first, second = captured(), captured()
    assert writer.append(first)
    real = os.write
    monkeypatch.setattr(os, "writev", lambda file, parts: real(file, b"".join(parts)[:30]))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert not writer.append(captured())
    monkeypatch.undo()
    assert writer.append(second)
    writer.close()
    [segment] = spool.segments(tmp_path)
    assert list(spool.read(home, segment)) == [first, second]
    assert (writer.written, writer.lost) == (2, 1)
    assert "No space left" in str(writer.last_error)


@pytest.mark.parametrize("seal_bytes", [1 << 20, 600], ids=["growing", "sealed"])
def test_what_was_brought_to_the_disk_outlives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seal_bytes: int
) -> None:
    """After a tick, all that was appended before is there, with its name; what comes later is there after the next."""
    disk = Synced(monkeypatch)
    writer = SpoolWriter(tmp_path, seal_bytes=seal_bytes, seal_after_s=3600)
    first, second = captured(b"x" * 600), captured(b"y" * 600)
    for one, there in ((first, [first]), (second, [first, second])):
        assert writer.append(one)
        writer.tick()
        assert _outliving(tmp_path, disk) == there
    assert writer.append(captured())
    assert _outliving(tmp_path, disk) == [first, second]
    writer.close()
    assert len(_outliving(tmp_path, disk)) == 3


def test_what_a_killed_writer_left_outlives_a_later_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next writer brings to the disk what the one before had no time for."""
    disk = Synced(monkeypatch)
    killed, one = SpoolWriter(tmp_path), captured()
    assert killed.append(one)
    assert _outliving(tmp_path, disk) == []
    SpoolWriter(tmp_path).tick()
    assert _outliving(tmp_path, disk) == [one]


def _outliving(folder: Path, disk: Synced) -> list[Captured | Damage]:
    return [one for path in spool.segments(folder) for one in spool.frames(Home(folder), path.stem, disk.content(path))]


def test_a_missing_folder_is_counted(tmp_path: Path) -> None:
    """Without its folder, the spool loses what it is given, and says so; it works again when the folder is back."""
    writer = SpoolWriter(tmp_path / "away")
    assert not writer.append(captured())
    (tmp_path / "away").mkdir()
    assert writer.append(captured())
    assert (writer.written, writer.lost) == (1, 1)
    writer.close()


def test_too_much_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its limit the spool is crowded, beyond a quarter more it takes nothing, and what it refuses is counted."""
    monkeypatch.setattr(spool, "_MEASURE_S", -1.0)
    writer = SpoolWriter(tmp_path, max_bytes=10_000)
    big = captured(b"x" * 10_100, b"")
    assert writer.append(big)
    writer.tick()
    assert writer.crowded
    assert writer.append(captured(b"x" * 3000, b""))
    writer.tick()
    assert not writer.append(captured(b"", b""))
    assert writer.lost == 1
    assert writer.last_error == "too much waits to be loaded"
    writer.close()
    for path in spool.segments(tmp_path):
        path.unlink()  # ingested
    writer.tick()
    assert not writer.crowded
    assert writer.append(big)
    writer.max_bytes = None
    writer.tick()
    assert not writer.crowded
    writer.close()


def test_what_only_looks_like_a_segment_is_left_alone(home: Home, tmp_path: Path) -> None:
    """A link, a pipe, a folder or another user's file is not waited for, opened or followed, and the rest is read."""
    outside = written(home, tmp_path, captured(b"elsewhere"))
    folder = tmp_path / "spool"
    folder.mkdir()
    segment = written(home, folder, captured(b"mine"))
    strange = [folder / f"{name}.seg" for name in ("link", "pipe", "folder", "theirs")]
    strange[0].symlink_to(outside)
    os.mkfifo(strange[1])
    strange[2].mkdir()
    strange[3].write_bytes(outside.read_bytes())
    if os.geteuid() == 0:
        os.chown(strange[3], 54_321, -1)
    else:
        strange.pop().unlink()
    assert spool.segments(folder) == [segment]
    assert spool.strange(folder) == sorted(strange)
    # As when one takes the place of a segment that was listed:
    with pytest.raises(OSError, match="symbolic links"):
        spool.content(strange[0])
    assert spool.content(strange[1]) == b""


@given(st.tuples(*[st.sampled_from([0, 1, 2**31, 2**32 - 1])] * 3))
def test_sizes_that_a_segment_only_claims(
    home: Home, tmp_path_factory: pytest.TempPathFactory, lengths: tuple[int, int, int]
) -> None:
    """A header that claims parts of gigabytes is damage of a few bytes, and what follows is read."""
    exchange = captured()
    segment = written(home, tmp_path_factory.mktemp("spool"), exchange)
    data = segment.read_bytes()
    claims = data[:8] + struct.pack("<IIII", *lengths, 0)
    damage, found = spool.frames(home, segment.stem, claims + data)
    assert isinstance(damage, Damage)
    assert (damage.length, found) == (len(claims), exchange)
