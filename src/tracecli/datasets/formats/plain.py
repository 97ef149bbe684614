"""A prompt and its completion, as two texts. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tracecli.datasets.example import Example
from tracecli.datasets.formats import rules, turns
from tracecli.datasets.formats.base import Finding, Format, Limits, Line, Media, Unfit

_TRL = "https://huggingface.co/docs/trl/dataset_formats"
_BEDROCK = "https://docs.aws.amazon.com/bedrock/latest/userguide/preparing-text-data.html"
_TOGETHER = "https://docs.together.ai/docs/fine-tuning/data-preparation"


def _write(example: Example, media: Media) -> Line:
    system, told = turns.of_example(example, media).leading_system()
    if example.tools:
        raise Unfit("tools that could be called")
    said = turns.merged(told)
    if any(turn.calls or turn.results for turn in said):
        raise Unfit("a tool call")
    if any(turn.media for turn in said):
        raise Unfit("an image or a file")
    if any(turn.name for turn in said):
        raise Unfit("a name of who speaks")
    if len(said) != 2:
        raise Unfit("more than one turn")
    prompt, answer = said
    return {"prompt": turns.GAP.join([*system, prompt.text()]), "completion": answer.text()}


def _check(line: Line) -> Iterator[Finding]:
    yield from rules.known(line, "", ("prompt", "completion"))
    for name in ("prompt", "completion"):
        yield from rules.is_text(line, "", name)
        if line.get(name) == "":
            yield Finding(name, "is empty")


FORMATS = (
    Format(
        name="prompt-completion",
        kind="chat",
        title="A prompt and its completion as two texts: TRL, Bedrock, Together AI",
        urls=(_TRL, _BEDROCK, _TOGETHER),
        rules=(
            "`prompt` and `completion`, both texts; no other keys",
            "one turn only; the system's texts are the beginning of the prompt",
            "text only: tools and images cannot be told; no place for reasoning, which is left out",
        ),
        limits=Limits(),
        write=_write,
        check=_check,
        keeps=frozenset(),
        shape=frozenset({"prompt", "completion"}),
    ),
)
