"""Loads training files with Hugging Face `datasets`, has TRL look at them, and prints what they hold. Its own process.

    loading.py FOLDER

Nothing is fetched: what would connect anywhere fails. The cache is in the folder.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

TEMPLATE = "qwen3.jinja"


def _refuse(*_: object) -> NoReturn:
    raise OSError("a test connects nowhere")


def main(folder: Path) -> None:
    os.environ.update(
        HF_HOME=str(folder / "hub"),
        HF_DATASETS_CACHE=str(folder / "cache"),
        HF_HUB_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        DO_NOT_TRACK="1",
        HF_DATASETS_DISABLE_PROGRESS_BARS="1",
    )
    socket.socket.connect = _refuse  # type: ignore[method-assign]
    socket.getaddrinfo = _refuse  # type: ignore[assignment]

    import datasets  # type: ignore[import-untyped]
    import trl
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from trl import data_utils

    template = Path(trl.__file__).parent / "chat_templates" / TEMPLATE
    words = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    made: Any = PreTrainedTokenizerFast
    tokenizer = made(tokenizer_object=words, chat_template=template.read_text())
    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.jsonl")) + sorted(folder.glob("*.parquet")):
        kind = "parquet" if file.suffix == ".parquet" else "json"
        rows = list(datasets.load_dataset(kind, data_files=str(file), split="train"))
        told: dict[str, Any] = {"rows": rows, "conversational": [data_utils.is_conversational(row) for row in rows]}
        if file.stem in ("huggingface", "huggingface-preference"):
            told["templated"] = [
                data_utils.apply_chat_template(_given(row), tokenizer, tools=row.get("tools")) for row in rows
            ]
        if file.stem == "sharegpt":
            told["chatml"] = [data_utils.maybe_convert_to_chatml(json.loads(json.dumps(row))) for row in rows]
        found[file.stem] = told
    json.dump(found, sys.stdout)


def _given(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of messages: what stands beside them is given apart."""
    return {name: row[name] for name in ("messages", "prompt", "chosen", "rejected") if name in row}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
