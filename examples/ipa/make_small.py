"""Make a small stand-in for every model of IPA's text and speech pipelines: the same file forms, random weights.

    pip install 'trimtab[transformers]'
    python examples/ipa/make_small.py sum-qa -o /tmp/ipa    # then: trimtab check /tmp/ipa/sum-qa.yaml

They answer nonsense, quickly: good for seeing a pipeline load, wire and run without a gigabyte of weights.
"""

from __future__ import annotations

import argparse
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trimtab.spec.load import load_pipeline

HERE = Path(__file__).resolve().parent
PIPELINES = ("audio-qa", "audio-sent", "sum-qa", "nlp")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase), "."]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def make(task: str, folder: Path) -> None:
    """Write a small model for `task` (as `options.task` in the pipeline files names it) with its tokenizer."""
    import torch

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    MAKERS[task](folder)


def _tokenizer(folder: Path) -> Any:
    """Letters for words: it knows every text in ASCII."""
    from transformers import BertTokenizerFast  # type: ignore[import-not-found,unused-ignore]  # an extra

    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    made = BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=128)
    made.save_pretrained(folder)
    return made


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


def _speech(folder: Path) -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    letters = ["<pad>", "<unk>", "|", *string.ascii_uppercase]
    (folder / "vocab.json").write_text("{" + ", ".join(f'"{c}": {i}' for i, c in enumerate(letters)) + "}")
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), bos_token=None, eos_token=None).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    config = Wav2Vec2Config(
        vocab_size=len(letters),
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        **SIZES,
    )
    Wav2Vec2ForCTC(config).save_pretrained(folder)


MAKERS: dict[str, Callable[[Path], None]] = {
    "automatic-speech-recognition": _speech,
    "question-answering": _encoder("QuestionAnswering"),
    "text-classification": _encoder("SequenceClassification"),
    "summarization": _summariser,
    "translation": _summariser,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make small stand-ins for the models of one of IPA's pipelines.")
    parser.add_argument("pipeline", choices=PIPELINES)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the pipeline file and its models")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / f"{arguments.pipeline}.yaml"
    shutil.copyfile(HERE / file.name, file)
    for task in load_pipeline(file, check_files=False).tasks.values():
        for variant in task.variants.values():
            assert variant.model is not None, "every variant of these pipelines has a model"
            make(variant.options["task"], variant.model)
            print(variant.model)


if __name__ == "__main__":
    main()
