"""Monitoring gaps: the plant runs on, nothing is counted, the last plan stays, and the controller recovers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trimtab.control.journal import read_journal
from trimtab.control.replay import replay
from trimtab.errors import SimulationError
from trimtab.observe.model import Observation, Outcomes, TaskObservation
from trimtab.plan.policies import make_policy
from trimtab.sim import PLANTS, Load, SimResult, simulate
from trimtab.sim.gaps import Gap, without_gaps
from trimtab.testing import make_chain
from trimtab.workload.trace import Trace

PIPELINE, PROFILE = make_chain({"a": {"large": (0.9, 0.04), "small": (0.7, 0.01)}}, slo_s=0.4, cores=8)
RISE = Trace((20,) * 10 + (90,) * 30, "a rise")
TASK = TaskObservation(
    queued=3, in_service=2, replicas_ready=4, replicas_starting=1, cores=5,
    served={"large": 7}, batches=4, service_ratio=1.1, busy_core_s=0.8,
)  # fmt: skip


def seen(now_s: float, window_s: float, arrivals: tuple[int, ...]) -> Observation:
    return Observation(
        now_s, window_s, arrivals, Outcomes(7, 1), {"a": TASK}, {0.5: 0.1}, core_seconds=5.0, plan_id="p",
        allowed_s={0.5: 0.2},
    )  # fmt: skip


def simulated(gaps: tuple[Gap, ...], **more: Any) -> SimResult:
    load = Load(RISE, seed=1)
    return simulate(PIPELINE, PROFILE, load, make_policy("trimtab"), PLANTS["free"], gaps=gaps, window_s=1.0, **more)


def test_counts_are_gone_and_levels_stay() -> None:
    told = without_gaps(seen(12.0, 2.0, (5, 6)), [(11.0, 20.0)])
    assert told.arrivals == (5, None)
    assert told.outcomes == Outcomes()
    assert told.response_s == told.allowed_s == {}
    task = told.tasks["a"]
    assert (task.served, task.batches, task.service_ratio, task.busy_core_s) == ({}, 0, None, 0.0)
    assert (task.queued, task.in_service, task.replicas_ready, task.replicas_starting, task.cores) == (3, 2, 4, 1, 5)
    assert (told.now_s, told.window_s, told.core_seconds, told.plan_id) == (12.0, 2.0, 5.0, "p")


@pytest.mark.parametrize("gap", [(0.0, 10.0), (12.0, 15.0), (12.5, 13.0)])
def test_what_lies_beside_a_gap_is_counted(gap: Gap) -> None:
    whole = seen(12.0, 2.0, (5, 6))
    assert without_gaps(whole, [gap]) is whole


@pytest.mark.parametrize(
    ("gap", "arrivals"), [((11.5, 11.6), (5, None)), ((10.0, 12.0), (None, None)), ((9.0, 10.5), (None, 6))]
)
def test_a_second_that_a_gap_touches_is_not_counted(gap: Gap, arrivals: tuple[int | None, ...]) -> None:
    told = without_gaps(seen(12.0, 2.0, (5, 6)), [(50.0, 60.0), gap])
    assert (told.arrivals, told.outcomes.ended) == (arrivals, 0)


@pytest.mark.parametrize("gap", [(5.0, 5.0), (7.0, 3.0), (-1.0, 3.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_a_gap_is_a_stretch_of_time(gap: Gap) -> None:
    with pytest.raises(SimulationError, match="not a gap"):
        simulated((gap,))


def test_in_a_gap_queues_alone_change_the_plan_and_the_controller_recovers(tmp_path: Path) -> None:
    # The rise comes in the gap, which only the plant sees.
    result = simulated(((8.0, 25.0),), journal=tmp_path / "gap.jsonl")
    assert result.run.notes[-1] == (
        "nothing was counted from 8 to 25 s: a gap of the monitoring, while the plant ran on"
    )
    assert result.series.offered[10:25] == simulated(()).series.offered[10:25]
    journal = read_journal(tmp_path / "gap.jsonl")
    turns = {entry.observation.now_s: entry for entry in journal.entries if entry.observation}
    blind = [turns[float(second)] for second in range(9, 26)]
    assert all(entry.observation and entry.observation.arrivals == (None,) for entry in blind)
    changed = [entry.decision for entry in blind if entry.decision and entry.decision.changed]
    assert len(changed) == 1
    assert any("nothing is counted, and" in step.reason for step in changed[0].steps)
    first = turns[26.0]
    assert first.observation
    assert first.observation.arrivals == (result.series.offered[25],)
    assert result.series.planned_cores[24] > result.series.planned_cores[7]
    late = [turns[float(second)].observation for second in range(31, 40)]
    assert all(told and told.outcomes.violation_ratio == 0.0 for told in late)
    assert replay(journal) == ()


def test_a_gap_changes_nothing_where_nobody_looks() -> None:
    def figures(gaps: tuple[Gap, ...]) -> object:
        result = simulate(PIPELINE, PROFILE, Load(RISE), make_policy("most-accurate"), PLANTS["free"], gaps=gaps)
        return result.series

    assert figures(((8.0, 25.0),)) == figures(())
