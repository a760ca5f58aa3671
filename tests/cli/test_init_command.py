"""`trimtab init`: from folders of models to pipeline files that can be checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests import models
from typer.testing import CliRunner

from trimtab.cli.commands import make_app
from trimtab.errors import ModelError, SpecError
from trimtab.runtime.models.repositories import find_models
from trimtab.runtime.models.triton_config import read_config
from trimtab.runtime.wiring import check_interfaces
from trimtab.spec.load import load_pipeline
from trimtab.spec.model import Objective

CONFIG = """
name: "net"  platform: "pytorch_libtorch"  max_batch_size: 8
input [ { name: "INPUT__0" data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 2, 2 ] } } ]
output [ { name: "OUTPUT__0" data_type: TYPE_STRING dims: [ 1 ] } ]
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
instance_group [ { count: 2 kind: KIND_CPU } ]
version_policy: { specific { versions: [ 1, 3 ] } }
"""


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(make_app(), ["init", *map(str, arguments)], catch_exceptions=True)
    if isinstance(result.exception, ModelError | SpecError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_models_of_one_form_become_variants_and_tasks_are_chained(tmp_path: Path) -> None:
    models.slow(tmp_path / "scale-l.onnx", size=4)
    models.affine(tmp_path / "scale-s.onnx")
    models.affine(tmp_path / "shift.onnx", name="y", output="z")
    accuracies = [text for name in ("scale-l=0.9", "scale-s=0.8", "shift=1") for text in ("--accuracy", name)]
    told = run(tmp_path, "--chain", "scale,shift", "--slo", "200ms", *accuracies)
    assert "task scale: scale-s, scale-l" in told
    pipeline = load_pipeline(tmp_path / "pipeline.yaml")
    assert list(pipeline.tasks) == ["scale", "shift"]
    assert [e.upstream for e in pipeline.tasks["shift"].after] == ["scale"]
    assert [v.accuracy for v in pipeline.tasks["scale"].variants.values()] == [0.8, 0.9]
    assert pipeline.slo.latency_s == 0.2
    assert check_interfaces(pipeline).answers[0].name == "z"
    with pytest.raises(SpecError, match=r"the file exists(.|\n)*--force"):
        run(tmp_path)
    run(tmp_path, "--force")
    with pytest.raises(SpecError, match=r"scale-s\.accuracy: required(.|\n)*trimtab evaluate"):
        load_pipeline(tmp_path / "pipeline.yaml")


def test_the_file_shows_what_may_be_maximised(tmp_path: Path) -> None:
    models.affine(tmp_path / "m.onnx")
    run(tmp_path, "--accuracy", "m=0.9")
    path = tmp_path / "pipeline.yaml"
    written = path.read_text()
    assert load_pipeline(path).objective == Objective()
    path.write_text(written.replace("# budget:", "budget:"))
    assert load_pipeline(path).budget.cores == 4
    path.write_text(written.replace("# objective: {point_worth_cores", "objective: {point_worth_cores"))
    assert load_pipeline(path).objective == Objective.exchange(4.0)
    money = written.replace("# prices", "prices")
    path.write_text(money.replace("# objective: {point_worth_per_hour", "objective: {point_worth_per_hour"))
    assert load_pipeline(path).objective == Objective.exchange(0.3, "money")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--accuracy", "gone=0.5"], "not the accuracy of a model"),
        (["--accuracy", "m=90"], "not the accuracy of a model"),
        (["--chain", "a,b"], "not a chain of tasks"),
        (["--slo", "200"], "not a duration"),
    ],
)
def test_options_that_mean_nothing_are_refused_and_nothing_is_written(
    tmp_path: Path, arguments: list[str], match: str
) -> None:
    models.affine(tmp_path / "m.onnx")
    with pytest.raises(SpecError, match=match):
        run(tmp_path, *arguments)
    assert not (tmp_path / "pipeline.yaml").exists()


def test_a_triton_repository_is_served_as_it_stands(tmp_path: Path) -> None:
    for version in ("1", "2", "10"):
        models.affine(tmp_path / "net" / version / "model.onnx")
    (tmp_path / "net" / "config.pbtxt").write_text('backend: "onnxruntime" max_batch_size: 8')
    run(tmp_path, "--accuracy", "net=0.9")
    variant = load_pipeline(tmp_path / "pipeline.yaml").tasks["net"].variants["net"]
    assert variant.model == tmp_path.resolve() / "net" / "10" / "model.onnx"
    (tmp_path / "net" / "config.pbtxt").write_text("version_policy { specific { versions: 2 } }")
    assert find_models(tmp_path)[0].path.parent.name == "2"
    (tmp_path / "net" / "config.pbtxt").write_text("input [ {")
    with pytest.raises(ModelError, match=r"config\.pbtxt: the model's configuration cannot be read"):
        find_models(tmp_path)


def test_a_triton_configuration_says_the_tensors_of_torchscript(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text(CONFIG)
    config = read_config(tmp_path / "config.pbtxt")
    assert (config.kind, config.max_batch_size, config.versions) == ("pytorch_libtorch", 8, (1, 3))
    assert config.tensors() == {
        "inputs": {"INPUT__0": {"datatype": "FP32", "shape": [-1, 4]}},
        "outputs": {"OUTPUT__0": {"datatype": "BYTES", "shape": [-1, 1]}},
    }


def test_an_mlserver_folder_is_served_and_other_implementations_are_refused(tmp_path: Path) -> None:
    settings = tmp_path / "iris" / "model-settings.json"
    models.affine(tmp_path / "iris" / "weights.onnx")
    content = {"name": "iris", "implementation": "mlserver_onnx.OnnxModel", "parameters": {"uri": "./weights.onnx"}}
    settings.write_text(json.dumps(content))
    run(tmp_path, "--accuracy", "iris=0.9")
    assert load_pipeline(tmp_path / "pipeline.yaml").tasks["iris"].variants["iris"].runtime == "onnx"
    settings.write_text(json.dumps(content | {"implementation": "own.Model"}))
    with pytest.raises(ModelError, match=r"implementation is not served: got own\.Model(.|\n)*runtime python"):
        find_models(tmp_path)
    settings.write_text(json.dumps(content | {"parameters": {"uri": "s3://bucket/model"}}))
    with pytest.raises(ModelError, match="nothing is fetched"):
        find_models(tmp_path)
    settings.write_text("[]")
    with pytest.raises(ModelError, match="settings cannot be read"):
        find_models(tmp_path)


def test_a_folder_without_models_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no models"):
        run(tmp_path)
    with pytest.raises(ModelError, match="no such folder"):
        run(tmp_path / "gone")
