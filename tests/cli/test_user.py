"""`tracecli user`: a secret is shown once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.proxy_users import ProxyUsers


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TRACECLI_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


def said(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> tuple[str, str]:
    assert run(["user", *args]) == code
    return capsys.readouterr()


@pytest.mark.parametrize("name", ["alice", "a b@c/d?", "\u00fcml\u00e4ut", "100%"])
def test_adding(home: Home, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """The URL that is printed holds name and secret as clients take them, and no other command shows the secret."""
    out, err = said(capsys, "add", name)
    url = urlsplit(out.removeprefix("HTTPS_PROXY=").strip())
    assert (url.hostname, url.port, unquote(url.username or "")) == ("127.0.0.1", 8080, name)
    assert ProxyUsers(home.proxy_users).check(name, unquote(url.password or ""))
    assert "this once" in err
    for args in (["list"], ["list", "--json"], ["remove", name]):
        assert (url.password or "") not in "".join(said(capsys, *args))


def test_a_second_time(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """A user that is there keeps its secret unless that is to be replaced."""
    first = json.loads(said(capsys, "add", "a", "--json")[0])
    assert "--replace" in said(capsys, "add", "a", code=3)[1]
    second = json.loads(said(capsys, "add", "a", "--replace", "--json")[0])
    users = ProxyUsers(home.proxy_users)
    assert users.check("a", second["secret"]) and not users.check("a", first["secret"])
    assert second["proxy_url"] == f"http://a:{second['secret']}@127.0.0.1:8080"


def test_where_the_proxy_listens(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """The URL names the address of a running proxy of this home."""
    home.prepare()
    (home.root / "proxy-1.json").write_text("damaged")
    (home.root / "proxy-2.json").write_text(json.dumps({"pid": os.getpid(), "listen": [["0.0.0.0", 9999]]}))
    assert "@127.0.0.1:9999" in said(capsys, "add", "a")[0]


@pytest.mark.parametrize("name", ["", "a:b", "a\x1b", " a", "x" * 201])
def test_names_that_no_user_can_have(home: Home, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A name that could not come through a URL, or not be recorded as it is, is refused."""
    assert "cannot be a proxy user" in said(capsys, "add", name, code=3)[1]


def test_listing_and_removing(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Users are listed by name; who is not there cannot be removed."""
    assert "tracecli user add NAME" in said(capsys, "list")[1]
    home.prepare()
    for name in ("b", "a"):
        ProxyUsers(home.proxy_users).add(name)
    assert said(capsys, "list")[0] == "a\nb\n"
    assert json.loads(said(capsys, "list", "--json")[0]) == [{"user": "a"}, {"user": "b"}]
    assert said(capsys, "remove", "a")[1] == "a is removed.\n"
    assert "there is no proxy user 'a'" in said(capsys, "remove", "a", code=3)[1]
    assert json.loads(said(capsys, "remove", "b", "--json")[0]) == {"user": "b", "removed": True}
