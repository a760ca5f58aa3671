"""The profiler on tiny models: what it measures is a valid profile, resumes, and survives being interrupted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from onnx import helper
from tests import models

from trimtab import rng as randomness
from trimtab.errors import ModelError
from trimtab.profile.file import load_profile, save_profile
from trimtab.runtime import affinity
from trimtab.runtime.agenda import Settings, plan_measurements
from trimtab.runtime.machine import describe_machine
from trimtab.runtime.measuring import Effort, check_capacity, made_up_inputs
from trimtab.runtime.models.model import Interface, ModelSource
from trimtab.runtime.models.registry import inspect_source, source_of
from trimtab.runtime.profiler import Step, measure
from trimtab.runtime.replica import Replica
from trimtab.spec.model import Edge, Pipeline, Slo, Task, Variant

live = pytest.mark.live
HERE = describe_machine(measured_at="2026-01-01T00:00:00+00:00", command="test")
SETTINGS = Settings((1,), (1, 2), Effort(0.0, 5), check_seconds=0.1)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """Two tasks; `heavy` is a good hundred times slower than `light`."""
    files = {
        "light": models.affine(tmp_path / "light.onnx"),
        "heavy": models.slow(tmp_path / "heavy.onnx", work=1000, size=4),
        "last": models.affine(tmp_path / "last.onnx", name="y", output="z"),
    }
    variants = {name: Variant(name, path, 0.9) for name, path in files.items()}
    first = Task("first", {name: variants[name] for name in ("light", "heavy")})
    return Pipeline(
        "p", {"first": first, "second": Task("second", {"last": variants["last"]}, (Edge("first"),))}, Slo(1)
    )


def models_of(pipeline: Pipeline) -> dict[str, dict[str, ModelSource]]:
    return {task.name: {v.name: source_of(v) for v in task.variants.values()} for task in pipeline.tasks.values()}


def inspect_model(path: Path) -> Interface:
    return inspect_source(ModelSource("onnx", path))


@live
def test_a_profile_is_measured_saved_and_resumed(pipeline: Pipeline, tmp_path: Path) -> None:
    target = tmp_path / "profile.json"
    steps: list[Step] = []

    def on_step(step: Step) -> None:
        steps.append(step)
        if step.profile.variants:
            save_profile(step.profile, target)
            load_profile(target)  # what is saved at any moment is a valid profile

    agenda = plan_measurements(pipeline, SETTINGS, HERE)
    result = asyncio.run(measure(models_of(pipeline), SETTINGS, agenda, on_step))

    assert [step.done for step in steps] == list(range(1, 3 + 6 + 3 + 1))
    assert {step.of for step in steps} == {12}
    light, heavy = result.variants["first"]["light"], result.variants["first"]["heavy"]
    for profile in (light, heavy, result.variants["second"]["last"]):
        assert [(p.cores, p.threads, p.batch) for p in profile.points] == [(1, 1, 1), (1, 1, 2)]
        for point in profile.points:
            assert point.samples >= 5
            assert 0 < point.quantiles_s[0.5] <= point.quantiles_s[0.99] < 60
        assert profile.load_time_s is not None
        assert profile.load_time_s > 0
        assert profile.memory_bytes is not None
        assert profile.model_sha256 is not None
        (check,) = profile.checks
        assert check.rate_rps == pytest.approx(0.8 * profile.points[0].throughput_rps, rel=0.2)
        assert 0 < check.p50_s <= check.p99_s
    assert heavy.points[0].quantiles_s[0.5] > light.points[0].quantiles_s[0.5]

    kept = load_profile(target)
    assert plan_measurements(pipeline, SETTINGS, HERE, kept).cells == ()
    more = replace(SETTINGS, batches=(1, 2, 3), check_seconds=None, variants=frozenset({"last"}))
    agenda = plan_measurements(pipeline, more, HERE, kept)
    assert [(c.variant, c.batch) for c in agenda.cells] == [("last", 3)]
    grown = asyncio.run(measure(models_of(pipeline), more, agenda, lambda _: None))
    assert grown.variants["second"]["last"].batches(1, 1) == (1, 2, 3)
    assert grown.variants["first"] == kept.variants["first"]
    assert not psutil.Process().children(recursive=True)


@live
@pytest.mark.skipif(len(affinity.usable_cores()) < 2, reason="needs two cores")
def test_shapes_are_measured_by_changing_the_running_replica(pipeline: Pipeline) -> None:
    settings = Settings((1, 2), (1,), Effort(0.0, 3), frozenset({"heavy"}), check_seconds=None)
    agenda = plan_measurements(pipeline, settings, HERE)
    result = asyncio.run(measure(models_of(pipeline), settings, agenda, lambda _: None))
    assert result.variants["first"]["heavy"].shapes() == ((1, 1), (2, 1), (2, 2))
    assert "second" not in result.variants


@live
def test_an_interruption_keeps_what_was_measured_and_leaves_no_process(pipeline: Pipeline) -> None:
    reached = asyncio.Event()
    steps: list[Step] = []

    def on_step(step: Step) -> None:
        steps.append(step)
        if step.done == 5:
            reached.set()

    async def interrupted() -> None:
        agenda = plan_measurements(pipeline, SETTINGS, HERE)
        running = asyncio.create_task(measure(models_of(pipeline), SETTINGS, agenda, on_step))
        await reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(interrupted())
    assert not psutil.Process().children(recursive=True)
    kept = steps[-1].profile
    measured = sum(len(v.points) for of in kept.variants.values() for v in of.values())
    assert 0 < measured < 6
    assert len(plan_measurements(pipeline, SETTINGS, HERE, kept).cells) == 6 - measured


@live
def test_a_load_beyond_the_capacity_is_seen_as_not_sustained(pipeline: Pipeline) -> None:
    path = pipeline.tasks["first"].variants["heavy"].model
    assert path is not None

    async def run() -> None:
        replica = await Replica.start(
            replica_id="r",
            task="first",
            models={"heavy": ModelSource("onnx", path)},
            core_ids=affinity.usable_cores()[:1],
            threads=1,
            thread_options=(1,),
            warm_batches=(),
        )
        try:
            x = {"x": np.zeros((1, 4), np.float32)}
            one_s = (await replica.run("heavy", x)).service_s
            rng = randomness.generator(0)
            much = await check_capacity(replica, "heavy", x, batch=1, rate_rps=20 / one_s, seconds=20 * one_s, rng=rng)
            assert not much.sustained
            assert much.served_rps < much.rate_rps
            assert much.p99_s > 5 * one_s
            with pytest.raises(ModelError, match="not resident"):
                await check_capacity(replica, "gone", x, batch=1, rate_rps=100, seconds=0.1, rng=rng)
        finally:
            await replica.stop(1.0)

    asyncio.run(run())


def test_inputs_are_made_up_in_the_models_form(tmp_path: Path) -> None:
    rng = randomness.generator(0)
    scene = made_up_inputs(inspect_model(models.echo(tmp_path / "u.onnx", shape=(9, 9), dtype="uint8")), 3, rng)["x"]
    assert scene.shape == (3, 9, 9)
    assert scene.dtype.name == "uint8"
    assert scene.astype(int).max() > 200
    floats = made_up_inputs(inspect_model(models.echo(tmp_path / "f.onnx")), 100, rng)["x"].astype(float)
    assert 0 <= floats.min() < 0.1 < 0.9 < floats.max() < 1
    index = made_up_inputs(inspect_model(models.echo(tmp_path / "i.onnx", dtype="int64")), 100, rng)["x"]
    assert set(index.astype(int).ravel().tolist()) == {0, 1}


def test_a_free_axis_cannot_be_made_up(tmp_path: Path) -> None:
    path = models.save_model(
        tmp_path / "free.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", "float32", [None, "length"])],
        [("y", "float32", [None, "length"])],
    )
    with pytest.raises(ModelError, match=r"input 'x' cannot be made up.*got \[\?, \?\]"):
        made_up_inputs(inspect_model(path), 1, randomness.generator(0))
