"""Who may read a home: its owner, and members of the groups that he names, as the operating system sees to it."""

from __future__ import annotations

import grp
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import environment, tracecli
from tests.support.encrypting import key_file
from tests.support.people import Person, open_folder, why_not
from tests.support.proxies import running_proxy
from tests.support.secrets_in_files import files_with
from tests.support.standin import Standin
from tests.support.upkeep import chat, new_home
from tests.support.waiting import wait_until
from tracecli import access, ingest, ledger
from tracecli.cli import doctor
from tracecli.config import Home
from tracecli.exchange import new_id
from tracecli.spool import SpoolWriter
from tracecli.store import bodies, expiry

CHAT = "https://api.openai.com/v1/chat/completions"
RECORDS, CONTENT = 60_001, 60_002
CLERK = Person(54_321, (RECORDS,))
REVIEWER = Person(54_322, (RECORDS, CONTENT))
STRANGER = Person(54_323, (0, CONTENT))  # in the owner's own group, and not in that of records
SPLIT = ("access", "set", "--metadata-group", str(RECORDS), "--content-group", str(CONTENT))


@pytest.fixture(scope="module", autouse=True)
def other_users() -> None:
    """There are no such tests where nobody can be another user."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that lets everybody pass."""
    with open_folder() as made:
        yield made


@pytest.fixture
def home(folder: Path) -> Home:
    """A home with three stored chats, which nobody else reads."""
    made = new_home(folder)
    folder.joinpath("policies").chmod(0o755)
    folder.joinpath("policies", "default.toml").write_text("tracing = true\n")
    recorded(made, "silver lighthouse 1", "silver lighthouse 2", "silver lighthouse 3")
    return made


def recorded(home: Home, *prompts: str) -> None:
    """Record chats, and store them."""
    writer = SpoolWriter(home.spool)
    for prompt in prompts:
        writer.append(chat(prompt=prompt))
    writer.close()
    ingest.run(home, once=True, ended=lambda: True)


def split(home: Home) -> None:
    access.let_read(home, access.Groups(metadata=RECORDS, content=CONTENT))


def sees(person: Person, home: Home, requests: int, **more: str) -> tuple[bool, bool]:
    """Whether somebody sees all usage records, and whether also what was said; if not, he is told so."""
    listed, words, opened = person.tracecli(
        home.root, "usage show --json", "usage find lighthouse --json", "usage show last --json", **more
    )
    for one in (listed, words, opened):
        assert one.code == 0 or (one.code, one.out, one.err.count("\n")) == (5, "", 1), one
    assert words.code == opened.code
    if words.code == 0:
        assert "lighthouse" in opened.out
        assert words.out.count("\n") == requests
    return listed.code == 0 and len(json.loads(listed.out)) == requests, words.code == 0


def modes(home: Home) -> dict[str, tuple[str, int]]:
    """Mode and group of everything in a home."""
    found = {}
    for path in (home.root, *home.root.rglob("*")):
        about = path.lstat()
        found[str(path.relative_to(home.root))] = f"{stat.S_IMODE(about.st_mode):o}", about.st_gid
    return found


def test_a_split_while_it_records(folder: Path, standin: Standin) -> None:
    """Whatever the umask, a home is its owner's alone; once he says so, members of the one group see records, of the
    other what was said, nobody else anything. A running proxy and ingest go by it at once, and by its end.
    """
    before = os.umask(0)
    try:
        with running_proxy(folder, standin) as proxy, proxy.client("alice") as client:
            home = Home(proxy.home)

            def said(number: int) -> None:
                asked = [{"role": "user", "content": f"silver lighthouse {number}"}]
                client.post(CHAT, json={"model": "gpt-4o", "messages": asked})
                everything = f"{number} requests to be stored"
                wait_until(lambda: len(proxy.rows("alice")) == number and not list(home.spool.iterdir()), everything)

            said(1)
            tracecli(home.root, "usage", "show", "last")
            assert_private(home)
            assert not STRANGER.reads(home.database)
            for one in STRANGER.tracecli(home.root, "usage show", "usage show last", "sql 'FROM messages'"):
                assert (one.code, one.out) == (5, ""), one
                assert "belongs to root, and you may not read it" in one.err

            told = json.loads(tracecli(home.root, *SPLIT, "--json").stdout)
            assert told["metadata_group"]["gid"] == RECORDS
            assert told["content_group"]["gid"] == CONTENT
            said(2)
            assert sees(CLERK, home, 2) == (True, False)
            assert sees(REVIEWER, home, 2) == (True, True)
            assert sees(STRANGER, home, 2) == (False, False)
            assert list(access.wrong(home)) == []
            secret = [home.secret, home.mitmproxy / "mitmproxy-ca.pem", home.ingest_log]
            assert [REVIEWER.reads(path) for path in secret] == [False] * 3
            noted = {one.uid for one in ledger.entries(home)}
            assert noted == {os.geteuid(), REVIEWER.uid}
            assert ledger.verify(home).problem is None

            tracecli(home.root, "access", "off")
            said(3)
            assert [sees(one, home, 3) for one in (CLERK, REVIEWER)] == [(False, False)] * 2
            assert_private(home)
    finally:
        os.umask(before)


def assert_private(home: Home) -> None:
    """All is the owner's alone; the folder of mitmproxy is made by itself, and its secrets are."""
    found = {name: mode for name, (mode, _) in modes(home).items()}
    assert {"traces.duckdb", "ledger.jsonl", "spool", "bodies", "ingest.json", "fingerprint.key"} <= set(found)
    assert found["mitmproxy/mitmproxy-ca.pem"] == "600"
    wide = {name for name, mode in found.items() if mode not in ("600", "700")}
    assert {name for name in wide if not name.startswith("mitmproxy")} == set()


def test_files_that_take_the_place_of_others(home: Home) -> None:
    """It stays so when retention writes the database anew, when files are merged, and when content is forgotten."""
    split(home)
    expiry.write_anew(home)
    assert sees(CLERK, home, 3) == (True, False)
    recorded(home, "silver lighthouse 4")
    assert bodies.merge_small(home, 2) > 0
    assert sees(REVIEWER, home, 4) == (True, True)
    assert list(access.wrong(home)) == []
    assert not STRANGER.reads(home.database)
    holding = [home.root / name for name in files_with(home.root, "silver lighthouse")]
    assert holding
    assert [CLERK.reads(path) for path in holding] == [False] * len(holding)


def test_an_encrypted_home(home: Home) -> None:
    """Records need no key; content needs a copy of it, and nothing that the owner wrote down is run for a reader."""
    split(home)
    key = key_file(home.root.parent)
    mark = home.root.parent / "was-run"
    copy = home.root.parent / "copy.key"
    shutil.copyfile(key, copy)
    copy.chmod(0o600)
    os.chown(copy, REVIEWER.uid, REVIEWER.uid)
    home.root.parent.chmod(0o777)
    command = f"sh -c 'touch {mark}; cat {key}'"
    tracecli(home.root, "encryption", "on", "--key-command", command)
    recorded(home, "silver lighthouse 4")
    mark.unlink()
    assert sees(CLERK, home, 4) == (True, False)
    [refused] = REVIEWER.tracecli(home.root, "usage show last")
    assert (refused.code, refused.out) == (5, "")
    assert "Name a copy of yours with TRACECLI_KEY_FILE" in refused.err
    assert not mark.exists()
    assert sees(REVIEWER, home, 4, TRACECLI_KEY_FILE=str(copy)) == (True, True)
    assert not REVIEWER.reads(key)


def test_readers_write_nothing(home: Home) -> None:
    """What changes something is refused in a sentence, and nothing is changed; reading leaves nothing in the home."""
    split(home)
    home.cache.touch(0o600)
    before = modes(home)
    for person in (CLERK, REVIEWER):
        for one in person.tracecli(
            home.root,
            "usage tag last --add mine",
            "usage rate last --score 5",
            "erase --user alice --yes",
            "retention run",
            "retention hold --user alice --reason law",
            "retention apply --policy default --yes",
            "redact apply --where '' --yes",
            "reprice --since 2026-01-01",
            "reparse --since 2026-01-01",
            "encryption on --key-env KEY",
            "access off",
            f"access set --metadata-group {CONTENT}",
            "ingest --once",
            "db compact",
            "db migrate",
            "user add bob",
            "user list",
            "cache list",
            "cache purge --all",
            "cache rebuild",
            "doctor",
            "doctor secrets",
            "proxy --listen 127.0.0.1:0",
        ):
            assert one.code not in (0, 1), one
            assert one.err.startswith("tracecli: ") and one.err.count("\n") == 1, one
            if one.code != 2:
                assert one.code in (3, 5), one
                assert str(home.root) in one.err or "policies" in one.err, one
    assert modes(home) == before


def test_what_a_reader_of_records_can_do(home: Home) -> None:
    """Lists, sums, sessions, cost, SQL, the report and files of data need no right to what was said."""
    split(home)
    with open_folder() as out:
        out.chmod(0o777)
        scratch = out / "scratch"
        scratch.mkdir()
        scratch.chmod(0o777)
        for one in CLERK.tracecli(
            home.root,
            "usage show --columns id,user,cost_usd",
            "usage stats --by user",
            "usage sessions",
            "usage me --user alice",
            "usage repeats",
            f"usage report --html {out}/report.html",
            f"usage show --output {out}/records.parquet",
            "sql 'SELECT user, count(*) FROM exchanges GROUP BY ALL'",
            "cache stats",
            "retention plan",
            "access show",
            TMPDIR=str(scratch),
        ):
            assert (one.code, "tracecli:" in one.err) == (0, False), one
        assert list(scratch.iterdir()) == []
        assert (out / "records.parquet").read_bytes().startswith(b"PAR1")
        assert b"lighthouse" not in (out / "report.html").read_bytes()
        for one in CLERK.tracecli(
            home.root,
            "usage find lighthouse",
            "usage show completion:hi",
            "sql 'FROM messages'",
            f"export har --output {out}/all.har",
            "audit show",
            "audit verify",
        ):
            assert (one.code, one.out) == (5, ""), one
        assert not (out / "all.har").exists()


def test_following_as_a_reader(home: Home) -> None:
    """Who may read records follows them as they are stored."""
    split(home)
    command = CLERK.command(sys.executable, "-m", "tracecli", "usage", "tail", "--json", "--limit", "1")
    with subprocess.Popen(command, cwd="/", env=environment(home.root), stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        try:
            first = json.loads(tail.stdout.readline())
            writer = SpoolWriter(home.spool)
            new = chat(prompt="silver lighthouse 4", id=new_id(), started_at_us=time.time_ns() // 1000)
            writer.append(new)
            writer.close()
            ingest.run(home, once=True, ended=lambda: True)
            assert json.loads(tail.stdout.readline())["id"] == new.exchange.id != first["id"]
        finally:
            tail.send_signal(signal.SIGINT)


def test_what_waits_in_the_spool_is_the_owners(home: Home) -> None:
    """It is not redacted yet: readers see what is stored."""
    split(home)
    writer = SpoolWriter(home.spool)
    writer.append(chat(prompt="silver lighthouse 4"))
    writer.close()
    assert sees(REVIEWER, home, 3) == (True, True)
    assert [REVIEWER.reads(path) for path in home.spool.iterdir()] == [False]


def test_a_ledger_that_a_reader_changes(home: Home) -> None:
    """Who notes in it can change it, and that is found."""
    split(home)
    REVIEWER.tracecli(home.root, "usage show last", "usage show last")
    assert tracecli(home.root, "audit", "verify").returncode == 0
    done = subprocess.run(
        REVIEWER.command("sed", "s/user 54322/root/", str(home.ledger)), check=True, capture_output=True
    )
    changed = done.stdout
    write = REVIEWER.command("sh", "-c", f"cat > {home.ledger}")
    subprocess.run(write, input=changed, check=True)
    tracecli(home.root, "audit", "verify", code=7)


def test_a_leftover_of_a_killed_process(home: Home) -> None:
    """A log of the database that a reader cannot read is named, with what mends it."""
    split(home)
    home.database_log.write_bytes(b"x" * 100)
    home.database_log.chmod(0o600)
    [told] = CLERK.tracecli(home.root, "usage show")
    assert told.code == 5
    assert "`tracecli ingest --once`" in told.err


def test_only_a_member_gives_to_a_group(folder: Path) -> None:
    """A group that the owner is not in is refused before anything is changed, and so is one that is not there."""
    os.chown(folder, REVIEWER.uid, REVIEWER.uid)
    home = folder / "home"
    other, unknown, good = REVIEWER.tracecli(
        home, "access set --metadata-group 60009", "access set --metadata-group no-such-group", " ".join(SPLIT)
    )
    assert (other.code, unknown.code, good.code) == (3, 3, 0)
    assert "you are no member of the group 60009" in other.err
    assert "there is no group 'no-such-group'" in unknown.err
    assert {mode for mode, _ in modes(Home(home)).values()} == {"750", "700", "640", "660"}
    [done] = Person(REVIEWER.uid).tracecli(home, "ingest --once")  # begun before he was a member
    assert done.code == 0
    assert f"files cannot be given to the group {RECORDS}: Operation not permitted" in done.err
    assert modes(Home(home))["ingest.json"][0] == "600"


def test_groups_by_name(home: Home) -> None:
    """A group is named as the system names it; without a group for content, that is the owner's alone."""
    name = grp.getgrgid(0).gr_name
    shown = tracecli(home.root, "access", "set", "--metadata-group", name).stdout
    assert f"members of the group {name}" in shown
    assert "What was said: the owner alone" in shown
    assert sees(Person(54_324, (0, CONTENT)), home, 3) == (True, False)


def test_doctor_knows_the_modes(home: Home) -> None:
    """What is open to more than the groups is an error, what is closed to them a warning; the remedy mends each."""
    split(home)
    policies = home.root.parent / "policies"
    os.chown(home.database, -1, 0)
    home.bodies.chmod(0o755)
    home.said.chmod(0o700)
    home.quarantine.chmod(0o750)
    found = [one for one in doctor.examine(home, policies) if one.check == "home"]
    assert sorted((one.severity, one.remedy) for one in found) == [
        ("error", f"`chgrp {RECORDS} {home.database}`"),
        ("error", f"`chmod 700 {home.quarantine}`"),
        ("error", f"`chmod 750 {home.bodies}`"),
        ("warning", f"`chgrp {CONTENT} {home.said} && chmod 750 {home.said}`"),
    ]
    for one in found:
        subprocess.run(one.remedy.strip("`"), shell=True, check=True)
    assert [one for one in doctor.examine(home, policies) if one.check == "home"] == []
    home.root.parent.chmod(0o700)
    [closed] = [one for one in doctor.examine(home, policies) if one.check == "home"]
    assert f"{home.root.parent} does not let members" in closed.problem


def test_a_damaged_file_lets_nobody_in(home: Home) -> None:
    """What comes is the owner's alone where it cannot be told who may read; it is told, and can be said again."""
    split(home)
    home.access.write_text("{")
    recorded(home, "silver lighthouse 4")
    assert {f"{stat.S_IMODE(path.stat().st_mode):o}" for path in home.bodies.iterdir()} == {"600", "640"}
    tracecli(home.root, "access", "show", code=5)
    split(home)
    assert sees(REVIEWER, home, 4) == (True, True)
