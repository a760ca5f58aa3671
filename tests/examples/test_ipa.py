"""The files of IPA's pipelines: they are read, wire as text flows, and state the accuracies of the paper."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trimtab.spec.load import load_pipeline

FOLDER = Path(__file__).parents[2] / "examples" / "ipa"
TASKS = {
    "audio-qa": {"transcribe": 3, "answer": 2},
    "audio-sent": {"transcribe": 3, "sentiment": 4},
    "sum-qa": {"summarise": 6, "answer": 2},
    "nlp": {"identify": 1, "translate": 2, "summarise": 6},
}


@pytest.mark.parametrize("name", TASKS)
def test_each_file_has_the_tasks_and_variants_of_the_paper(name: str) -> None:
    pipeline = load_pipeline(FOLDER / f"{name}.yaml", check_files=False)
    assert {task.name: len(task.variants) for task in pipeline.tasks.values()} == TASKS[name]
    assert pipeline.is_chain()
    for task in pipeline.tasks.values():
        assert {variant.runtime for variant in task.variants.values()} == {"transformers"}


def test_fetch_says_which_models_are_missing() -> None:
    command = [sys.executable, str(FOLDER / "fetch.py"), "sum-qa", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "missing: sshleifer/distilbart-xsum-1-1" in done.stderr
