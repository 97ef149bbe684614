"""The wire formats that are understood, by the key that `registry` gives them."""

from __future__ import annotations

from tracecli.providers.anthropic_messages import AnthropicMessages
from tracecli.providers.openai_chat import OpenAIChat
from tracecli.providers.openai_responses import OpenAIResponses
from tracecli.providers.reader import Reader

FORMATS: dict[str, type[Reader]] = {
    "openai.chat": OpenAIChat,
    "openai.responses": OpenAIResponses,
    "anthropic.messages": AnthropicMessages,
}
