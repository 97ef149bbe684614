"""Policy files: what applies, and what a wrong file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracecli.errors import ConfigError
from tracecli.policy.files import load, stamp


def folder(path: Path, **files: str) -> Path:
    (path / "users").mkdir(parents=True, exist_ok=True)
    for name, text in ({"default": "tracing = true"} | files).items():
        (path / f"{name.replace('__', '/')}.toml").write_text(text)
    return path


def test_default_applies_to_whoever_has_nothing_else(tmp_path: Path) -> None:
    """A user without a file gets default, and the reason says so."""
    decision = load(folder(tmp_path, default="tracing = false\nmax_body_bytes = 5")).decide("anyone")
    assert (decision.policy, decision.tracing, decision.metering, decision.max_body_bytes) == (
        "default",
        False,
        True,
        5,
    )
    assert decision.reason.startswith("default")


def test_assigned_and_overridden(tmp_path: Path) -> None:
    """A user file assigns a policy, and its own settings win over the policy's."""
    policies = load(
        folder(
            tmp_path,
            quiet="tracing = false\nmetering = false",
            users__alice='policy = "quiet"',
            users__bob='policy = "quiet"\nmetering = true',
            users__carol="tracing = false",
        )
    )
    assert not policies.decide("alice").metering
    assert policies.decide("alice").reason == "users/alice: assigned quiet"
    bob = policies.decide("bob")
    assert (bob.policy, bob.tracing, bob.metering) == ("quiet", False, True)
    assert "metering = true" in bob.reason
    assert (policies.decide("carol").policy, policies.decide("carol").tracing) == ("default", False)
    assert policies.decide("dave").tracing


def test_file_names_are_percent_decoded(tmp_path: Path) -> None:
    """A user may have any name: the file name carries it encoded."""
    policies = load(folder(tmp_path, **{"users__a%2Fb%40corp": "tracing = false"}))
    assert not policies.decide("a/b@corp").tracing


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tracng = true", "key `tracng` is unknown: did you mean `tracing`?"),
        ("zzz = 1", "key `zzz` is unknown: the keys are: description, tracing, metering, max_body_bytes"),
        ('tracing = "yes"', "key `tracing`: Expected `bool`, got `str`"),
        ("max_body_bytes = -1", "key `max_body_bytes`: must be 0 or more"),
        ("tracing = ", "not valid TOML"),
        ("\x00", "not valid TOML"),
        ("#" * 2_000_000, "larger than"),
    ],
)
def test_wrong_files_are_refused_whole(tmp_path: Path, text: str, says: str) -> None:
    """The error names the file, the key or line, and the remedy."""
    with pytest.raises(ConfigError) as caught:
        load(folder(tmp_path, other=text))
    assert str(tmp_path / "other.toml") in str(caught.value)
    assert says in str(caught.value)
    assert caught.value.exit_code == 3


def test_missing_default_and_unknown_policy(tmp_path: Path) -> None:
    """A folder without default.toml, and a user with a policy that is not there, are refused with what to do."""
    with pytest.raises(ConfigError, match=r"default\.toml does not exist"):
        load(tmp_path)
    with pytest.raises(ConfigError, match=r"alice\.toml: key `policy`: there is no policy 'gone'"):
        load(folder(tmp_path, users__alice='policy = "gone"'))


def test_stamp_changes_with_every_edit(tmp_path: Path) -> None:
    """Adding, editing, replacing and removing a file are each noticed."""
    seen = [stamp(folder(tmp_path))]
    (tmp_path / "new.toml").write_text("tracing = true")
    seen.append(stamp(tmp_path))
    (tmp_path / "new.toml").write_text("tracing = false")
    seen.append(stamp(tmp_path))
    (tmp_path / "users" / "a.toml").write_text("")
    seen.append(stamp(tmp_path))
    (tmp_path / "new.toml").unlink()
    seen.append(stamp(tmp_path))
    assert len(set(seen)) == len(seen)
    assert stamp(tmp_path) == seen[-1]


def test_shipped_policies_are_right() -> None:
    """The policies of the repository load."""
    assert load(Path(__file__).parents[2] / "policies").decide("anyone").tracing


def test_prices_are_no_policy(tmp_path: Path) -> None:
    """The price file in the policy folder is nobody's policy, right or wrong; a user may be called prices."""
    before = stamp(folder(tmp_path, users__prices="tracing = false"))
    (tmp_path / "prices.toml").write_text("[[price]]\nwrong = 1")
    policies = load(tmp_path)
    assert set(policies.policies) == {"default"}
    assert not policies.decide("prices").tracing
    assert stamp(tmp_path) == before
