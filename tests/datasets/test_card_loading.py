"""The folder of a dataset with its card, as Hugging Face `datasets` reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.cards import file, usual
from tracecli.datasets import card
from tracecli.datasets.notes import FORM

# Its own process: the library is large, and its settings are read when it is imported.
_SCRIPT = """
import json, sys, datasets
told = {}
for name in (None, *sys.argv[2:]):
    splits = datasets.load_dataset(sys.argv[1], name)
    told[name or ""] = {split: [row["messages"][0]["content"] for row in rows] for split, rows in splits.items()}
print(json.dumps(told))
"""


@pytest.mark.skipif("datasets" not in packages_distributions(), reason="needs the package datasets")
def test_load_dataset(tmp_path: Path) -> None:
    """`load_dataset` of the folder gives the splits of the first format, and of each by its name, and nothing else."""
    folder = tmp_path / "support"
    formats = {"openai": ("train", "test"), "huggingface": ("train",)}
    for name, splits in formats.items():
        (folder / name).mkdir(parents=True)
        for split in splits:
            line = {"messages": [{"role": "user", "content": f"{name} {split}"}]}
            (folder / name / f"{split}.jsonl").write_text(json.dumps(line) + "\n")
            (folder / name / f"{split}.provenance.jsonl").write_text('{"id": 1, "model": ["other"]}\n')
    (folder / "parquet").mkdir()
    (folder / "parquet" / "train.parquet").write_bytes(b"PAR1")
    (folder / "manifest.json").write_text("{}")
    (folder / "dropped.jsonl").write_text('{"id": 2}\n')
    files = [file(name, split, 1) for name, splits in formats.items() for split in splits]
    files.append(file("parquet", "train", 1))
    for name, content in card.written(usual(files=files), FORM).items():
        (folder / name).write_bytes(content)
    settings = {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, folder, *formats],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    openai = {"train": ["openai train"], "test": ["openai test"]}
    assert json.loads(done.stdout) == {"": openai, "openai": openai, "huggingface": {"train": ["huggingface train"]}}
