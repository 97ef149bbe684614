# ruff: noqa: RUF001 - other scripts
"""Whether an answer refuses."""

from __future__ import annotations

import pytest

from tracecli.datasets.refusals import refuses


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I can\u2019t assist with that request.",
        "**I cannot provide instructions for making a bomb.**",
        "Sorry, I won't be able to help with this.",
        "I must respectfully decline.",
        "I'm unable to comply with this request.",
        "As an AI language model, I cannot do that.",
        "I understand this is hard, but I can't help you hack into an account.",
        "I can't create content that sexualizes minors.",
        "I cannot fulfill this request.",
        "Es tut mir leid, aber dabei kann ich Ihnen nicht helfen.",
        "Je suis désolé, mais je ne peux pas vous aider avec cela.",
        "Lo siento, pero no puedo ayudar con eso.",
        "Desculpe, mas não posso ajudar com isso.",
        "Mi dispiace, ma non posso aiutarti.",
        "抱歉，我无法提供这方面的帮助。",
        "申し訳ありませんが、そのご要望にはお応えできません。",
        "죄송하지만 그 요청은 도와드릴 수 없습니다.",
        "К сожалению, я не могу помочь с этим.",
    ],
)
def test_refusals_are_found(text: str) -> None:
    """In the words of many models and languages."""
    assert refuses(text, ["stop"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I can't help but notice that the test fails.",
        "I cannot find the file src/a.py; it may have moved.",
        "Sorry for the confusion! The answer is 42.",
        "I can't reproduce the bug locally, so here is a patch.",
        "The function cannot provide a value when x is None.",
        "Unfortunately the API does not support this.",
        "I'm unable to access the internet, but based on what you sent: 5.",
        "I could not run the tests because pytest is missing.",
        "I can't see an image in the conversation. Please attach it.",
        "Ich kann die Datei nicht finden.",
        "No puedo abrir el archivo.",
        "I can't help with that. " + "But here is what you can do instead. " * 60,
    ],
)
def test_what_only_sounds_alike_stays(text: str) -> None:
    """Nothing is dropped that helps, or fails at something else."""
    assert not refuses(text, ["stop"])


@pytest.mark.parametrize("reason", ["content_filter", "refusal", "SAFETY", "guardrail_intervened"])
def test_providers_say_it_themselves(reason: str) -> None:
    """Their finish reasons count, whatever the text."""
    assert refuses("Well,", [reason])


def test_a_tool_call_is_no_refusal() -> None:
    """What is said beside one is no answer yet; what is marked as a refusal is one."""
    assert not refuses("I can't help with that.", [], calls_tools=True)
    assert refuses("No.", [], marked=True)
