"""Whether an answer refuses: by what the provider says of its end, or by how models word it. Pure.

Words count only near the beginning of an answer that is short and calls no tool: one that goes on at length has helped
nevertheless. "I can't find the file" refuses nothing; what counts is that help is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import re2  # type: ignore[import-untyped]

# https://platform.openai.com/docs/api-reference/chat/object https://docs.claude.com/en/api/handling-stop-reasons
# https://ai.google.dev/api/generate-content#FinishReason https://docs.aws.amazon.com/bedrock/latest/APIReference
REASONS = frozenset(
    {
        *("content_filter", "refusal", "content_filtered", "guardrail_intervened", "error_toxic"),
        *("safety", "prohibited_content", "blocklist", "spii", "recitation", "image_safety", "language"),
    }
)
"""Finish reasons, in small letters."""
_LOOKED_AT = 240
_LONGEST = 1500
"""Characters of an answer."""

_WORD = r"[\pL\pN_'-]+"
_CANNOT = (
    r"(?:i|we)(?:'m| am| are|'re)? ?(?:really |just |afraid (?:that )?i )?(?:can'?t|cannot|can not|won'?t|will not|"
    r"(?:am |are )?(?:unable|not able|not going|not willing|not allowed|not permitted|not in a position) to|"
    r"won'?t be able to|will not be able to|could ?n[o']t)"
)
_SUCH = (
    r"(?:that|this|these|those|such|any|your request|the request|it|instructions|guidance|advice|assistance|content)"
)
_REFUSES = (
    rf"{_CANNOT} (?:{_WORD} )?(?:help|assist)(?P<only> but)?\b",
    rf"{_CANNOT} (?:{_WORD} )?(?:comply|engage|participate)\b",
    rf"{_CANNOT} (?:{_WORD} )?(?:fulfil+|satisfy|process|complete|honou?r|answer|support|facilitate|discuss|do|"
    r"provide|create|generate|produce|write|share|give|offer|describe|proceed with|continue with)"
    rf" (?:you )?(?:with )?(?:information (?:on|about|that)|{_SUCH}\b)",
    rf"i (?:must|have to|need to|will have to|'ll have to|am going to have to) (?:{_WORD} )?decline\b",
    rf"i (?:{_WORD} )?decline to\b",
    rf"(?:that'?s|this is|it'?s) (?:{_WORD} ){{0,2}}something (?:that )?i "
    r"(?:can'?t|cannot|won'?t|am not able to) [a-z]+",
    r"i(?:'m| am) not comfortable (?:with )?(?:help|assist|provid|creat|writ|generat|discuss|shar|continu)ing",
    r"i (?:do not|don'?t) feel comfortable (?:with )?(?:help|assist|provid|creat|writ|generat|discuss|shar|continu)ing",
    r"it (?:would be|is|'s) (?:inappropriate|unethical|illegal|against my [a-z]+) for me to\b",
    r"(?:goes|is) against my (?:guidelines|programming|policy|policies|principles)",
    r"(?:violates|against) (?:[a-z]+'s |our |the |my )?(?:usage |content |safety )+(?:policy|policies|guidelines)",
    r"as an ai(?: language)?(?: model| assistant)?,? (?:developed by [a-z]+, )?i "
    r"(?:can'?t|cannot|am unable|am not able|won'?t)\b",
    # German, French, Spanish, Portuguese, Italian, Dutch
    rf"(?:ich kann|kann ich|ich darf|darf ich) (?:{_WORD} ){{0,5}}nicht (?:{_WORD} ){{0,3}}"
    r"(?:helfen|unterstützen|behilflich|weiterhelfen)",
    rf"(?:ich kann|kann ich) (?:diese|dieser|ihre|deine) (?:anfrage|bitte) (?:{_WORD} )?nicht",
    r"je ne (?:peux|suis pas en mesure de|pourrai)(?: pas)? (?:vous |t')?"
    r"(?:aider|assister|répondre à cette|fournir (?:ce|cette|de tel))",
    r"no (?:puedo|podemos) (?:ayudar|asistir|cumplir|proporcionar (?:ese|esa|este|esta|información sobre))",
    rf"não (?:posso|consigo) (?:{_WORD} )?"
    r"(?:ajudar|auxiliar|atender|fornecer (?:esse|essa|este|esta|informações sobre))",
    r"non (?:posso|sono in grado di) (?:aiutar|assister|fornire (?:quest|informazioni su))",
    rf"(?:ik kan|kan ik) (?:{_WORD} ){{0,4}}niet (?:mee |bij |verder )?helpen",
    # Russian, Chinese, Japanese, Korean
    rf"не (?:могу|смогу) (?:{_WORD} )?(?:помочь|помогать|предоставить|выполнить (?:этот|эту|ваш))",
    r"(?:抱歉|对不起|對不起|不好意思).{0,16}(?:无法|無法|不能)(?:\pL{0,8})(?:提供|帮助|幫助|协助|協助|回答|满足|滿足|完成|继续)",
    r"申し訳(?:ありません|ございません|ない).{0,40}(?:できません|いたしかねます|お手伝いできない|お答えできない|お応えできません)",
    r"죄송.{0,40}(?:도와드릴 수 없|도움을 드릴 수 없|제공할 수 없|제공해 드릴 수 없|답변할 수 없|응할 수 없)",
)
_BEGINS = r"(?:^|[\s.,;!?-]|[^\x00-\x7f])"


@cache
def _pattern() -> Any:
    """RE2: an alternation of so many takes Python a hundred times as long."""
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    return re2.compile(f"{_BEGINS}(?:{'|'.join(_REFUSES)})", options)


def refuses(text: str, finish_reasons: Sequence[str], *, marked: bool = False, calls_tools: bool = False) -> bool:
    """Whether an answer refuses. `marked`: the provider sent it as a refusal."""
    if marked or any(reason.lower() in REASONS for reason in finish_reasons):
        return True
    said = text.strip()
    if calls_tools or not said or len(said) > _LONGEST:
        return False
    beginning = said[:_LOOKED_AT].replace("\u2019", "'").replace("*", "")
    found = _pattern().finditer(" ".join(beginning.split()))
    return any(one["only"] is None for one in found)  # "I can't help but notice" helps
