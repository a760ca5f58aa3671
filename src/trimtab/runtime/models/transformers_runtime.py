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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.errors import InvalidInputError, MissingExtraError, ModelError
from trimtab.runtime.frames import BYTES
from trimtab.runtime.models.declared import known_options, option
from trimtab.runtime.models.model import Interface, ModelSource
from trimtab.runtime.service import Tensor, TensorInfo

_FLOAT = np.dtype(np.float32)
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


def _text(name: str) -> TensorInfo:
    return TensorInfo(name, BYTES, (-1,))


def _image() -> TensorInfo:
    return TensorInfo("image", np.dtype(np.uint8), (-1, -1, -1, 3))


_BEST = (_text("label"), TensorInfo("score", _FLOAT, (-1,)))


def interface_of(task: str, top: int) -> Interface:
    """What models of a task take and give; `top` is the number of objects told of an image."""
    found = (
        TensorInfo("label", BYTES, (-1, top)),
        TensorInfo("score", _FLOAT, (-1, top)),
        TensorInfo("box", _FLOAT, (-1, top, 4)),
    )
    known = {
        "text-classification": ((_text("text"),), _BEST),
        "question-answering": (
            (_text("question"), _text("context")),
            (_text("answer"), TensorInfo("score", _FLOAT, (-1,))),
        ),
        "summarization": ((_text("text"),), (_text("summary"),)),
        "translation": ((_text("text"),), (_text("translation"),)),
        "automatic-speech-recognition": ((TensorInfo("audio", _FLOAT, (-1, -1)),), (_text("text"),)),
        "image-classification": ((_image(),), _BEST),
        "object-detection": ((_image(),), found),
    }
    return Interface(*known[task])


TASKS = (
    "text-classification",
    "question-answering",
    "summarization",
    "translation",
    "automatic-speech-recognition",
    "image-classification",
    "object-detection",
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the folder and the options say."""

    task: str
    top: int
    max_new_tokens: int


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
            answer = _MAKERS[wanted.task](_Library(transformers, torch, str(source.path)), wanted)
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

    def __init__(self, torch: Any, answer: Answer, wanted: _Wanted, threads: int) -> None:
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
                tone = np.sin(np.arange(16_000, dtype=np.float32) * (2 * np.pi * 440 / 16_000)).astype(_FLOAT)
                example[info.name] = np.tile(tone, (rows, 1))
            else:
                example[info.name] = np.full((rows, 224, 224, 3), 127, np.uint8)
        return example


Answer = Callable[[Mapping[str, Any]], dict[str, Tensor]]
"""From a batch, with text as lists of str, to the outputs."""


@dataclass(frozen=True, slots=True)
class _Library:
    """The libraries and the folder, with the arguments that keep both to themselves."""

    transformers: Any
    torch: Any
    folder: str

    def made(self, kind: str) -> Any:
        """One of the library's `Auto…` classes, from the folder."""
        auto = getattr(self.transformers, kind)
        made = auto.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)
        return made.eval() if kind.startswith("AutoModel") else made

    def encoded(self, tokenizer: Any, *texts: list[str], model: Any) -> Any:
        """Text as the model's numbers, cut at what it can take."""
        limit = getattr(model.config, "max_position_embeddings", None)
        longest = min(tokenizer.model_max_length, limit or tokenizer.model_max_length)
        limits = {"truncation": True, "max_length": longest} if longest < 1_000_000 else {}
        return tokenizer(*texts, return_tensors="pt", padding=True, **limits)


def _classify_text(library: _Library, wanted: _Wanted) -> Answer:
    del wanted
    tokenizer, model = library.made("AutoTokenizer"), library.made("AutoModelForSequenceClassification")

    def answer(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        logits = model(**library.encoded(tokenizer, inputs["text"], model=model)).logits
        return _best(logits, model.config.id2label)

    return answer


def _best(logits: Any, labels: Mapping[int, str]) -> dict[str, Tensor]:
    scores, places = logits.softmax(-1).max(-1)
    return {"label": np.array([labels[int(place)] for place in places]), "score": scores.float().numpy()}


def _answer_questions(library: _Library, wanted: _Wanted) -> Answer:
    """The span of the context with the highest probability of its start times that of its end, at most 30 tokens."""
    del wanted
    tokenizer, model, torch = (
        library.made("AutoTokenizer"),
        library.made("AutoModelForQuestionAnswering"),
        library.torch,
    )

    def one(question: str, context: str) -> tuple[str, float]:
        longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512))
        encoded = tokenizer(
            question,
            context,
            return_tensors="pt",
            truncation="only_second",
            max_length=longest,
            return_offsets_mapping=True,
        )
        offsets = encoded.pop("offset_mapping")[0]
        in_context = torch.tensor([part == 1 for part in encoded.sequence_ids(0)])
        if not in_context.any():
            return "", 0.0
        given = model(**encoded)
        starts = given.start_logits[0].masked_fill(~in_context, -torch.inf).softmax(-1)
        ends = given.end_logits[0].masked_fill(~in_context, -torch.inf).softmax(-1)
        spans = torch.triu(starts[:, None] * ends[None, :]).tril(30)
        start, end = divmod(int(spans.argmax()), spans.shape[1])
        return context[int(offsets[start][0]) : int(offsets[end][1])], float(spans.max())

    def answer(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        found = [one(*pair) for pair in zip(inputs["question"], inputs["context"], strict=True)]
        return {"answer": np.array([text for text, _ in found]), "score": np.array([s for _, s in found], _FLOAT)}

    return answer


def _generate(library: _Library, wanted: _Wanted) -> Answer:
    tokenizer, model = library.made("AutoTokenizer"), library.made("AutoModelForSeq2SeqLM")
    (output,) = interface_of(wanted.task, wanted.top).outputs

    def answer(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        encoded = library.encoded(tokenizer, inputs["text"], model=model)
        made = model.generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            max_new_tokens=wanted.max_new_tokens,
        )
        return {output.name: np.array(tokenizer.batch_decode(made, skip_special_tokens=True))}

    return answer


def _hear(library: _Library, wanted: _Wanted) -> Answer:
    """The library's pipeline decodes; its parts are loaded here, because it has no switch to stay offline itself."""
    del wanted
    of_text = type(library.made("AutoConfig")) in library.transformers.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING
    extractor = library.made("AutoFeatureExtractor")
    pipeline = library.transformers.pipeline(
        "automatic-speech-recognition",
        model=library.made("AutoModelForSpeechSeq2Seq" if of_text else "AutoModelForCTC"),
        tokenizer=library.made("AutoTokenizer"),
        feature_extractor=extractor,
        device="cpu",
    )

    def answer(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        samples = [{"raw": np.array(row), "sampling_rate": extractor.sampling_rate} for row in inputs["audio"]]
        return {"text": np.array([given["text"] for given in pipeline(samples)])}

    return answer


def _classify_images(library: _Library, wanted: _Wanted) -> Answer:
    del wanted
    processor, model = library.made("AutoImageProcessor"), library.made("AutoModelForImageClassification")

    def answer(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        logits = model(**processor(list(inputs["image"]), return_tensors="pt")).logits
        return _best(logits, model.config.id2label)

    return answer


def _detect(library: _Library, wanted: _Wanted) -> Answer:
    processor, model = library.made("AutoImageProcessor"), library.made("AutoModelForObjectDetection")

    def answer(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        images = list(inputs["image"])
        given = model(**processor(images, return_tensors="pt"))
        sizes = [image.shape[:2] for image in images]
        found = processor.post_process_object_detection(given, threshold=0.0, target_sizes=sizes)
        labels = np.full((len(images), wanted.top), "", object)
        scores = np.zeros((len(images), wanted.top), _FLOAT)
        boxes = np.zeros((len(images), wanted.top, 4), _FLOAT)
        for row, objects in enumerate(found):
            best = objects["scores"].argsort(descending=True)[: wanted.top]
            labels[row, : len(best)] = [model.config.id2label[int(objects["labels"][i])] for i in best]
            scores[row, : len(best)] = objects["scores"][best].numpy()
            boxes[row, : len(best)] = objects["boxes"][best].numpy()
        return {"label": labels, "score": scores, "box": boxes}

    return answer


_MAKERS: Mapping[str, Callable[[_Library, _Wanted], Answer]] = {
    "text-classification": _classify_text,
    "question-answering": _answer_questions,
    "summarization": _generate,
    "translation": _generate,
    "automatic-speech-recognition": _hear,
    "image-classification": _classify_images,
    "object-detection": _detect,
}


def _texts(name: str, array: Tensor) -> list[str]:
    try:
        return [item.decode() for item in array.tolist()]
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"input '{name}' is no text", got=str(error), wanted="UTF-8") from error


def _read(source: ModelSource) -> _Wanted:
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
    return _Wanted(task, top, max_new_tokens)
