"""Hugging Face models from a local folder (`save_pretrained`, or a downloaded snapshot): text, speech and images.

Nothing is fetched, and no code from the folder runs: the library is told to stay offline and never to trust remote
code, and weights are read as safetensors where they are there. The task is read from the folder's `config.json`, unless
the option `task` names it.

    text-classification            text → label, score
    question-answering             question, context → answer, score
    summarization, translation     text → text
    automatic-speech-recognition   audio (samples at the model's own rate) → text
    image-classification           image (height, width, RGB) → label, score
    object-detection               image → label, score, box (x and y of two corners), the `top` best of each image

Text is BYTES, scores are FP32, audio is FP32, images are UINT8.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from trimtab.errors import InvalidInputError, MissingExtraError, ModelError
from trimtab.runtime.frames import BYTES
from trimtab.runtime.models.declared import known_options, option
from trimtab.runtime.models.model import Interface, ModelSource
from trimtab.runtime.models.transformers_tasks import MAKERS, TASKS, Answer, Library, Wanted, interface_of
from trimtab.runtime.service import Tensor

_ENDINGS = {
    "ForSequenceClassification": "text-classification",
    "ForQuestionAnswering": "question-answering",
    "ForSpeechSeq2Seq": "automatic-speech-recognition",
    "ForCTC": "automatic-speech-recognition",
    "ForImageClassification": "image-classification",
    "ForObjectDetection": "object-detection",
    "MTModel": "translation",
    "MarianMTModel": "translation",
}
"""How the name of a model's class ends → its task. `…ForConditionalGeneration` may be any of several."""
_OPTIONS = ("task", "top", "max_new_tokens")
_EXAMPLE_TEXT = "The tide turned in the afternoon, and the boats went out again past the old lighthouse."


class TransformersRuntime:
    """Loads folders."""

    name = "transformers"

    def inspect(self, source: ModelSource) -> Interface:
        """By the folder's task; the weights are not read."""
        wanted = _read(source)
        return interface_of(wanted.task, wanted.top)

    def load(self, source: ModelSource, threads: int) -> TransformersModel:
        """The model with all that prepares its inputs."""
        wanted = _read(source)
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a replica's threads are those it was given
        try:
            import torch
            import transformers  # type: ignore[import-not-found]
        except ImportError as error:
            raise MissingExtraError(error.name or "transformers", "transformers", "a Hugging Face model") from None
        torch.set_num_threads(threads)
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        try:
            answer = MAKERS[wanted.task](Library(transformers, torch, str(source.path)), wanted)
        except ImportError as error:  # Pillow for images, sentencepiece for some tokenizers
            raise MissingExtraError(error.name or str(error).split("\n")[0], "transformers", "this model") from error
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(
                "transformers cannot load the model",
                where=str(source.path),
                got=" ".join(str(error).split())[:400],
                wanted=f"a folder that save_pretrained wrote, for the task {wanted.task}",
            ) from error
        return TransformersModel(torch, answer, wanted, threads)


class TransformersModel:
    """A loaded model with its preparation, one batch at a time: tokenizers keep state while they run."""

    parallel = False
    any_threads = False

    def __init__(self, torch: Any, answer: Answer, wanted: Wanted, threads: int) -> None:
        self.interface = interface_of(wanted.task, wanted.top)
        self._torch = torch
        self._answer = answer
        self._threads = threads

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The whole batch at once."""
        self._torch.set_num_threads(self._threads)
        given = {name: _texts(name, array) if array.dtype == BYTES else array for name, array in inputs.items()}
        with self._torch.inference_mode():
            return self._answer(given)

    def example(self, rows: int) -> Mapping[str, Tensor]:
        """A sentence; a second of a tone, at 16 kHz; a grey picture of 224 × 224."""
        example: dict[str, Tensor] = {}
        for info in self.interface.inputs:
            if info.dtype == BYTES:
                example[info.name] = np.full(rows, None, BYTES)
                example[info.name][:] = [_EXAMPLE_TEXT.encode()] * rows
            elif info.name == "audio":
                tone = np.sin(np.arange(16_000, dtype=np.float32) * (2 * np.pi * 440 / 16_000)).astype(np.float32)
                example[info.name] = np.tile(tone, (rows, 1))
            else:
                example[info.name] = np.full((rows, 224, 224, 3), 127, np.uint8)
        return example


def _texts(name: str, array: Tensor) -> list[str]:
    try:
        return [item.decode() for item in array.tolist()]
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"input '{name}' is no text", got=str(error), wanted="UTF-8") from error


def _read(source: ModelSource) -> Wanted:
    """The folder's task.

    Raises:
        ModelError: it is no folder of a model, or its task is unknown or not served.
    """
    known_options(source, _OPTIONS)
    path = source.path / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        classes = [str(name) for name in config.get("architectures") or ()]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        got = " ".join(str(error).split())[:200]
        raise ModelError("the folder's config.json cannot be read", where=str(path), got=got) from error
    shown = [task for name in classes for ending, task in _ENDINGS.items() if name.endswith(ending)]
    task = option(source, "task", shown[0] if shown else None, str, "the name of a task")
    if task not in TASKS:
        raise ModelError(
            "the model's task is not known" if task is None else "models of this task are not served",
            where=str(path),
            got=task or ", ".join(classes) or "no architectures",
            wanted="one of " + ", ".join(TASKS),
            next_step="name it in the pipeline file: options: {task: summarization}",
        )
    top = option(source, "top", 10, int, "a number of objects")
    max_new_tokens = option(source, "max_new_tokens", 64, int, "a number of tokens")
    if min(top, max_new_tokens) < 1:
        raise ModelError("an option is out of range", where=str(source.path), wanted="numbers of at least 1")
    return Wanted(task, top, max_new_tokens)
