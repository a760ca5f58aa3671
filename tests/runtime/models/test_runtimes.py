"""Models of other kinds than ONNX, and where models may lie."""

from __future__ import annotations

import asyncio
import sys
from collections import UserDict
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from tests import models

from trimtab.errors import InvalidInputError, MissingExtraError, ModelError, WorkerError
from trimtab.runtime import affinity
from trimtab.runtime.models.model import ModelSource
from trimtab.runtime.models.registry import RUNTIMES, inspect_source, load_source, runtime_by_form, source_of
from trimtab.runtime.replica import Replica
from trimtab.runtime.residents import run_rows
from trimtab.runtime.wiring import check_interfaces
from trimtab.spec.load import load_pipeline
from trimtab.spec.model import Variant
from trimtab.spec.schema import RuntimeName

DOUBLER = """
class Doubler:
    inputs = [("x", "FP32", [-1, 4])]
    outputs = [("y", "FP32", [-1, 4])]

    def __init__(self, factor=2.0, threads=1):
        self.factor = factor

    def predict(self, x):
        if x[0, 0] < 0:
            raise ValueError("negative")
        return {"y": x * self.factor}


class Texts:
    inputs = [("text", "BYTES", [-1])]
    outputs = [("upper", str, [-1])]

    def predict(self, text):
        return {"upper": [item.decode().upper() for item in text]}

    def example(self, rows):
        import numpy as np
        return {"text": np.array([b"a"] * rows, object)}


class Greedy:
    inputs = outputs = [("x", "FP32", [-1])]

    def __init__(self):
        raise MemoryError("no room")


class Dead(Greedy):
    def __init__(self):
        import os
        os._exit(9)


class Quits(Greedy):
    def __init__(self):
        raise SystemExit(1)


class Liar(Doubler):
    def predict(self, x):
        return {"y": x.astype("float64")}
"""
X = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(DOUBLER)
    return path


def test_the_schema_names_the_runtimes_there_are() -> None:
    assert list(get_args(RuntimeName)) == list(RUNTIMES)


def test_the_runtime_is_found_by_the_models_form(tmp_path: Path) -> None:
    assert [runtime_by_form(Path(name)) for name in ("a.onnx", "b.skops", "c.pt2", "d.py", "e.bin")] == [
        *("onnx", "sklearn", "torchscript", "python"),
        None,
    ]
    (tmp_path / "config.json").touch()
    assert runtime_by_form(tmp_path) == "transformers"
    (tmp_path / "weights.bin").touch()
    with pytest.raises(ModelError, match=r"does not show which runtime(.|\n)*name the runtime"):
        source_of(Variant("v", tmp_path / "weights.bin", 0.5))


def test_a_class_of_ones_own_is_a_model(code: Path) -> None:
    model = load_source(ModelSource("python", code, "Doubler", {"factor": 3.0}), 1)
    np.testing.assert_array_equal(run_rows(model, {"x": X}, 2)["y"], 3 * X)
    assert not model.parallel
    assert not model.any_threads
    with pytest.raises(ModelError, match=r"own\.py:11: the model's code failed: got ValueError: negative"):
        run_rows(model, {"x": -X - 1}, 2)
    texts = load_source(ModelSource("python", code, "Texts"), 1)
    assert texts.any_threads
    example = texts.example(2)
    assert example is not None
    assert run_rows(texts, example, 2)["upper"].tolist() == [b"A", b"A"]


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        (None, r"wanted own\.py:Class"),
        ("Gone", "has no class 'Gone'"),
        ("Greedy", "not enough memory to load"),
        ("Quits", r"own\.py:\d+: the model's code failed: got SystemExit"),
    ],
)
def test_a_class_that_cannot_be_made_is_told_with_its_line(code: Path, entry: str | None, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        inspect_source(ModelSource("python", code, entry))


def test_a_model_that_breaks_its_own_interface_is_told(code: Path) -> None:
    model = load_source(ModelSource("python", code, "Liar"), 1)
    with pytest.raises(ModelError, match=r"output 'y' is not what its interface says: got float64"):
        run_rows(model, {"x": X}, 2)


def test_models_elsewhere_are_refused_also_behind_a_link(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    models.affine(outside / "m.onnx")
    inside.mkdir()
    (inside / "link.onnx").symlink_to(outside / "m.onnx")
    for name in ("link.onnx", "../out/m.onnx"):
        source = ModelSource("onnx", inside / name, folders=(inside.resolve(),))
        with pytest.raises(ModelError, match=r"outside the folders(.|\n)*--model-folder"):
            load_source(source, 1)
    assert inspect_source(ModelSource("onnx", inside / "link.onnx", folders=(outside.resolve(),))).fixed
    pipeline = inside / "pipeline.yaml"
    pipeline.write_text(
        "name: p\ntasks: {t: {variants: {v: {model: ../out/m.onnx, accuracy: 0.9}}}}\nslo: {latency: 1s}\n"
    )
    with pytest.raises(ModelError, match=r"task 't', variant 'v': (.|\n)*outside the folders"):
        check_interfaces(load_pipeline(pipeline))
    assert check_interfaces(load_pipeline(pipeline), folders=[outside]).models["t"]["v"].runtime == "onnx"


def test_an_estimator_stands_beside_models_of_other_runtimes(tmp_path: Path, code: Path) -> None:
    joblib = pytest.importorskip("joblib", reason="needs joblib")
    linear_model = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    estimator = linear_model.LogisticRegression().fit(
        np.repeat(np.eye(4), 5, axis=0), np.repeat(["a", "b", "c", "d"], 5)
    )
    joblib.dump(estimator, tmp_path / "lr.joblib")
    plain = load_source(ModelSource("sklearn", tmp_path / "lr.joblib"), 1)
    assert [(i.name, i.dtype.kind, i.shape) for i in (*plain.interface.inputs, *plain.interface.outputs)] == [
        ("x", "f", (-1, 4)),
        ("predict", "O", (-1,)),
        ("predict_proba", "f", (-1, 4)),
    ]
    assert run_rows(plain, {"x": X}, 2)["predict"].tolist() == [s.encode() for s in estimator.predict(X)]
    models.affine(tmp_path / "other.onnx", size=4)
    head = "name: p\nslo: {latency: 1s}\ntasks: {t: {variants: {\n"
    outputs = "{y: {datatype: FP32, shape: [-1, 4], from: predict_proba}}"
    (tmp_path / "p.yaml").write_text(
        f"{head}  lr: {{model: lr.joblib, accuracy: 0.8, options: {{outputs: {outputs}}}}},\n"
        f"  other: {{model: other.onnx, accuracy: 0.9}}, own: {{model: '{code.name}:Doubler', accuracy: 0.7}}}}}}}}\n"
    )
    wiring = check_interfaces(load_pipeline(tmp_path / "p.yaml"))
    assert [source.runtime for source in wiring.models["t"].values()] == ["sklearn", "onnx", "python"]
    for wrong, match in (
        ({"outputs": {"y": {"datatype": "FP33", "shape": [-1]}}}, "no datatype"),
        ({"outputs": {"y": {"datatype": "FP32", "shape": [-1], "from": "nope"}}}, "no method 'nope'"),
        ({"trust": 1}, "an option is wrong"),
    ):
        with pytest.raises(ModelError, match=match):
            load_source(ModelSource("sklearn", tmp_path / "lr.joblib", None, wrong), 1)
    models.corrupt(tmp_path / "bad.joblib")
    with pytest.raises(ModelError, match=r"bad\.joblib"):
        inspect_source(ModelSource("sklearn", tmp_path / "bad.joblib"))


def test_a_skops_file_is_loaded_as_far_as_its_types_are_trusted(tmp_path: Path) -> None:
    skops_io = pytest.importorskip("skops.io", reason="needs skops")
    linear_model = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    estimator = linear_model.LinearRegression().fit(np.eye(4), np.arange(4.0))
    path = tmp_path / "lr.skops"
    skops_io.dump(estimator, path)
    model = load_source(ModelSource("sklearn", path), 1)
    np.testing.assert_allclose(run_rows(model, {"x": X}, 2)["predict"].astype(float), estimator.predict(X))
    estimator.marker = UserDict()
    skops_io.dump(estimator, path)
    with pytest.raises(ModelError, match=r"not trusted: got collections\.UserDict(.|\n)*options\.trusted"):
        load_source(ModelSource("sklearn", path), 1)
    trusted = ModelSource("sklearn", path, None, {"trusted": ["collections.UserDict"]})
    assert load_source(trusted, 1).interface.inputs[0].shape == (-1, 4)
    models.corrupt(path)
    with pytest.raises(ModelError, match=r"lr\.skops"):
        load_source(ModelSource("sklearn", path), 1)


def test_a_runtime_whose_library_is_absent_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.pt").touch()
    (tmp_path / "config.json").write_text('{"architectures": ["BertForSequenceClassification"]}')
    monkeypatch.setitem(sys.modules, "torch", None)
    form = {"inputs": {"x": {"datatype": "FP32", "shape": [-1, 4]}}}
    form["outputs"] = form["inputs"]
    with pytest.raises(MissingExtraError, match=r"trimtab\[torch\]"):
        load_source(ModelSource("torchscript", tmp_path / "m.pt", None, form), 1)
    with pytest.raises(MissingExtraError, match=r"trimtab\[transformers\]"):
        load_source(ModelSource("transformers", tmp_path), 1)
    assert [i.name for i in inspect_source(ModelSource("transformers", tmp_path)).outputs] == ["label", "score"]
    with pytest.raises(ModelError, match="does not say its inputs"):
        load_source(ModelSource("torchscript", tmp_path / "m.pt"), 1)


@pytest.mark.live
def test_a_worker_serves_text_and_survives_a_model_that_does_not_fit(code: Path) -> None:
    async def act() -> None:
        replica = await Replica.start(
            replica_id="r",
            task="t",
            models={"texts": ModelSource("python", code, "Texts", folders=(code.parent.resolve(),))},
            core_ids=affinity.usable_cores()[:1],
            threads=1,
            thread_options=(1,),
            warm_batches=(2,),
        )
        try:
            assert replica.examples["texts"]["text"].tolist() == [b"a"]
            text = {"text": np.array([b"abc", "ü".encode(), b""], object)}
            for entry, error in (("Greedy", "not enough memory"), ("Quits", "SystemExit")):
                with pytest.raises(ModelError, match=error):
                    await replica.load("texts", ModelSource("python", code, entry))
            with pytest.raises(ModelError, match="outside the folders"):
                await replica.load("texts", ModelSource("python", code, "Texts", folders=(code.parent / "x",)))
            result = await replica.run("texts", text)
            assert result.outputs["upper"].tolist() == [b"ABC", "Ü".encode(), b""]
            with pytest.raises(InvalidInputError, match="cannot be sent"):
                await replica.run("texts", {"text": np.array([None], object)})
            with pytest.raises(WorkerError, match="exited with code 9"):
                await replica.load("dead", ModelSource("python", code, "Dead"))
        finally:
            await replica.stop(1.0)

    asyncio.run(act())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_real_torchscript_model_gives_what_the_module_gives(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    module = torch.nn.Linear(4, 3)
    torch.jit.trace(module, torch.zeros(1, 4)).save(str(tmp_path / "m.pt"))
    form = {
        "inputs": {"x": {"datatype": "FP32", "shape": [-1, 4]}},
        "outputs": {"y": {"datatype": "FP32", "shape": [-1, 3]}},
    }
    model = load_source(ModelSource("torchscript", tmp_path / "m.pt", None, form), 1)
    wanted = module(torch.tensor(X)).detach().numpy()
    np.testing.assert_allclose(run_rows(model, {"x": X}, 2)["y"].astype(float), wanted, rtol=1e-5)
    exported = torch.export.export(module, (torch.zeros(2, 4),), dynamic_shapes=({0: torch.export.Dim("rows")},))
    torch.export.save(exported, tmp_path / "m.pt2")
    model = load_source(ModelSource("torchscript", tmp_path / "m.pt2", None, form), 1)
    np.testing.assert_allclose(run_rows(model, {"x": X}, 2)["y"].astype(float), wanted, rtol=1e-5)


def test_a_real_text_classifier_answers_from_a_local_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra transformers")
    pytest.importorskip("torch", reason="needs the extra transformers")
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]))
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = transformers.BertConfig(
        vocab_size=13, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    model = load_source(ModelSource("transformers", tmp_path), 1)
    outputs = run_rows(model, {"text": np.array([b"a b", b"c"], object)}, 2)
    assert set(outputs["label"].tolist()) <= {b"LABEL_0", b"LABEL_1"}
    assert all(0.5 <= score <= 1 for score in outputs["score"].tolist())
