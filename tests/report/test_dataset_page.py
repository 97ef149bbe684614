"""The card of a dataset as a page: its figures, hostile names, and a real browser."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.report.test_page import _CUT, ALLOWED, CSP, _browser, _colours, _events, _Page
from tests.support.cards import HOSTILE, awkward, usual
from tracecli.datasets import card
from tracecli.datasets.manifest import Manifest
from tracecli.datasets.notes import FORM
from tracecli.report import charts
from tracecli.report.dataset_page import page

WITH_CHARTS = ("openai", "together", "huggingface")


def test_what_it_tells() -> None:
    """Figures, steps with their reasons, files with their hashes, costs, limits and notes are those of the manifest."""
    manifest = usual(*WITH_CHARTS)
    made = _Page(page(manifest, "License: mit\nAsk the librarian.\n"))
    for said in (
        *("support@2", "2026-11-01 to 2026-11-20", "of 1,500 requests", "300k to be learned", "gpt-4o-mini"),
        *("400 the answer refuses", "user-0000000000", "and 15 more", "Ask the librarian.", 'where = "policy:support"'),
        *("Together AI: list prices of", "An estimate", card.ERASING, *card.LIMITS, card.OWN_HARDWARE),
        *(one.sha256 for one in manifest.files),
    ):
        assert said in made.text, said
    assert "$1.44" in made.text  # three epochs of a million tokens at 0.48, the least of all
    assert made.tags.keys() <= ALLOWED | {"pre"}
    assert ("content", CSP) in made.attributes
    assert page(manifest, FORM) == page(manifest, FORM)


def test_widths() -> None:
    """Bars are as long as what they stand for, the longest one whole."""
    made = _Page(page(usual(), FORM))
    widths = Counter(value for name, value in made.attributes if name == "style")
    assert widths["width:12.5%"] == 2  # validation and test, 100 of 800
    assert widths["width:25.0%"] == 1  # duplicates, 100 of 400
    assert widths["width:11.11%"] == 2  # the rarer model and provider, 100 of 900


def test_tokens() -> None:
    """The histogram has a column for each power of two, also where there is no example."""
    chart = charts.powers({1: 5, 8: 20})
    assert [[piece.percent for piece in column] for column in chart.columns] == [[25.0], [], [], [100.0]]
    assert chart.labels == ["≤ 1", "≤ 2", "≤ 4", "≤ 8"]
    assert chart.table == [("1", "5"), ("5 to 8", "20")]
    assert chart.ticks == [(25.0, "5"), (50.0, "10"), (75.0, "15"), (100.0, "20")]
    assert charts.powers({}).columns == []
    assert [label for _, label in charts.powers({1: 2}).ticks] == ["1", "2"]
    assert [label for _, label in charts.powers({1: 9}).ticks] == ["5", "10"]


@pytest.mark.parametrize("manifest", [awkward(), usual(files=[], splits=[], steps=[], token_histogram=[])])
def test_hostile_names(manifest: Manifest) -> None:
    """What was recorded stays text, also in notes: no tag, attribute or control character comes of it."""
    made = _Page(page(manifest, HOSTILE))
    assert made.tags.keys() <= ALLOWED | {"pre"}
    assert {name for name, _ in made.attributes if name.startswith("on") or name in ("src", "href")} == set()
    assert "<script>alert(1)" in made.text
    assert not set(made.text) & set("\x1b\x00\u202e\u2028")
    assert "W" * 100 not in made.text


@pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs chromium and chromedriver"
)
def test_in_a_browser(tmp_path: Path) -> None:
    """A browser shows it light and dark, on a desk and on a phone: nothing is cut off, asked for or refused."""
    files = {tmp_path / "usual.html": page(usual(*WITH_CHARTS), FORM), tmp_path / "awkward.html": page(awkward(), FORM)}
    for file, text in files.items():
        file.write_text(text, "utf-8")
    driver = _browser(tmp_path, 1100)
    try:
        for file in files:
            for width in (1100, 360):
                for scheme, shown in (("light", (11, 107, 203)), ("dark", (77, 163, 255))):
                    size = {"width": width, "height": 1400, "deviceScaleFactor": 1, "mobile": width < 500}
                    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                    feature = {"name": "prefers-color-scheme", "value": scheme}
                    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
                    driver.get(file.as_uri())
                    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
                    assert driver.execute_script(_CUT) == [], (file.name, width)
                    assert _colours(driver.get_screenshot_as_png())[shown] > 300
        assert driver.get_log("browser") == []
        asked_for = set(re.findall(r'"method":"Network.requestWillBeSent".*?"url":"([^"]*)"', str(_events(driver))))
        own = ("chrome:", "data:")
        assert {url for url in asked_for if not url.startswith(own)} == {file.as_uri() for file in files}
        assert driver.title == "support@2, a dataset"
    finally:
        driver.quit()
