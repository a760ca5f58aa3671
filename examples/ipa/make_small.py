"""Make a small stand-in for every model of one of IPA's pipelines, in the same file forms.

    python examples/ipa/make_small.py video -o /tmp/ipa     # needs onnx
    python examples/ipa/make_small.py sum-qa -o /tmp/ipa    # the others need 'trimtab[transformers]' sentencepiece
    trimtab check /tmp/ipa/video.yaml

They are good for seeing a pipeline load, wire and answer without gigabytes of weights. Those of text and speech have
random weights and answer nonsense; the detectors of `video` find bright squares, and its classifiers tell their colour.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import string
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trimtab.spec.load import load_pipeline
from trimtab.spec.model import Variant

HERE = Path(__file__).resolve().parent
PIPELINES = ("video", "audio-qa", "audio-sent", "sum-qa", "nlp")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase), "."]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SIDE, CELLS = 64, 4
"""Pixels of the small detectors' side; boxes along it."""


def make(task: str, variant: Variant) -> Path:
    """Write a small model for a variant of `task`; returns where."""
    assert variant.model is not None, "every variant of these pipelines has a model"
    made = variant.model
    if task == "detect":  # the variant's model is the class that opens the network
        made = made.parent / str(variant.options["model"])
        _detector(made)
    elif task == "classify":
        _classifier(made)
    else:
        make_folder(variant.options["task"], made)
    return made


def make_folder(task: str, folder: Path) -> None:
    """Write a small Hugging Face model for `task` (as `options.task` in the pipeline files names it)."""
    import torch

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    MAKERS[task](folder)


def _tokenizer(folder: Path) -> None:
    """Letters for words: it knows every text in ASCII."""
    from transformers import BertTokenizerFast  # type: ignore[import-not-found,unused-ignore]  # an extra

    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    BertTokenizerFast.from_pretrained(folder, model_max_length=128).save_pretrained(folder)


def _encoder(kind: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        import transformers

        _tokenizer(folder)
        config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=128, **SIZES)
        getattr(transformers, f"BertFor{kind}")(config).save_pretrained(folder)

    return write


def _summariser(folder: Path) -> None:
    from transformers import BartConfig, BartForConditionalGeneration

    _tokenizer(folder)
    config = BartConfig(
        vocab_size=len(WORDS), d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=128,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=2, forced_eos_token_id=3,
    )  # fmt: skip
    BartForConditionalGeneration(config).save_pretrained(folder)


def _pieces() -> bytes:
    """A SentencePiece model that knows the letters."""
    import sentencepiece  # type: ignore[import-not-found,unused-ignore]  # comes with the extra

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(string.ascii_lowercase)] * 9), model_writer=made, model_type="char",
        vocab_size=64, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return made.getvalue()


def _vocabulary(file: Path, words: list[str]) -> str:
    file.write_text(json.dumps({word: place for place, word in enumerate(words)}))
    return str(file)


def _translator(folder: Path) -> None:
    import transformers

    words = ["</s>", "<unk>", "▁", *string.ascii_lowercase, "<pad>"]
    files = {f"{side}_spm": str(folder / f"{side}.spm") for side in ("source", "target")}
    for file in files.values():
        Path(file).write_bytes(_pieces())
    vocabulary = _vocabulary(folder / "vocab.json", words)
    transformers.MarianTokenizer(**files, vocab=vocabulary, model_max_length=128).save_pretrained(folder)
    pad = len(words) - 1
    config = transformers.MarianConfig(
        vocab_size=len(words), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=128,
        pad_token_id=pad, bos_token_id=0, eos_token_id=0, forced_eos_token_id=0, decoder_start_token_id=pad,
    )  # fmt: skip
    transformers.MarianMTModel(config).save_pretrained(folder)


def _speech(folder: Path) -> None:
    import transformers

    pieces = folder / "sentencepiece.bpe.model"
    pieces.write_bytes(_pieces())
    words = ["<s>", "<pad>", "</s>", "<unk>", "▁", *string.ascii_lowercase]
    vocabulary = _vocabulary(folder / "vocab.json", words)
    transformers.Speech2TextTokenizer(vocabulary, str(pieces)).save_pretrained(folder)
    transformers.Speech2TextFeatureExtractor(feature_size=16, num_mel_bins=16).save_pretrained(folder)
    config = transformers.Speech2TextConfig(
        vocab_size=len(words), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, input_feat_per_channel=16, conv_channels=16,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2,
    )  # fmt: skip
    transformers.Speech2TextForConditionalGeneration(config).save_pretrained(folder)


def _detector(file: Path) -> None:
    """Cuts the image into cells; a cell's box is as certain as the cell's brightest colour is bright."""
    step = SIDE // CELLS
    middle = (np.arange(CELLS, dtype=np.float32) + 0.5) * step
    y, x = np.meshgrid(middle, middle, indexing="ij")
    boxes = np.stack([x, y, np.full_like(x, step), np.full_like(x, step)], axis=-1).reshape(1, CELLS**2, 4)
    nodes = [
        helper.make_node("AveragePool", ["image"], ["cells"], kernel_shape=[step, step], strides=[step, step]),
        helper.make_node("ReduceMax", ["cells"], ["bright"], axes=[1], keepdims=1),
        helper.make_node("Reshape", ["bright", "one_a_cell"], ["certain"]),
        helper.make_node("Mul", ["certain", "no_boxes"], ["nothing"]),
        helper.make_node("Add", ["nothing", "places"], ["where"]),
        helper.make_node("Sub", ["certain", "certain"], ["zero"]),
        helper.make_node("Add", ["zero", "one"], ["kind"]),
        helper.make_node("Concat", ["where", "certain", "kind"], ["boxes"], axis=2),
    ]
    weights = {
        "one_a_cell": np.array([0, CELLS**2, 1], np.int64),
        "no_boxes": np.zeros_like(boxes),
        "places": boxes,
        "one": np.array(1, np.float32),
    }
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["rows", 3, SIDE, SIDE])
    _save(file, nodes, image, [("boxes", TensorProto.FLOAT, ["rows", CELLS**2, 6])], weights)


def _classifier(file: Path) -> None:
    """The strongest of a crop's colours: 0 red, 1 green, 2 blue."""
    nodes = [
        helper.make_node("Cast", ["crop"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["colours"], axes=[1, 2], keepdims=0),
        helper.make_node("ArgMax", ["colours"], ["label"], axis=1, keepdims=0),
        helper.make_node("Softmax", ["colours"], ["shares"], axis=1),
        helper.make_node("ReduceMax", ["shares"], ["score"], axes=[1], keepdims=0),
    ]
    crop = helper.make_tensor_value_info("crop", TensorProto.UINT8, ["rows", 224, 224, 3])
    _save(file, nodes, crop, [("label", TensorProto.INT64, ["rows"]), ("score", TensorProto.FLOAT, ["rows"])], {})


def _save(
    file: Path,
    nodes: list[onnx.NodeProto],
    entry: onnx.ValueInfoProto,
    outputs: list[tuple[str, int, list[int | str]]],
    weights: dict[str, np.ndarray],
) -> None:
    graph = helper.make_graph(
        nodes, file.stem, [entry], [helper.make_tensor_value_info(*output) for output in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, file)


MAKERS: dict[str, Callable[[Path], None]] = {
    "automatic-speech-recognition": _speech,
    "question-answering": _encoder("QuestionAnswering"),
    "text-classification": _encoder("SequenceClassification"),
    "summarization": _summariser,
    "translation": _translator,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make small stand-ins for the models of one of IPA's pipelines.")
    parser.add_argument("pipeline", choices=PIPELINES)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the pipeline file and its models")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / f"{arguments.pipeline}.yaml"
    shutil.copyfile(HERE / file.name, file)
    if arguments.pipeline == "video":
        shutil.copyfile(HERE / "detector.py", arguments.output / "detector.py")
    for task in load_pipeline(file, check_files=False).tasks.values():
        for variant in task.variants.values():
            print(make(task.name, variant))


if __name__ == "__main__":
    main()
