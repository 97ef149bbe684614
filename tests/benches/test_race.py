"""The race measures what it says, and stops at a wrong answer."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trustme

from benches.race import CONTENDERS, PROMISES, Result, Results, race, tables

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or (os.cpu_count() or 1) < 2 or shutil.which("taskset") is None,
    reason="the race needs Linux, two cores and taskset",
)


def test_a_small_race() -> None:
    """Contenders do a case, all answers are right, and the table has their figures."""
    results = race(1, ["cache hits", "2 KB, 1 at a time"], ["no proxy", "tracecli proxy", "tracecli proxy, hits"])
    for case, name in (("2 KB, 1 at a time", "tracecli proxy"), ("cache hits", "tracecli proxy, hits")):
        cpu = results[case][name].median("cpu_ms")
        assert cpu is not None
        assert 0 < cpu < 100
    shown = tables(results, 1)
    assert "**2 KB, 1 at a time**" in shown
    assert "| tracecli proxy, hits |" in shown


def test_promises_are_compared() -> None:
    """A figure short of what is promised says so."""

    def of(cpu: dict[str, float]) -> Results:
        made: Results = {"2 KB, 16 at a time": {}}
        for name, value in cpu.items():
            made["2 KB, 16 at a time"][name] = Result()
            made["2 KB, 16 at a time"][name].add(cpu_ms=value)
        return made

    assert "| at least 5 | 6.00 |" in tables(of({"mitmdump": 1.2, "tracecli proxy": 0.2}), 1)
    assert "| at least 5 | not yet: 4.00 |" in tables(of({"mitmdump": 0.8, "tracecli proxy": 0.2}), 1)
    assert len(PROMISES) > 8
    assert "mitmdump -w" in CONTENDERS


def test_a_wrong_answer_is_an_error(tmp_path: Path) -> None:
    """The load ends with an error when an answer is not what was asked for."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(trust)
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listening.accept()
        with trust.wrap_socket(connection, server_side=True) as secure:
            secure.recv(65536)
            secure.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2048\r\n\r\n" + b"x" * 2048)
            secure.recv(1)

    serving = threading.Thread(target=answer)
    serving.start()
    port = listening.getsockname()[1]
    asked = {"case": {}, "port": port, "proxy": None, "ca": str(tmp_path / "ca.pem"), "user": "a"}
    done = subprocess.run(
        [sys.executable, "-m", "benches.load", json.dumps(asked)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    listening.close()
    serving.join(10)
    assert done.returncode != 0
    assert "Wrong" in done.stderr
