"""IPA's pipelines: their files, and how they answer on small models through real workers.

`video` needs nothing more than the tests do; those of text and speech run where `transformers` and torch are installed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
import pytest

from trimtab.control.protocols import Decision
from trimtab.observe.scores import own_metric
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.runtime.evaluating import Label, Settings, evaluate
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.plant import LocalPlant
from trimtab.runtime.service import InferRequest, Tensor
from trimtab.runtime.wiring import check_interfaces
from trimtab.spec.load import load_pipeline
from trimtab.spec.model import Pipeline

FOLDER = Path(__file__).parents[2] / "examples" / "ipa"
TASKS = {
    "video": {"detect": 5, "classify": 5},
    "audio-qa": {"transcribe": 3, "answer": 2},
    "audio-sent": {"transcribe": 3, "sentiment": 4},
    "sum-qa": {"summarise": 6, "answer": 2},
    "nlp": {"identify": 1, "translate": 2, "summarise": 6},
}
HAS_TRANSFORMERS = (
    importlib.util.find_spec("transformers") is not None and importlib.util.find_spec("torch") is not None
)
DATA: Mapping[str, Mapping[str, Tensor]] = {
    "audio-qa": {"audio": np.zeros((2, 16_000), np.float32), "question": np.array([b"who?", b"what?"], object)},
    "audio-sent": {"audio": np.zeros((2, 16_000), np.float32)},
    "sum-qa": {"text": np.array([b"The tide turned."] * 2, object), "question": np.array([b"who?", b"what?"], object)},
    "nlp": {"text": np.array([b"La mer monte."] * 2, object)},
}
"""Two rows of each request of text and speech."""


@pytest.mark.parametrize("name", TASKS)
def test_each_file_has_the_tasks_and_variants_of_the_paper(name: str) -> None:
    pipeline = load_pipeline(FOLDER / f"{name}.yaml", check_files=False)
    assert {task.name: len(task.variants) for task in pipeline.tasks.values()} == TASKS[name]
    assert pipeline.is_chain()
    for task in pipeline.tasks.values():
        assert all(variant.measured_on == "as IPA states it" for variant in task.variants.values())


def test_fetch_says_which_models_are_missing() -> None:
    command = [sys.executable, str(FOLDER / "fetch.py"), "sum-qa", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "missing: sshleifer/distilbart-xsum-1-1" in done.stderr


@pytest.mark.live
@pytest.mark.skipif(len(psutil.Process().cpu_affinity() or ()) < 2, reason="needs two cores")
def test_video_finds_cuts_and_names_what_is_in_an_image(tmp_path: Path) -> None:
    pipeline = small("video", tmp_path, crops=2)
    image = np.zeros((1, 128, 128, 3), np.uint8)
    image[0, 32:64, 64:96] = 0, 255, 0  # a green square, and a paler blue one
    image[0, 96:128, 0:32] = 0, 0, 200
    for given in answers(pipeline, {"image": image}, [0, -1]):  # the lightest variants, then the heaviest
        assert given["label"].tolist() == [[1, 2]]
        assert given["score"].shape == (1, 2)
        assert given["score"].min() > 0.99


@pytest.mark.live
@pytest.mark.skipif(not HAS_TRANSFORMERS, reason="needs transformers and torch: pip install 'trimtab[transformers]'")
@pytest.mark.parametrize("name", DATA)
def test_text_and_speech_answer_end_to_end(name: str, tmp_path: Path) -> None:
    pipeline = small(name, tmp_path)
    first = {t: replace(task, variants=dict(list(task.variants.items())[:1])) for t, task in pipeline.tasks.items()}
    pipeline = replace(pipeline, tasks=first)  # the others of a task are made in the same way
    wiring = check_interfaces(pipeline)
    data = {**DATA[name], "labels": np.zeros(2)}
    answered = own_metric("answered", lambda answers, _: np.ones(len(answers)))
    labels = [Label(task, wiring.tasks[task].outputs[0].name, "labels", answered) for task in pipeline.tasks]
    found = asyncio.run(evaluate(pipeline, wiring, data, labels, Settings("best"), lambda _: None))
    assert {each.task: each.error for each in found.variants} == dict.fromkeys(TASKS[name])
    assert [each.error for each in found.combinations] == [None]


def detector() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ipa_detector", FOLDER / "detector.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_boxes_are_thinned_out_by_kind_and_weak_ones_left_out() -> None:
    raw = np.array(
        [
            [50, 50, 20, 20, 0.9, 1.0, 0.0],
            [52, 50, 20, 20, 0.8, 1.0, 0.0],  # the same object as the first
            [52, 50, 20, 20, 0.7, 0.0, 1.0],  # another kind in the same place
            [90, 90, 10, 20, 0.95, 1.0, 0.2],  # elsewhere, and the best
            [10, 10, 10, 10, 0.9, 0.2, 0.1],  # less certain than is asked for
        ],
        np.float32,
    )
    boxes, scores = detector().decode(raw)
    assert boxes.tolist() == [[85, 80, 95, 100], [40, 40, 60, 60], [42, 40, 62, 60]]
    assert scores == pytest.approx([0.95, 0.9, 0.7])
    none, _ = detector().decode(raw[4:])
    assert none.shape == (0, 4)


def test_an_image_is_scaled_into_the_middle_of_the_square_and_blended() -> None:
    image = np.full((1, 20, 40, 3), 255, np.uint8)
    fitted, scale, corner = detector().fit(image, 80)
    assert (fitted.shape, scale, corner.tolist()) == ((1, 3, 80, 80), 2.0, [0, 20])
    assert fitted[0, 0, 20:60].min() == 1.0
    assert fitted[0, 0, :20].max() == pytest.approx(114 / 255)
    ramp = np.repeat(np.arange(0, 40, 10, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert detector().resize(ramp, 1, 8)[0, :, 0].tolist() == [0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30]


def test_boxes_lie_in_the_images_own_pixels_and_what_is_missing_is_the_whole_image(tmp_path: Path) -> None:
    pipeline = small("video", tmp_path)
    variant = pipeline.tasks["detect"].variants["yolov5n"]
    wide = np.zeros((1, 64, 128, 3), np.uint8)
    wide[0, 32:64, 96:128, 0] = 255
    found = detector().Detector(str(tmp_path / str(variant.options["model"])), crops=9).predict(wide)
    assert found["box"][0, 0].tolist() == [96, 32, 128, 64]
    assert found["score"][0, 0] == 1.0
    assert found["crop"][0, 0].reshape(-1, 3).max(axis=0).tolist() == [255, 0, 0]
    assert found["crop"].shape == (1, 9, 224, 224, 3)
    alone = detector().Detector(str(tmp_path / str(variant.options["model"])), crops=2)
    nothing = alone.predict(np.zeros((1, 64, 64, 3), np.uint8))
    assert nothing["score"].tolist() == [[0, 0]]
    assert nothing["box"].tolist() == [[[0, 0, 64, 64]] * 2]


def small(name: str, folder: Path, crops: int = 1) -> Pipeline:
    """One of the pipelines with models of `make_small.py`, in `folder`."""
    command = [sys.executable, str(FOLDER / "make_small.py"), name, "-o", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    file = folder / f"{name}.yaml"
    text = file.read_text().replace("crops: 1}", f"crops: {crops}}}").replace("fan_out: 1}", f"fan_out: {crops}}}")
    file.write_text(text)
    return load_pipeline(file)


def answers(pipeline: Pipeline, inputs: Mapping[str, Tensor], choices: list[int]) -> list[Mapping[str, Tensor]]:
    """What the pipeline gives with a worker and a core a task, and each task's variant at these places of its list."""
    point = ServicePoint(1, 1, 1, 0.01, {0.5: 0.01, 0.99: 0.02}, 9)
    tasks = pipeline.tasks.items()
    profile = Profile({task: {v: VariantProfile(task, v, (point,)) for v in entry.variants} for task, entry in tasks})

    async def ask() -> list[Mapping[str, Tensor]]:
        plant = LocalPlant(pipeline, profile, check_interfaces(pipeline), Metrics(pipeline), len(tasks))
        given: list[Mapping[str, Tensor]] = []
        try:
            for choice in choices:
                chosen = {task: list(entry.variants)[choice] for task, entry in tasks}
                groups = {t: TaskPlan(t, (Allocation(v, 1, 1, 1, 1),), (v,)) for t, v in chosen.items()}
                plan = Plan(groups, 1.0)
                await plant.apply(Decision(0, 0.0, plan, feasible=True, changed=True, actions=(), steps=()))
                await plant.ready()
                given.append((await plant.data_plane.infer(InferRequest(pipeline.name, inputs))).outputs)
        finally:
            await plant.stop(1.0)
            assert not psutil.Process().children(recursive=True), "the plant left processes behind"
        return given

    return asyncio.run(asyncio.wait_for(ask(), 120))
