"""Looking after the store: what is broken is found, a backup is whole, and what is restored is what was backed up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import duckdb
import pytest

from tests.support.upkeep import STARTED_US, chat, new_home, queried, spooled, stored
from tracecli import browse
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.errors import BackupError, HomeError, NewerDatabase
from tracecli.store import backup, bodies, checking, connection, snapshot, upkeep
from tracecli.store.connection import MIGRATIONS, opened

LONG = "a long text that agents send again " * 100


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Three rounds of two requests."""
    made = new_home(tmp_path)
    for number in range(3):
        stored(made, chat(prompt=f"{LONG}{number}"), chat(prompt=f"{LONG}{number}", user="bob"))
    return made


def one_of(folder: Path) -> Path:
    return min(folder.iterdir())


def changed(home: Home, statement: str) -> None:
    with opened(home, write=True) as open_:
        open_.execute(statement)


def test_what_it_is(home: Home) -> None:
    """Sizes, versions and what deduplication saves; nothing is changed, and there need not be a database."""
    found = upkeep.info(home)
    assert (found.exchanges, found.with_content, found.schema_version) == (6, 6, len(MIGRATIONS))
    assert found.oldest is not None and found.oldest.timestamp() * 1_000_000 == STARTED_US
    assert found.database_bytes == home.database.stat().st_size
    assert found.bodies_files == 3 and found.content_bytes > 0
    assert [(found.passed_bytes,)] == queried(home, "SELECT sum(request_bytes + response_bytes)::BIGINT FROM exchange")
    assert found.referred_bytes == 2 * (found.part_bytes or 0)
    assert found.deduplication == 2
    assert list(home.scratch.iterdir()) == []
    spooled(home, chat())
    quick = upkeep.info(home, quick=True)
    assert (quick.waiting_segments, quick.deduplication) == (1, None)
    nothing = upkeep.info(Home(home.root / "nowhere"))
    assert (nothing.database, nothing.exchanges, nothing.schema_version) == (False, None, None)


def test_nothing_is_broken(home: Home) -> None:
    """Of a store that is whole nothing is found, also when content went, and nothing is left behind."""
    found = checking.check(home)
    assert (found.found, found.healthy) == ([], True)
    assert (found.exchanges, found.files, found.parts) == (6, 9, 3)
    assert list(home.scratch.iterdir()) == []
    ids = [row.id for row in browse.latest(home, 9)]
    bodies.forget(home, ids[:2])
    changed(home, f"UPDATE exchange SET content_removed_at = now() WHERE id IN ('{ids[0]}', '{ids[1]}')")
    assert checking.check(home).found == []


def _gone(home: Home) -> None:
    one_of(home.bodies).unlink()


def _cut(home: Home) -> None:
    path = one_of(home.said)
    path.write_bytes(path.read_bytes()[:-10])


def _damaged(home: Home) -> None:
    """Some bytes of what is compressed."""
    path = one_of(home.bodies)
    data = bytearray(path.read_bytes())
    for at in range(60, 90):
        data[at] ^= 0xFF
    path.write_bytes(data)


def _altered(home: Home) -> None:
    """A byte that matters to nobody who reads the file."""
    path = one_of(home.said)
    data = path.read_bytes()
    assert data.count(b"DuckDB") == 1
    path.write_bytes(data.replace(b"DuckDB", b"DuckDC"))


def _other_part(home: Home) -> None:
    path = one_of(home.parts)
    with duckdb.connect() as writer:
        writer.execute("CREATE TABLE p AS SELECT id, ('X'::BLOB || part) AS part FROM read_parquet(?)", [str(path)])
        writer.execute(f"COPY p TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
    changed(home, f"UPDATE part_file SET bytes = {path.stat().st_size} WHERE name = '{path.name}'")


def _part_gone(home: Home) -> None:
    one_of(home.parts).unlink()


def _no_body(home: Home) -> None:
    path = one_of(home.bodies)
    changed(home, f"DELETE FROM body_file WHERE name = '{path.name}'")
    path.unlink()


def _stray(home: Home) -> None:
    changed(home, "UPDATE exchange SET content_removed_at = now() WHERE \"user\" = 'bob'")


def _rows(home: Home) -> None:
    changed(home, "UPDATE body_file SET rows = 7, min_id = max_id")


def _segment(home: Home) -> None:
    spooled(home, chat())
    path = one_of(home.spool)
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize(
    ("breaking", "says"),
    [
        (_gone, ["bodies: bodies/* is not there", "exchanges: the bodies of 2 exchanges (* are not there"]),
        (_cut, ["said: said/* has * bytes, and should have *", "said: said/* cannot be read: *"]),
        (_damaged, ["bodies: bodies/* cannot be read: *"]),
        (_altered, ["said: said/* is not as it was written: its SHA-256 is another"]),
        (_other_part, ["parts: in parts/*, 1 parts are not what was stored: their SHA-256 is another"]),
        (_part_gone, ["parts: parts/* is not there", "parts: 1 parts that bodies refer to are not there; 2 exch*"]),
        (_no_body, ["exchanges: the bodies of 2 exchanges (* are not there"]),
        (_stray, ["exchanges: there are bodies of 3 exchanges (*, and the database says there are none"]),
        (_rows, ["bodies: bodies/* has 2 rows, and should have 7", "bodies: bodies/* holds ids beyond *"]),
        (_segment, ["spool: * bytes of *.seg are damaged (torn frame)"]),
    ],
)
def test_what_is_broken_is_found(home: Home, breaking: Callable[[Home], None], says: list[str]) -> None:
    """Each kind of damage is an error that names the place."""
    breaking(home)
    found = [f"{one.area}: {one.problem}" for one in checking.check(home).found if one.severity == "error"]
    for pattern in says:
        assert any(fnmatchcase(one, pattern) for one in found), found
    assert list(home.scratch.iterdir()) == []


def test_a_damaged_database_is_found(home: Home) -> None:
    """Bytes of the database that are not what was written are an error, not a bug."""
    data = bytearray(home.database.read_bytes())
    for at in range(len(data) // 3, len(data) - 100_000, 4096):
        data[at] ^= 0xFF
    home.database.write_bytes(data)
    found = checking.check(home)
    assert not found.healthy
    assert {one.area for one in found.found} <= {"database", "content"}


def test_left_over_files(home: Home) -> None:
    """A file that no table names is a warning, unless ingest may be writing it; compacting removes it."""
    left = home.parts / "left.parquet"
    shutil.copy(one_of(home.parts), left)
    assert checking.check(home).found == []
    os.utime(left, (0, 0))
    found = checking.check(home)
    assert [(one.area, one.severity) for one in found.found] == [("parts", "warning")]
    assert found.healthy
    upkeep.compact(home)
    assert not left.exists()
    assert checking.check(home).found == []


def test_content_without_its_database(home: Home) -> None:
    """Files that nothing names since the database is gone are an error."""
    home.database.unlink()
    assert [(one.area, one.severity) for one in checking.check(home).found] == [("database", "error")] * 3


def test_compact(home: Home) -> None:
    """Small files become one, strays are gone, and everything reads as before."""
    before = [browse.open_exchange(home, row.id).request for row in browse.latest(home, 9)]
    done = upkeep.compact(home)
    assert done is not None
    assert (done.files_before, done.files) == (9, 3)
    assert done.content_bytes < done.content_bytes_before
    assert [browse.open_exchange(home, row.id).request for row in browse.latest(home, 9)] == before
    assert checking.check(home).found == []
    _stray(home)
    upkeep.compact(home)
    assert checking.check(home).found == []
    assert upkeep.compact(Home(home.root / "nowhere")) is None


def test_compact_gives_back_the_space_of_rows(home: Home) -> None:
    """What deleted rows had taken in the database is free again."""
    many = "SELECT * REPLACE (uuidv7() AS id, false AS traced) FROM exchange CROSS JOIN range(20000) AS t(n)"
    changed(home, f"INSERT INTO exchange BY NAME (SELECT * EXCLUDE (n) FROM ({many}))")
    changed(home, "DELETE FROM exchange WHERE NOT traced")
    done = upkeep.compact(home)
    assert done is not None and done.database_bytes < done.database_bytes_before * 0.7
    assert len(browse.latest(home, 9)) == 6


def private(folder: Path) -> bool:
    return all(
        path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600) for path in (folder, *folder.rglob("*"))
    )


def test_a_backup_and_back(home: Home, tmp_path: Path) -> None:
    """A backup is private whatever the umask, and restored elsewhere it is what it was, with users and policies."""
    home.secret.write_bytes(b"k" * 32)
    home.proxy_users.write_bytes(b"{}")
    home.policy_history.write_bytes(b'{"a": 1}\n{"torn')
    (home.root / "policies" / "users").mkdir(parents=True)
    (home.root / "policies" / "users" / "ann@example.org.toml").write_text("x = 1\n")
    spooled(home, chat())
    rows = browse.latest(home, 9)
    target = tmp_path / "backup"
    umask = os.umask(0o277)
    try:
        made = backup.make(home, target, with_spool=True)
    finally:
        os.umask(umask)
    assert private(target)
    assert list(home.scratch.iterdir()) == []
    manifest = json.loads((target / backup.MANIFEST).read_bytes())
    assert made.files == len(manifest["files"]) == 9 + 1 + 4 + 1
    assert manifest["schema_version"] == len(MIGRATIONS)
    shutil.rmtree(home.bodies)

    other = Home(tmp_path / "other")
    restored = backup.restore(other, target)
    assert (restored.files, restored.aside) == (made.files, None)
    assert private(other.root)
    assert checking.check(other).found == []
    assert [row.id for row in browse.latest(other, 9)] == [row.id for row in rows]
    assert browse.open_exchange(other, rows[0].id).request.body
    assert other.secret.read_bytes() == b"k" * 32
    assert other.policy_history.read_bytes() == b'{"a": 1}\n'
    assert (other.root / "policies" / "users" / "ann@example.org.toml").exists()
    assert upkeep.info(other, quick=True).waiting_segments == 1
    stored(other, chat())
    assert len(browse.latest(other, 9)) == len(rows) + 1


def test_an_existing_folder_is_left_alone(home: Home, tmp_path: Path) -> None:
    """Nothing is written where something is, in the home, or where there is no folder; nor without a database."""
    (tmp_path / "there").mkdir()
    for target in (tmp_path / "there", home.root / "inside", tmp_path / "no" / "folder"):
        with pytest.raises(BackupError):
            backup.make(home, target)
    assert list((tmp_path / "there").iterdir()) == []
    with pytest.raises(BackupError, match="nothing is recorded"):
        backup.make(Home(tmp_path / "empty"), tmp_path / "backup")


def test_a_broken_store_is_not_backed_up(home: Home, tmp_path: Path) -> None:
    """If a file is missing, there is no backup, and no half of one."""
    one_of(home.parts).unlink()
    with pytest.raises(HomeError, match="1 files that the database names are not there"):
        backup.make(home, tmp_path / "backup")
    assert not [path for path in tmp_path.iterdir() if "backup" in path.name]


def test_no_links_between_disks(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files cannot be linked or moved, they are copied."""
    link, rename = os.link, Path.rename

    def refused() -> None:
        raise OSError(18, "Invalid cross-device link")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", lambda a, b: refused() if str(a).endswith(".parquet") else link(a, b))
        patch.setattr(Path, "rename", lambda a, b: refused() if a.suffix == ".parquet" else rename(a, b))
        backup.make(home, tmp_path / "backup")
    backup.restore(Home(tmp_path / "other"), tmp_path / "backup")
    assert checking.check(Home(tmp_path / "other")).found == []
    assert private(tmp_path / "backup")


LEFT_IN_THE_LOG = """
import os, signal, sys
from pathlib import Path
from tracecli.config import Home
from tracecli.store.connection import opened
with opened(Home(Path(sys.argv[1])), write=True) as connection:
    connection.execute("INSERT INTO loaded_segment (name) VALUES ('acknowledged')")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_log_that_was_left_behind(home: Home, tmp_path: Path) -> None:
    """What a killed process had committed is in the backup."""
    subprocess.run([sys.executable, "-c", LEFT_IN_THE_LOG, home.root], check=False, timeout=60)
    assert home.database.with_name("traces.duckdb.wal").exists()
    backup.make(home, tmp_path / "backup")
    other = Home(tmp_path / "other")
    backup.restore(other, tmp_path / "backup")
    with opened(other) as open_:
        found = open_.execute("SELECT count(*) FROM loaded_segment WHERE name = 'acknowledged'").fetchall()
    assert found == [(1,)]
    assert checking.check(other).healthy


RECORDING = """
import sys
from pathlib import Path
from tests.support.upkeep import chat, stored
from tracecli.config import Home
from tracecli.store import bodies, expiry
home, number = Home(Path(sys.argv[1])), 0
while not (home.root / "stop").exists():
    stored(home, chat(prompt=f"{'again and again ' * 100}{number}"))
    bodies.merge_small(home, 3)
    if number % 5 == 2:
        expiry.write_anew(home)
    number += 1
    if number == 3:
        print("begun", flush=True)
"""


def test_while_others_record(home: Home, tmp_path: Path) -> None:
    """Backups and checks are whole while ingest adds, merges, and writes the database anew."""
    command = [sys.executable, "-c", RECORDING, str(home.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == "begun\n"
            for number in range(3):
                backup.make(home, tmp_path / f"backup{number}")
                assert checking.check(home).found == []
                assert upkeep.info(home).deduplication
        finally:
            (home.root / "stop").touch()
    assert other.returncode == 0
    for number in range(3):
        restored = Home(tmp_path / f"restored{number}")
        backup.restore(restored, tmp_path / f"backup{number}")
        assert checking.check(restored).found == []


def test_another_database_under_the_name(home: Home, tmp_path: Path) -> None:
    """If the database is written anew while the snapshot is taken, it is taken again."""
    taken = []

    def replaced(_: duckdb.DuckDBPyConnection) -> None:
        taken.append(1)
        if len(taken) == 1:
            shutil.copy(home.database, tmp_path / "new")
            (tmp_path / "new").rename(home.database)

    with snapshot.taken(home, replaced):
        pass
    assert len(taken) == 2


KILLED = """
import os, pathlib, shutil, signal, sys
from tracecli import files
from tracecli.config import Home
from tracecli.store import backup

def dying(steps):
    left = iter(range(steps))
    def step(done):
        def stepped(*args, **kwargs):
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return done(*args, **kwargs)
        return stepped
    pathlib.Path.rename, os.link = step(pathlib.Path.rename), step(os.link)
    backup._folder, files.to_disk = step(backup._folder), step(files.to_disk)

home, target, does = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
for steps in range(0, 200, 4):
    if does == "restore":
        copy = home.with_name(f"copy{steps}")
        shutil.copytree(home, copy)
    child = os.fork()  # nothing of DuckDB runs here yet
    if child == 0:
        dying(steps)
        if does == "backup":
            backup.make(Home(home), target.with_name(f"{target.name}{steps}"))
        else:
            backup.restore(Home(copy), target, replace=True)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(steps)
"""


def killed(home: Home, target: Path, does: str) -> int:
    """Kill it later and later; returns when it was not."""
    arguments = [sys.executable, "-c", KILLED, str(home.root), str(target), does]
    done = subprocess.run(arguments, check=True, timeout=120, stdout=subprocess.PIPE)
    assert int(done.stdout) > 8
    return int(done.stdout)


def test_a_killed_backup_is_none(home: Home, tmp_path: Path) -> None:
    """Killed anywhere, there is nothing under the name, or all of it; the home is as it was, and ingest clears up."""
    steps = killed(home, tmp_path / "backup", "backup")
    for number in range(0, steps + 1, 4):
        target = tmp_path / f"backup{number}"
        if target.exists():
            backup.restore(Home(tmp_path / f"restored{number}"), target)
    assert (tmp_path / f"backup{steps}").exists()
    assert not (tmp_path / "backup0").exists()
    assert checking.check(home).found == []
    stored(home, chat())
    assert list(home.scratch.iterdir()) == []


def test_a_killed_restore_loses_nothing(home: Home, tmp_path: Path) -> None:
    """Killed anywhere, all that was there is there or aside, and restoring again mends it."""
    backup.make(home, tmp_path / "backup")
    stored(home, chat(user="after"))
    steps = killed(home, tmp_path / "backup", "restore")
    for number in range(0, steps + 1, 4):
        copy = Home(home.root.with_name(f"copy{number}"))
        there = {path.name for path in copy.root.rglob("*")}
        assert there >= {path.name for path in home.root.rglob("*.parquet")}
        backup.restore(copy, tmp_path / "backup", replace=True)
        assert checking.check(copy).healthy
        assert "after" not in {row.user for row in browse.latest(copy, 9)}


def test_what_is_there_moves_aside(home: Home, tmp_path: Path) -> None:
    """Without asking for it nothing is replaced; with it, what was there is kept as it was."""
    backup.make(home, tmp_path / "backup")
    stored(home, chat(user="after"))
    with pytest.raises(BackupError, match=r"already: bodies, parts, said, traces\.duckdb"):
        backup.restore(home, tmp_path / "backup")
    assert len(browse.latest(home, 9)) == 7
    restored = backup.restore(home, tmp_path / "backup", replace=True)
    assert len(browse.latest(home, 9)) == 6
    assert restored.aside is not None
    aside = Home(Path(restored.aside))
    assert aside.root.stat().st_mode & 0o777 == 0o700
    aside.prepare()
    assert len(browse.latest(aside, 9)) == 7
    assert checking.check(aside).found == []


def _manifest(folder: Path, **changes: object) -> None:
    path = folder / backup.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


def _named(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        told = json.loads((folder / backup.MANIFEST).read_bytes())
        told["files"][0]["path"] = name
        _manifest(folder, files=told["files"])

    return change


def _flipped(folder: Path) -> None:
    path = one_of(folder / "parts")
    copy = bytearray(path.read_bytes())
    copy[40] ^= 1
    path.unlink()  # it is a link to the home's
    path.write_bytes(copy)


def _link(folder: Path) -> None:
    path = one_of(folder / "parts")
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")


def _linked_folder(folder: Path) -> None:
    (folder / "parts").rename(folder.parent / "elsewhere")
    (folder / "parts").symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_flipped, "SHA-256 is another"),
        (lambda folder: one_of(folder / "parts").unlink(), "is not there"),
        (_link, "is a link or no file"),
        (_linked_folder, "is a link or no file"),
        (lambda folder: (folder / backup.MANIFEST).unlink(), "is no backup"),
        (lambda folder: (folder / backup.MANIFEST).write_text("{"), "is damaged"),
        (lambda folder: _manifest(folder, files=[]), "is damaged"),
        (lambda folder: _manifest(folder, format=2), "newer tracecli"),
        (_named("../../escape.parquet"), "which no backup holds"),
        (_named("bodies/../../escape.parquet"), "which no backup holds"),
        (_named("/etc/passwd"), "which no backup holds"),
        (_named("bodies/..parquet"), "which no backup holds"),
        (_named("policies/../../x.toml"), "which no backup holds"),
        (_named("policies/.x.toml"), "which no backup holds"),
        (_named("ingest.lock"), "which no backup holds"),
    ],
)
def test_a_backup_is_not_trusted(home: Home, tmp_path: Path, change: Callable[[Path], None], says: str) -> None:
    """A damaged or made-up backup is refused, and nothing of the home is touched."""
    target = tmp_path / "backup"
    backup.make(home, target)
    change(target)
    before = sorted(home.root.rglob("*"))
    with pytest.raises(BackupError, match=says):
        backup.restore(home, target, replace=True)
    assert sorted(home.root.rglob("*")) == before
    assert checking.check(home).found == []


def test_a_backup_of_a_newer_schema(home: Home, tmp_path: Path) -> None:
    """A newer backup is refused, and of a newer database nothing but its version is told."""
    backup.make(home, tmp_path / "backup")
    _manifest(tmp_path / "backup", schema_version=99)
    with pytest.raises(NewerDatabase, match=f"99.* up to {len(MIGRATIONS)}"):
        backup.restore(Home(tmp_path / "other"), tmp_path / "backup")
    changed(home, "INSERT INTO schema_version VALUES (99, now(), '9.9.9')")
    with pytest.raises(NewerDatabase):
        backup.make(home, tmp_path / "newer")
    assert not (tmp_path / "newer").exists()
    with pytest.raises(NewerDatabase):
        upkeep.migrate(home, dry_run=True)
    with pytest.raises(NewerDatabase):
        checking.check(home)
    assert upkeep.info(home).schema_version == 99


FIRST = """
    INSERT INTO exchange (id, started_at, duration_ms, "user", user_source, policy, reason, provider, host, operation,
        method, scheme, port, path, http_version, lane, status, input_tokens, output_tokens, usage_source, cost_usd,
        cost_source, outcome, request_bytes, response_bytes, request_cut, response_cut, traced, flags, request_headers,
        response_headers, chunks, record_version)
    VALUES ($1, to_timestamp(1790000000), 12.5, 'alice', 'header', 'default', 'default', 'openai', 'api.openai.com',
        'chat', 'POST', 'https', 443, '/v1/chat/completions', 'HTTP/1.1', 'flows', 200, 9, 1, 'reported', 0.25,
        'computed', 'complete', 10, 10, false, false, true, [],
        [{'name': 'Content-Type', 'value': 'application/json'}],
        [{'name': 'Content-Type', 'value': 'application/json'}], [], 1)
"""


def first_schema(home: Home) -> str:
    """A database of the first schema as it was then, with a body file of then; returns the id of its exchange."""
    one = chat(prompt="of the first days")
    path = home.bodies / "first.parquet"
    with duckdb.connect() as writer:
        writer.execute(
            "CREATE TABLE b AS SELECT $1::UUID AS id, $2::BLOB AS request_body, $3::BLOB AS response_body",
            [one.exchange.id, one.request_body, one.response_body],
        )
        writer.execute(f"COPY b TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
    with duckdb.connect(str(home.database), config={"storage_compatibility_version": "v1.5.0"}) as open_:
        open_.execute(MIGRATIONS[0].read_text())
        open_.execute("INSERT INTO schema_version VALUES (1, now(), '0.0.1')")
        open_.execute(FIRST, [one.exchange.id])
        size = path.stat().st_size
        open_.execute("INSERT INTO body_file VALUES ($1, $2, $2, 1, $3)", [path.name, one.exchange.id, size])
    return one.exchange.id


def test_from_the_first_schema_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A database of the first schema goes through each version with its data, and is then read, checked and kept."""
    home = new_home(tmp_path)
    identifier = first_schema(home)
    assert upkeep.info(home).schema_version == 1
    assert upkeep.migrate(home, dry_run=True).before == 1
    for version in range(1, len(MIGRATIONS) + 1):
        with monkeypatch.context() as then:
            then.setattr(connection, "MIGRATIONS", MIGRATIONS[:version])
            connection.make(home)
        assert queried(home, "SELECT max(version) FROM schema_version") == [(version,)]
        assert queried(home, "SELECT id::VARCHAR, cost_usd::DOUBLE FROM exchange") == [(identifier, 0.25)]
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    assert run(["usage", "show", identifier, "--json"]) == 0
    assert "of the first days" in capsys.readouterr().out
    assert run(["usage", "find", "first days", "--json"]) == 0
    assert identifier in capsys.readouterr().out
    assert checking.check(home).found == []
    assert upkeep.info(home).referred_bytes == 0
    stored(home, chat())
    upkeep.compact(home)
    assert checking.check(home).found == []
    assert len(browse.latest(home, 9)) == 2


def test_migrate(tmp_path: Path) -> None:
    """It says from which version to which, changes nothing when it is not to, and makes no database."""
    home = new_home(tmp_path)
    assert not upkeep.migrate(home, dry_run=False).database
    assert not home.database.exists()
    first_schema(home)
    tried = upkeep.migrate(home, dry_run=True)
    assert (tried.before, tried.after, tried.steps[0]) == (1, len(MIGRATIONS), "002_costs")
    assert queried(home, "SELECT max(version) FROM schema_version") == [(1,)]
    assert upkeep.migrate(home, dry_run=False).steps == tried.steps
    assert queried(home, "SELECT max(version) FROM schema_version") == [(len(MIGRATIONS),)]
    assert upkeep.migrate(home, dry_run=False).steps == []
