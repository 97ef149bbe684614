"""The wire formats that are understood, by the key that `registry` gives them."""

from __future__ import annotations

from tracecli.providers.anthropic_messages import AnthropicMessages
from tracecli.providers.bedrock_converse import BedrockConverse
from tracecli.providers.bedrock_invoke import BedrockInvoke
from tracecli.providers.cohere import CohereChat, CohereEmbed, Rerank
from tracecli.providers.gemini import Gemini, GoogleEmbeddings
from tracecli.providers.gemini_interactions import GeminiInteractions
from tracecli.providers.gemini_live import GeminiLive
from tracecli.providers.ollama import Ollama
from tracecli.providers.openai_chat import OpenAIChat, OpenAICompletions
from tracecli.providers.openai_others import (
    OpenAIEmbeddings,
    OpenAIImages,
    OpenAIModeration,
    OpenAISpeech,
    OpenAITranscription,
)
from tracecli.providers.openai_realtime import OpenAIRealtime
from tracecli.providers.openai_responses import OpenAIResponses
from tracecli.providers.reader import Reader
from tracecli.providers.text_completion import TextCompletion

FORMATS: dict[str, type[Reader]] = {
    "anthropic.messages": AnthropicMessages,
    "bedrock.converse": BedrockConverse,
    "bedrock.invoke": BedrockInvoke,
    "cohere.chat": CohereChat,
    "cohere.embed": CohereEmbed,
    "gemini.embeddings": GoogleEmbeddings,
    "gemini.generate_content": Gemini,
    "gemini.interactions": GeminiInteractions,
    "gemini.live": GeminiLive,
    "ollama": Ollama,
    "openai.chat": OpenAIChat,
    "openai.completions": OpenAICompletions,
    "openai.embeddings": OpenAIEmbeddings,
    "openai.images": OpenAIImages,
    "openai.moderation": OpenAIModeration,
    "openai.realtime": OpenAIRealtime,
    "openai.responses": OpenAIResponses,
    "openai.speech": OpenAISpeech,
    "openai.transcription": OpenAITranscription,
    "rerank": Rerank,
    "text_completion": TextCompletion,
}
