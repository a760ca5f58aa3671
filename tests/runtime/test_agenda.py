"""What the profiler sets out to measure, and what it keeps from before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trimtab.errors import ModelError, PlantError, SpecError
from trimtab.profile.match import model_digest
from trimtab.profile.model import CapacityCheck, Profile, Provenance, ServicePoint, VariantProfile
from trimtab.runtime.agenda import Settings, plan_measurements, power_grid
from trimtab.runtime.measuring import Effort
from trimtab.spec.model import Pipeline, Slo, Task, Variant

HERE = Provenance("2026-01-01T00:00:00+00:00", "here", "a cpu", 2, "an os", {"onnxruntime": "1"})
SETTINGS = Settings(cores=(1,), batches=(1, 2), effort=Effort(0.1, 10))
CHECK = CapacityCheck(1, 1, 1, 10.0, 10.0, 0.01, 0.02, 1.0, sustained=True)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    variants = {}
    for name in ("s", "m", "l"):
        path = tmp_path / f"{name}.onnx"
        path.write_text(f"stands for a model: {name}")
        variants[name] = Variant(name, path, 0.9)
    return Pipeline("p", {"t": Task("t", variants)}, Slo(1.0))


def measured(pipeline: Pipeline, name: str, samples: int = 20, batches: tuple[int, ...] = (1, 2)) -> VariantProfile:
    path = pipeline.tasks["t"].variants[name].model
    assert path is not None
    points = tuple(ServicePoint(1, 1, b, 0.01 * b, {0.5: 0.01 * b, 0.99: 0.02 * b}, samples) for b in batches)
    return VariantProfile("t", name, points, 0.1, 1000, model_digest(path), (CHECK,))


def test_every_cell_is_on_the_agenda_and_the_variants_take_turns(pipeline: Pipeline) -> None:
    agenda = plan_measurements(pipeline, SETTINGS, HERE)
    assert [(c.batch, c.variant) for c in agenda.cells] == [
        (1, "s"), (1, "m"), (1, "l"), (2, "m"), (2, "l"), (2, "s"),
    ]  # fmt: skip
    assert agenda.checks == (("t", "s"), ("t", "m"), ("t", "l"))
    assert agenda.kept_cells == 0
    assert agenda.at_least_s > 6 * 0.1 + 3 * 2.0


def test_the_grid_is_powers_of_two_and_threads_are_divisors() -> None:
    assert power_grid(6.5) == (1, 2, 4)
    assert power_grid(0.5) == (1,)
    assert Settings((1, 4, 6), (1,), Effort(1, 1)).shapes() == (
        (1, 1), (4, 1), (4, 2), (4, 4), (6, 1), (6, 2), (6, 3), (6, 6),
    )  # fmt: skip


def test_what_was_measured_on_the_same_model_machine_and_versions_stands(pipeline: Pipeline) -> None:
    before = Profile(
        {"t": {"s": measured(pipeline, "s"), "m": measured(pipeline, "m", batches=(1,))}},
        replace(HERE, measured_at="another day", command="another"),
    )
    agenda = plan_measurements(pipeline, SETTINGS, HERE, before)
    assert {(c.variant, c.batch) for c in agenda.cells} == {("m", 2), ("l", 1), ("l", 2)}
    assert agenda.checks == (("t", "m"), ("t", "l"))
    assert agenda.kept_cells == 3
    assert agenda.kept.variants["t"]["s"] == before.variants["t"]["s"]
    assert agenda.dropped == ()


def test_cells_with_too_few_samples_are_measured_again(pipeline: Pipeline) -> None:
    before = Profile({"t": {"s": measured(pipeline, "s", samples=9)}}, HERE)
    agenda = plan_measurements(pipeline, replace(SETTINGS, variants=frozenset({"s"})), HERE, before)
    assert [(c.variant, c.batch) for c in agenda.cells] == [("s", 1), ("s", 2)]
    assert agenda.checks == (("t", "s"),)


def test_another_model_file_another_machine_or_no_provenance_is_not_kept_and_said(pipeline: Pipeline) -> None:
    known = {"t": {name: measured(pipeline, name) for name in ("s", "m", "l")}}
    changed = pipeline.tasks["t"].variants["m"].model
    assert changed is not None
    changed.write_text("retrained")
    agenda = plan_measurements(pipeline, SETTINGS, HERE, Profile(known, HERE))
    assert {c.variant for c in agenda.cells} == {"m"}
    assert agenda.dropped == ("m: its model file has changed",)

    elsewhere = replace(HERE, host="there", versions={"onnxruntime": "2"})
    agenda = plan_measurements(pipeline, SETTINGS, HERE, Profile(known, elsewhere))
    assert len(agenda.cells) == 6
    assert agenda.dropped == ("nothing is kept: host was there and is here; onnxruntime was 2 and is 1",)
    agenda = plan_measurements(pipeline, SETTINGS, HERE, Profile(known, None))
    assert len(agenda.cells) == 6
    assert "does not say where" in agenda.dropped[0]


def test_variants_that_are_not_asked_for_keep_what_they_have(pipeline: Pipeline) -> None:
    before = Profile({"t": {"s": measured(pipeline, "s")}}, HERE)
    agenda = plan_measurements(pipeline, replace(SETTINGS, variants=frozenset({"l"})), HERE, before)
    assert {c.variant for c in agenda.cells} == {"l"}
    assert agenda.kept.variants["t"]["s"] == before.variants["t"]["s"]


def test_nothing_is_left_when_all_stands(pipeline: Pipeline) -> None:
    before = Profile({"t": {name: measured(pipeline, name) for name in ("s", "m", "l")}}, HERE)
    agenda = plan_measurements(pipeline, SETTINGS, HERE, before)
    assert (agenda.cells, agenda.checks, agenda.at_least_s) == ((), (), 0.0)


def test_mistakes_are_said_before_anything_starts(pipeline: Pipeline) -> None:
    with pytest.raises(SpecError, match="no such variant: got xl, wanted l, m, s"):
        plan_measurements(pipeline, replace(SETTINGS, variants=frozenset({"xl", "s"})), HERE)
    with pytest.raises(PlantError, match="not enough cores"):
        plan_measurements(pipeline, replace(SETTINGS, cores=(100_000,)), HERE)
    without = replace(pipeline, tasks={"t": Task("t", {"v": Variant("v", None, 0.9)})})
    with pytest.raises(ModelError, match="variant 'v' has no model file"):
        plan_measurements(without, SETTINGS, HERE)
