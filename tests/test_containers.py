"""The files for containers and the pages about them name only what there is; no engine is needed to see that."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from tests.support.commands import ROOT
from tracecli.cli.main import cli
from tracecli.clients import variables

PACKAGING = ROOT / "packaging"
BUNDLE = "/authorities/ca-bundle.pem"
HOME = "/data/home"


def read(name: str) -> Any:
    return YAML(typ="safe").load(PACKAGING / name)


def dockerfile() -> list[tuple[str, str]]:
    """Instructions and what follows each."""
    lines = (PACKAGING / "Dockerfile").read_text().splitlines()
    return [(line.split()[0], line.partition(" ")[2]) for line in lines if line and not line.startswith("#")]


def assert_it_exists(words: Sequence[str]) -> None:
    """A command line of ours names commands and options that there are."""
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest.pop(0))
        assert found is not None, words
        command = found
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    for word in rest[: rest.index("--")] if "--" in rest else rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in options, words


def test_the_image_is_made_of_what_there_is() -> None:
    """Each file that is copied exists and is let through, and each that the package is built of is copied."""
    copied = [words.split()[:-1] for name, words in dockerfile() if name == "COPY" and "--from" not in words]
    names = {name for each in copied for name in each}
    assert names == {"pyproject.toml", "README.md", "src", "addon", "policies"}
    assert all((ROOT / name).exists() for name in names)
    let_through = {line[1:] for line in (PACKAGING / "Dockerfile.dockerignore").read_text().split() if line[0] == "!"}
    assert let_through == names
    for line in re.findall(r'^"(\w+)/.*" = "tracecli/_shipped/', (ROOT / "pyproject.toml").read_text(), re.MULTILINE):
        assert line in names


def test_the_image_runs_the_proxy() -> None:
    """It starts as nobody special, keeps its home on the volume, and its words are those of the command line."""
    told = dict(dockerfile())
    assert told["USER"] == "1000"
    assert HOME.startswith(told["VOLUME"])
    assert f"TRACECLI_HOME={HOME}" in told["ENV"]
    assert json.loads(told["ENTRYPOINT"]) == ["tracecli"]
    assert_it_exists(json.loads(told["CMD"]))
    checking = json.loads(told["HEALTHCHECK"][told["HEALTHCHECK"].index("[") :])
    assert checking[0] == "tracecli"
    assert_it_exists(checking[1:])
    assert json.loads(told["CMD"])[-1] == f"0.0.0.0:{told['EXPOSE']}"


def test_the_compose_file() -> None:
    """The client has the variables of all clients and the public file alone; the private key stays with the proxy."""
    services = read("compose.yaml")["services"]
    given = {name: value.replace("${TRACECLI_PROXY:-", "").replace("}", "") for name, value in
             services["client"]["environment"].items()}  # fmt: skip
    assert given == variables.made({}, "http://proxy:8080", BUNDLE)
    assert services["client"]["volumes"] == ["authorities:/authorities:ro"]
    assert not any("ports" in one or "privileged" in one for one in services.values())
    assert f"{HOME}/ca-bundle.pem > {BUNDLE}" in services["authorities"]["entrypoint"][-1]
    built = (PACKAGING / services["proxy"]["build"]["context"]).resolve()
    assert built == ROOT
    assert (built / services["proxy"]["build"]["dockerfile"]).exists()
    named = {volume.partition(":")[0] for one in services.values() for volume in one["volumes"]}
    assert named == set(read("compose.yaml")["volumes"])
    assert {name for one in services.values() for name in one.get("depends_on", {})} <= set(services)


def test_the_pod() -> None:
    """The same of the pod, whose proxy listens where its agent looks for it."""
    spec = read("pod.yaml")["spec"]
    [proxy, authorities] = spec["initContainers"]
    [agent] = spec["containers"]
    assert_it_exists(proxy["args"])
    assert_it_exists(proxy["startupProbe"]["exec"]["command"][1:])
    assert {one["name"]: one["value"] for one in agent["env"]} == variables.made(
        {}, f"http://{proxy['args'][-1]}", BUNDLE
    )
    assert [one["name"] for one in agent["volumeMounts"]] == ["authorities"]
    assert agent["volumeMounts"][0]["readOnly"] is True
    assert f"{HOME}/ca-bundle.pem > {BUNDLE}" in authorities["command"][-1]
    mounted = {mount["name"] for one in (proxy, authorities, agent) for mount in one["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}


def command_lines(page: str) -> Iterator[str]:
    text = (ROOT / "docs" / page).read_text()
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for line in [*re.findall(r"`([^`]+)`", prose), *(line for block in blocks for line in block.splitlines())]:
        if match := re.search(r"(?:^|\s)tracecli ((?:(?!\|\|)[^#\n])+)", line):
            yield match[1]


@pytest.mark.parametrize("page", ["containers.md", "coverage.md"])
def test_pages_name_what_there_is(page: str) -> None:
    """Commands, options, files and links in the pages exist."""
    lines = [line for line in command_lines(page) if not line.lstrip().startswith(".")]
    assert len(lines) >= 5
    for line in lines:
        assert_it_exists(shlex.split(line))
    text = (ROOT / "docs" / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert ((ROOT / "docs") / target).exists(), target
    for path in re.findall(r"packaging/[\w.]+|addon/[\w.-]+", text):
        assert Path(ROOT / path).exists(), path
