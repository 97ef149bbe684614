"""The report, as a file and in a real browser."""

from __future__ import annotations

import datetime as dt
import io
import os
import re
import shutil
import stat
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.chats import START, answered, asked, call, store
from tracecli.cli.main import run
from tracecli.config import Home
from tracecli.exchange import Captured

HOSTILE = "</title><script>alert(1)</script>\x1b[31m\u202e<img src=http://example.com/x onerror=alert(1)>" + "W" * 3000
CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "h3", "p", "code", "ul", "li"),
    *("span", "b", "small", "section", "div", "i", "details", "summary", "table", "thead", "tbody", "tr", "th", "td"),
    "footer",
}


def some(number: int, **changes: Any) -> Captured:
    """One of many calls: by several users, of several models, some of which failed."""
    about: dict[str, Any] = {
        "user": f"user-{number % 5}",
        "session": f"run-{number // 6}",
        "duration_ms": 40.0 * number,
    }
    if number % 10 == 9:
        about |= {"status": 429, "response_headers": [("Content-Type", "application/json")]}
    model = ["gpt-4o-mini", "gpt-4o", "gpt-4.1"][number % 3]
    body = answered("x", model) if number % 10 != 9 else b'{"error": {"message": "slow down"}}'
    request = asked(f"question {number}").replace(b"gpt-4o-mini", model.encode())
    return call(number * 3600.0, request, body, **(about | changes))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty one."""
    home = Home(tmp_path / "home")
    home.prepare()
    monkeypatch.setenv("TRACECLI_HOME", str(home.root))
    return home


class _Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def written(home: Home, *args: str) -> _Page:
    """The page of a command."""
    file = home.root.parent / "report.html"
    assert run(["usage", "report", "--html", str(file), *args]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return _Page(file.read_text())


def test_what_it_tells(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Totals, models, users, what went wrong, sessions and the dearest requests are those of the query."""
    store(home, *(some(number) for number in range(30)))
    page = written(home, "--utc", "since:2020-01-01")
    first = dt.datetime.fromtimestamp(START / 1e6, dt.UTC)
    last = first + dt.timedelta(hours=29)
    assert f"{first:%B} {first.day} to {last:%B} {last.day}, {last:%Y}" in page.text
    assert "since:2020-01-01" in page.text
    for said in ("gpt-4.1", "user-4", "run-0", "429", "slow down", "10%", "3 of 30"):
        assert said in page.text, said
    assert page.tags.keys() <= ALLOWED
    assert ("content", CSP) in page.attributes
    assert "Wrote" in capsys.readouterr().err
    assert "30" not in re.findall(r"Requests\s*(\d+)", written(home, "user:user-1").text)
    assert re.findall(r"Requests\s*(\d+)", written(home, "user:user-1").text)[0] == "6"


def test_nothing(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing fits, the page says so; `-` is standard output."""
    page = written(home, "user:nobody")
    assert "No recorded request fits" in page.text
    capsys.readouterr()
    assert run(["usage", "report", "--html", "-"]) == 0
    assert capsys.readouterr().out.startswith("<!DOCTYPE html>")


def test_a_file_that_cannot_be(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be written is named, and nothing is left of it."""
    assert run(["usage", "report", "--html", str(tmp_path / "no" / "report.html")]) == 1
    told = capsys.readouterr().err
    assert "cannot write" in told and "--html" in told


def hostile(home: Home) -> None:
    """Names and errors that want to be more than text."""
    error = b'{"error": {"message": "</td><script>alert(2)</script>"}}'
    changes: dict[str, Any] = {"user": HOSTILE, "session": HOSTILE, "policy": HOSTILE}
    request = asked("x").replace(b"gpt-4o-mini", b"<svg onload=alert(3)>")
    store(home, some(0, **changes), call(1, request, error, status=400, **changes))


def test_hostile_names(home: Home) -> None:
    """What was recorded stays text: no tag, attribute or control character comes of it."""
    hostile(home)
    page = written(home)
    assert page.tags.keys() <= ALLOWED
    assert {name for name, _ in page.attributes if name.startswith("on") or name in ("src", "href")} == set()
    assert "<script>alert(1)" in page.text and "<svg onload=alert(3)>" in page.text
    assert not set(page.text) & set("\x1b\u202e")
    assert "W" * 100 not in page.text


def _browser(tmp_path: Path, width: int, *more: str) -> Any:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for word in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
        *("disable-component-update", "disable-sync", "hide-scrollbars", "host-resolver-rules=MAP * ~NOTFOUND"),
        *(f"user-data-dir={tmp_path / f'profile-{width}-{len(more)}'}", f"window-size={max(width, 500)},1200", *more),
    ):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(str(shutil.which("chromedriver")), env={**os.environ, "HOME": str(tmp_path)})
    return webdriver.Chrome(options, service)


@pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs chromium and chromedriver"
)
@pytest.mark.parametrize("kind", ["usual", "hostile"])
def test_in_a_browser(home: Home, tmp_path: Path, kind: str) -> None:
    """A browser shows it light and dark, on a desk and on a phone: nothing is cut off, asked for or refused."""
    if kind == "usual":
        store(home, *(some(number) for number in range(30)))
    else:
        hostile(home)
    file = tmp_path / "report.html"
    assert run(["usage", "report", "--html", str(file)]) == 0
    driver = _browser(tmp_path, 1100)
    try:
        for width in (1100, 390, 360):
            for scheme, background in (("light", (247, 248, 250)), ("dark", (16, 19, 23))):
                size = {"width": width, "height": 1400, "deviceScaleFactor": 1, "mobile": width < 500}
                driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                feature = {"name": "prefers-color-scheme", "value": scheme}
                driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
                driver.get(file.as_uri())
                wide = driver.execute_script("return document.documentElement.scrollWidth")
                assert wide <= width, f"{wide} at {width}"
                assert driver.execute_script(_CUT) == [], (width, scheme)
                colours = _colours(driver.get_screenshot_as_png())
                assert colours.most_common(1)[0][0] in (background, (255, 255, 255), (24, 28, 33))
                assert len(colours) > 20
                shown = {"light": (11, 107, 203), "dark": (77, 163, 255)}[scheme]
                assert colours[shown] > 300
        assert driver.get_log("browser") == []
        asked_for = set(re.findall(r'"method":"Network.requestWillBeSent".*?"url":"([^"]*)"', str(_events(driver))))
        own = ("chrome:", "data:")  # of its new tab; those of the page its policy would have refused aloud
        assert {url for url in asked_for if not url.startswith(own)} == {file.as_uri()}
        assert driver.title.startswith("AI usage")
    finally:
        driver.quit()


def _events(driver: Any) -> list[str]:
    return [entry["message"] for entry in driver.get_log("performance")]


# What is wider than what it is in, but where one can scroll.
_CUT = """
return [...document.querySelectorAll('main *')]
    .filter(one => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== 'inline')
    .filter(one => !one.closest('.scroll, code, .labels'))
    .map(one => one.outerHTML.slice(0, 200))
"""


def _colours(png: bytes) -> Counter[Any]:
    """How many pixels of a screenshot have which colour."""
    with Image.open(io.BytesIO(png)) as image:
        found = image.convert("RGB").getcolors(1 << 24) or []
    return Counter({colour: number for number, colour in found})
