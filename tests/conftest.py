"""What every test gets: an environment of its own; and what the end-to-end tests share: a stand-in and a proxy."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Iterator

import pytest

from tests.support.proxies import Proxy, running_proxy
from tests.support.standin import Standin

_FOREIGN = re.compile(
    r"TRACECLI_(?!RECORDINGS$).*|.*_PROXY|(OPENAI|ANTHROPIC|HTTPX)_.*|(SSL_CERT|REQUESTS_CA|CURL_CA).*"
    r"|NO_COLOR|FORCE_COLOR|COLUMNS|LINES",
    re.IGNORECASE,
)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the person who runs the tests reaches them: home, settings, proxies, keys, time zone, umask."""
    for name in list(os.environ):
        if _FOREIGN.fullmatch(name):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp() / "nobody"))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    umask = os.umask(0o022)  # a command that is run in this process may set another one
    yield
    os.umask(umask)
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(scope="session")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standin]:
    """The provider of all tests."""
    with Standin(tmp_path_factory.mktemp("standin")) as provider:
        yield provider


@pytest.fixture(scope="session", params=["fast", "flows"])
def lane(request: pytest.FixtureRequest) -> str:
    """Each lane in turn: what is recorded must be the same."""
    return str(request.param)


@pytest.fixture(scope="session")
def proxy(lane: str, standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that tests share: mitmdump with the addon. Each test has a user of its own and looks at no other."""
    with running_proxy(tmp_path_factory.mktemp("shared"), standin, lane=lane) as shared:
        yield shared


@pytest.fixture
def user(request: pytest.FixtureRequest) -> str:
    """A user that no other test has."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).strip("-")[:60]
    return f"{name}-{uuid.uuid4().hex[:8]}"
