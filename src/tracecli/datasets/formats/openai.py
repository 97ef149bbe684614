"""OpenAI's formats, which Azure takes as well.

OpenAI's own platform for fine-tuning takes no new customers any more; the format lives on elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from tracecli.datasets.formats.base import Finding, Format, Limits, Line
from tracecli.datasets.formats.chat import Dialect, images_in

_SFT = "https://developers.openai.com/api/docs/guides/supervised-fine-tuning"
_VISION = "https://developers.openai.com/api/docs/guides/vision-fine-tuning"
_DPO = "https://developers.openai.com/api/docs/guides/direct-preference-optimization"
_SCHEMA = "https://platform.openai.com/docs/api-reference/fine-tuning/chat-input"
_AZURE = "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/fine-tuning"
_AZURE_VISION = "https://learn.microsoft.com/azure/foundry/openai/how-to/fine-tuning-vision"
_AZURE_DPO = "https://learn.microsoft.com/azure/foundry/openai/how-to/fine-tuning-direct-preference-optimization"

_LEAST = 10
_BYTES = 512_000_000
_TOKENS = 65_536
IMAGES = 10
"""In an example; Azure takes 64."""

DIALECT = Dialect(
    roles=("system", "developer", "user", "assistant", "tool"),
    images="address",
    image_types=("jpeg", "png", "webp"),
    most_images=64,
    most_image_bytes=10_000_000,
    names=True,
    refusals=True,
    weights=True,
    parallel=True,
    most_tools=128,
)
_PAIRS = Dialect(
    roles=DIALECT.roles, names=True, refusals=True, weights=False, parallel=True, most_tools=DIALECT.most_tools
)


def _check(line: Line) -> Iterator[Finding]:
    yield from DIALECT.check_conversation(line)
    images = images_in(line.get("messages"))
    if IMAGES < images <= (DIALECT.most_images or 0):
        yield Finding("messages", f"holds more than {IMAGES} images: Azure takes 64, OpenAI does not", "warning")


def _check_pair(line: Line) -> Iterator[Finding]:
    yield from _PAIRS.check_preference(line, outputs=("assistant", "tool"), most=None)


FORMATS = (
    Format(
        name="openai",
        kind="chat",
        title="OpenAI and Azure: chat, supervised",
        urls=(_SFT, _VISION, _SCHEMA, _AZURE, _AZURE_VISION),
        rules=(
            "`messages` of system, developer, user, assistant and tool, `tools` and `parallel_tool_calls` beside them",
            "the last message is the assistant's; `weight: 0` keeps an earlier answer from being learned",
            "a call's arguments are JSON as a text, and each call of an earlier answer has its result",
            "images of the user by HTTP or data URL: JPEG, PNG, WEBP, 10 MB each, 10 in an example (Azure: 64)",
            "no place for reasoning, and none for whether a tool failed: both are left out",
        ),
        limits=Limits(least_examples=_LEAST, most_bytes=_BYTES, most_tokens=_TOKENS, most_with_images=50_000),
        write=DIALECT.conversation,
        check=_check,
        keeps=frozenset({"tools", "images", "names", "weights"}),
        shape=frozenset({"messages"}),
        bom=True,
    ),
    Format(
        name="openai-preference",
        kind="preference",
        title="OpenAI and Azure: two answers to a prompt, for DPO",
        urls=(_DPO, _AZURE_DPO),
        rules=(
            "`input` with `messages`, `tools` and `parallel_tool_calls`; `preferred_output`, `non_preferred_output`",
            "each output has a message of the assistant at least; the prompt does not end with one",
            "text only: an image cannot be told",
            "no place for reasoning, and none for whether a tool failed: both are left out",
        ),
        limits=Limits(least_examples=_LEAST, most_bytes=_BYTES, most_tokens=_TOKENS),
        write=_PAIRS.preference,
        check=_check_pair,
        keeps=frozenset({"tools", "names"}),
        shape=frozenset({"input", "preferred_output"}),
        bom=True,
    ),
)
