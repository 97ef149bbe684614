"""Fireworks AI's formats: OpenAI's, with rules of their own."""

from __future__ import annotations

from tracecli.datasets.formats.base import Format, Limits
from tracecli.datasets.formats.chat import Dialect

_SFT = "https://docs.fireworks.ai/fine-tuning/fine-tuning-models"
_VISION = "https://docs.fireworks.ai/fine-tuning/fine-tuning-vlm"
_DPO = "https://docs.fireworks.ai/fine-tuning/dpo-fine-tuning"
_LIMITS = Limits(least_examples=3, most_examples=3_000_000)
_DIALECT = Dialect(
    images="inline",
    image_types=("png", "jpeg", "jpg"),
    reasoning=True,
    names=True,
    weights=True,
    parallel=True,
    system_first=True,
)
_PAIRS = Dialect(names=True, parallel=True, system_first=True)

FORMATS = (
    Format(
        name="fireworks",
        kind="chat",
        title="Fireworks AI: chat, supervised",
        urls=(_SFT, _VISION),
        rules=(
            "OpenAI's `messages` and `tools`; a system message is the first one",
            "reasoning as `reasoning_content` of an answer",
            "`weight: 0` keeps an earlier answer from being learned",
            "images of the user by data URL only: PNG, JPG, JPEG",
        ),
        limits=_LIMITS,
        write=_DIALECT.conversation,
        check=_DIALECT.check_conversation,
        keeps=frozenset({"tools", "images", "reasoning", "names", "weights"}),
        shape=frozenset({"messages"}),
    ),
    Format(
        name="fireworks-preference",
        kind="preference",
        title="Fireworks AI: two answers to a prompt, for DPO",
        urls=(_DPO,),
        rules=(
            "`input` with `messages` and `tools`; `preferred_output` and `non_preferred_output`, one message of the "
            "assistant each; the prompt does not end with one",
            "a system message is the first one",
            "text only; no place for reasoning, which is left out",
        ),
        limits=_LIMITS,
        write=_PAIRS.preference,
        check=_PAIRS.check_preference,
        keeps=frozenset({"tools", "names"}),
        shape=frozenset({"input", "preferred_output"}),
    ),
)
