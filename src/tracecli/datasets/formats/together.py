"""Together AI's formats."""

from __future__ import annotations

from tracecli.datasets.formats.base import Format, Limits
from tracecli.datasets.formats.chat import Dialect

_DATA = "https://docs.together.ai/docs/fine-tuning/data-preparation"
_PREFERENCE = "https://docs.together.ai/docs/fine-tuning/preference-tuning"
_TOOLS = "https://docs.together.ai/docs/fine-tuning/function-calling"
_VISION = "https://docs.together.ai/docs/fine-tuning/vision"
_REASONING = "https://docs.together.ai/docs/fine-tuning/reasoning"
_LIMITS = Limits(most_bytes=100_000_000_000)
_DIALECT = Dialect(
    images="inline",
    image_types=("png", "jpeg", "webp"),
    most_images=10,
    most_image_bytes=10_000_000,
    reasoning=True,
    weights=True,
    alternating=True,
    system_first=True,
)
_SHARED = (
    "system first if at all, then user and assistant take turns, with results of tools between them: messages of one "
    "role that follow one another are made one",
    "reasoning as `reasoning_content` of an answer (`reasoning` is taken as well)",
    "images of the user by data URL only: PNG, JPEG, WEBP, 10 MB each, 10 in an example",
    "no place for names of who speaks: such a message cannot be told",
)

FORMATS = (
    Format(
        name="together",
        kind="chat",
        title="Together AI: conversations",
        urls=(_DATA, _TOOLS, _VISION, _REASONING),
        rules=(
            "`messages`, and `tools` beside them; no other keys",
            *_SHARED,
            "`weight: 0` keeps an earlier answer from being learned",
        ),
        limits=_LIMITS,
        write=_DIALECT.conversation,
        check=_DIALECT.check_conversation,
        keeps=frozenset({"tools", "images", "reasoning", "weights"}),
        shape=frozenset({"messages"}),
    ),
    Format(
        name="together-preference",
        kind="preference",
        title="Together AI: two answers to a prompt, for DPO",
        urls=(_PREFERENCE, _DATA, _TOOLS, _VISION, _REASONING),
        rules=(
            "`input` with `messages` and `tools`; `preferred_output` and `non_preferred_output`, one message of the "
            "assistant each; the prompt does not end with one",
            *_SHARED,
        ),
        limits=_LIMITS,
        write=_DIALECT.preference,
        check=_DIALECT.check_preference,
        keeps=frozenset({"tools", "images", "reasoning"}),
        shape=frozenset({"input", "preferred_output"}),
    ),
)
