"""The digits example keeps its promises: disjoint splits, seeded scenes, interchangeable models, accuracies as
measured.
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("sklearn", reason="the digits come with scikit-learn: pip install 'trimtab[examples]'")

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
INTERFACE = {
    "locate": (
        [("scene", ["N", 1, 96, 96], "tensor(uint8)")],
        [("center", ["N", 2], "tensor(float)"), ("crop", ["N", 1, 48, 48], "tensor(float)")],
    ),
    "read": (
        [("crop", ["N", 1, 48, 48], "tensor(float)")],
        [("scores", ["N", 10], "tensor(float)"), ("digit", ["N"], "tensor(int64)")],
    ),
}
PIPELINE = yaml.safe_load((DIGITS / "pipeline.yaml").read_text())
ACCURACY = json.loads((DIGITS / "accuracy.json").read_text())
VARIANTS = [(task, name) for task, entry in PIPELINE["tasks"].items() for name in entry["variants"]]
COUNT, SEED = 200, 7  # the first scenes of those that accuracy.json is about


def load(name: str) -> ModuleType:
    """A module of the example, which is a folder of scripts and no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, DIGITS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


scenes: Any = load("scenes")
evaluate: Any = load("evaluate")


def open_model(name: str) -> Any:
    return evaluate.open_model(name)


@pytest.fixture(scope="module")
def test_scenes() -> Any:
    return scenes.make_scenes("test", COUNT, SEED)


def test_splits_are_disjoint_and_complete_down_to_the_original() -> None:
    split = scenes.split_indices()
    everything = np.concatenate([split[name] for name in scenes.SPLITS])
    assert len(everything) == 1797
    assert len(np.unique(everything)) == 1797


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_scenes_show_originals_of_their_own_split_and_all_classes(split: str) -> None:
    made = scenes.make_scenes(split, 120, 3)
    assert set(made.original) <= set(scenes.split_indices()[split])
    assert set(made.digit) == set(range(10))
    assert set(scenes.originals(split).index) == set(scenes.split_indices()[split])  # the clutter's source too


def test_scenes_depend_on_split_seed_and_place_alone() -> None:
    whole, again = scenes.make_scenes("test", 12, 5), scenes.make_scenes("test", 5, 5, first=7)
    assert np.array_equal(whole.scene[7:], again.scene)
    assert np.array_equal(whole.digit[7:], again.digit)
    assert not np.array_equal(whole.scene, scenes.make_scenes("test", 12, 6).scene)
    assert whole.scene.shape == (12, 1, 96, 96)
    assert whole.scene.dtype == np.uint8
    assert whole.digit.dtype == np.int64


def test_the_digit_lies_inside_its_scene_and_its_crop(test_scenes: Any) -> None:
    reach = test_scenes.size[:, None] / 2
    assert np.all(test_scenes.center - reach >= 0)
    assert np.all(test_scenes.center + reach <= scenes.SCENE)
    assert np.all(reach + evaluate.TOLERANCE <= scenes.CROP / 2)


@pytest.mark.parametrize("arguments", [("tset", 3), ("test", 0)])
def test_scenes_refuse_an_unknown_split_and_an_empty_set(arguments: tuple[str, int]) -> None:
    with pytest.raises(ValueError, match="wanted"):
        scenes.make_scenes(*arguments, 1)


def test_the_command_writes_the_same_scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "deep" / "test.npz"
    monkeypatch.setattr(sys, "argv", ["scenes.py", "--split", "test", "--count", "4", "--seed", "9", "-o", str(target)])
    scenes.main()
    with np.load(target) as stored:
        assert np.array_equal(stored["scene"], scenes.make_scenes("test", 4, 9).scene)
        assert {"scene", "digit", "center"} <= set(stored)


@pytest.mark.parametrize(("task", "name"), VARIANTS)
def test_every_model_has_the_interface_of_its_task(task: str, name: str) -> None:
    session = open_model(name)
    inside, outside = INTERFACE[task]
    assert [(each.name, each.shape, each.type) for each in session.get_inputs()] == inside
    assert [(each.name, each.shape, each.type) for each in session.get_outputs()] == outside


@pytest.mark.parametrize(("task", "name"), VARIANTS)
def test_a_batch_gives_what_its_items_give_alone(task: str, name: str, test_scenes: Any) -> None:
    session = open_model(name)
    fed = test_scenes.scene[:5] if task == "locate" else scenes.crop_at(test_scenes.scene[:5], test_scenes.center[:5])
    key = INTERFACE[task][0][0][0]
    together = session.run(None, {key: fed})
    alone = [session.run(None, {key: fed[i : i + 1]}) for i in range(5)]
    for place, whole in enumerate(together):
        np.testing.assert_allclose(whole, np.concatenate([each[place] for each in alone]), atol=1e-3)


def test_the_crop_inside_the_graph_is_the_crop_in_numpy(test_scenes: Any) -> None:
    center, crop = evaluate.locate(open_model("locate-s"), test_scenes.scene[:50])
    np.testing.assert_allclose(crop, scenes.crop_at(test_scenes.scene[:50], center), atol=1e-6)


def test_models_are_small_and_name_no_place_on_a_disk() -> None:
    files = list((DIGITS / "models").glob("*.onnx"))
    assert sorted(file.stem for file in files) == sorted(name for _, name in VARIANTS)
    assert sum(file.stat().st_size for file in files) < 8_000_000
    for file in files:
        content = file.read_bytes()
        assert not any(word in content for word in (b"/home/", b"/tmp/", b"/usr/", b"site-packages", b".py"))


def test_the_pipeline_file_states_the_measured_accuracies() -> None:
    where = f"{ACCURACY['count']} {ACCURACY['split']} scenes, seed {ACCURACY['seed']} (evaluate.py)"
    for task, name in VARIANTS:
        variant = PIPELINE["tasks"][task]["variants"][name]
        assert variant["accuracy"] == ACCURACY[task][name]["hit_rate" if task == "locate" else "true_crop"]
        assert variant["measured_on"] == where
        assert (DIGITS / variant["model"]).is_file()


def test_accuracy_grows_with_the_family_and_by_eight_points_in_read() -> None:
    hit_rate = [ACCURACY["locate"][name]["hit_rate"] for name in evaluate.LOCATE]
    true_crop = [ACCURACY["read"][name]["true_crop"] for name in evaluate.READ]
    assert hit_rate == sorted(hit_rate)
    assert true_crop == sorted(true_crop)
    assert true_crop[-1] - true_crop[0] >= 0.08


@pytest.mark.parametrize("name", ["locate-s", "locate-l", "read-xs", "read-xl"])
def test_the_stated_accuracy_is_found_again(name: str, test_scenes: Any) -> None:
    session = open_model(name)
    if name in evaluate.LOCATE:
        stated = ACCURACY["locate"][name]["hit_rate"]
        right = evaluate.hits(evaluate.locate(session, test_scenes.scene)[0], test_scenes.center)
    else:
        stated = ACCURACY["read"][name]["true_crop"]
        right = evaluate.read(session, scenes.crop_at(test_scenes.scene, test_scenes.center)) == test_scenes.digit
    assert abs(right.mean() - stated) <= 4 * math.sqrt(stated * (1 - stated) / COUNT)  # four standard errors
