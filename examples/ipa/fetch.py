"""Download the models of one of IPA's pipelines from the Hugging Face Hub into `models/`, or say which are missing.

    pip install 'trimtab[transformers]' huggingface_hub
    python examples/ipa/fetch.py sum-qa            # audio-qa, audio-sent, sum-qa or nlp
    python examples/ipa/fetch.py sum-qa --check    # download nothing: say what is missing

Each model has a licence of its own: read its page on the Hub before you use it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trimtab.spec.load import load_pipeline

HERE = Path(__file__).resolve().parent
PIPELINES = ("audio-qa", "audio-sent", "sum-qa", "nlp")
FILES = ("*.json", "*.txt", "*.model", "*.spm", "*.safetensors", "pytorch_model.bin")
"""Configuration, tokenizers and weights for PyTorch; not the weights for other libraries."""


def folders(name: str) -> dict[str, Path]:
    """Repository on the Hub → the folder where the pipeline file looks for it."""
    pipeline = load_pipeline(HERE / f"{name}.yaml", check_files=False)
    models = [variant.model for task in pipeline.tasks.values() for variant in task.variants.values()]
    return {model.relative_to(HERE / "models").as_posix(): model for model in models if model is not None}


def missing(name: str) -> dict[str, Path]:
    """Of `folders`, those without a model."""
    return {
        repository: folder for repository, folder in folders(name).items() if not (folder / "config.json").is_file()
    }


def fetch(wanted: dict[str, Path]) -> list[str]:
    """Download; returns what could not be had, with the reason."""
    from huggingface_hub import snapshot_download  # type: ignore[import-not-found,unused-ignore]  # not ours

    failed = []
    for repository, folder in wanted.items():
        print(f"{repository} → {folder}", file=sys.stderr)
        try:
            snapshot_download(repository, local_dir=folder, allow_patterns=list(FILES))
        except Exception as error:  # noqa: BLE001 — network, Hub and disk share no base class; each is told, the rest goes on
            failed.append(f"{repository}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description="Download the models of one of IPA's pipelines.")
    parser.add_argument("pipeline", choices=PIPELINES)
    parser.add_argument("--check", action="store_true", help="download nothing: say what is missing")
    arguments = parser.parse_args()
    wanted = missing(arguments.pipeline)
    failed = list(wanted) if arguments.check else fetch(wanted) if wanted else []
    for line in failed:
        print(f"missing: {line}", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
