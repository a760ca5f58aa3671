"""What Hugging Face models do, task by task: the tensors of each, and how a batch is answered with the library's parts.

A new task is a line in `interface_of`, `TASKS` and `MAKERS`, and a function that makes its `Answer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.runtime.frames import BYTES
from trimtab.runtime.models.model import Interface
from trimtab.runtime.service import Tensor, TensorInfo

_FLOAT = np.dtype(np.float32)


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
"""The tasks that are served."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the folder and the options say."""

    task: str
    top: int
    max_new_tokens: int


Answer = Callable[[Mapping[str, Any]], dict[str, Tensor]]
"""From a batch, with text as lists of str, to the outputs."""


@dataclass(frozen=True, slots=True)
class Library:
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


def _classify_text(library: Library, wanted: Wanted) -> Answer:
    del wanted
    tokenizer, model = library.made("AutoTokenizer"), library.made("AutoModelForSequenceClassification")

    def answer(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        logits = model(**library.encoded(tokenizer, inputs["text"], model=model)).logits
        return _best(logits, model.config.id2label)

    return answer


def _best(logits: Any, labels: Mapping[int, str]) -> dict[str, Tensor]:
    scores, places = logits.softmax(-1).max(-1)
    return {"label": np.array([labels[int(place)] for place in places]), "score": scores.float().numpy()}


def _answer_questions(library: Library, wanted: Wanted) -> Answer:
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


def _generate(library: Library, wanted: Wanted) -> Answer:
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


def _hear(library: Library, wanted: Wanted) -> Answer:
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


def _classify_images(library: Library, wanted: Wanted) -> Answer:
    del wanted
    processor, model = library.made("AutoImageProcessor"), library.made("AutoModelForImageClassification")

    def answer(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        logits = model(**processor(list(inputs["image"]), return_tensors="pt")).logits
        return _best(logits, model.config.id2label)

    return answer


def _detect(library: Library, wanted: Wanted) -> Answer:
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


MAKERS: Mapping[str, Callable[[Library, Wanted], Answer]] = {
    "text-classification": _classify_text,
    "question-answering": _answer_questions,
    "summarization": _generate,
    "translation": _generate,
    "automatic-speech-recognition": _hear,
    "image-classification": _classify_images,
    "object-detection": _detect,
}
"""Task → what loads its parts from a folder and makes its answer."""
