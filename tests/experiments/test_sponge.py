"""Sponge's setting: what a controller is handed, and that its runs are accounted for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from experiments.sponge import CONTENDERS, CORES, LONGEST_S, SLO_S, Case, Contender, Told, Told_of, service, simulated

from trimtab.control.settings import forecaster_for
from trimtab.observe.model import Observation, Outcomes
from trimtab.plan.model import Limits
from trimtab.plan.policies import make_policy
from trimtab.spec.model import Objective


def seen(now_s: float, allowed_s: dict[float, float], count: int | None = 20) -> Observation:
    return Observation(now_s, 1.0, (count,), Outcomes(), {}, allowed_s=allowed_s)


@pytest.mark.parametrize(
    ("told", "bounds_s"),
    [
        ("the SLO", [SLO_S, SLO_S, SLO_S]),
        ("the least of the last second", [SLO_S, 0.5, SLO_S]),
        ("the SLO less the longest delay", [SLO_S - LONGEST_S] * 3),
        ("the distribution", [SLO_S, SLO_S, SLO_S]),
    ],
)
def test_a_controller_is_handed_what_it_is_told(told: Told_of, bounds_s: list[float]) -> None:
    pipeline, profile = service(Objective())
    policy = make_policy("most-accurate")
    controller = Told(told, pipeline, profile, policy, forecaster_for(policy), Limits(cores=CORES))
    controller.start(0.0)
    handed = []
    for number, allowed_s in enumerate(({}, {0.01: 0.5, 0.25: 0.6}, {}), start=1):
        controller.step(seen(float(number), allowed_s))
        handed.append(controller.pipeline.slo.latency_s)
        controller.step(seen(number + 0.5, {}, count=None))
        assert controller.pipeline.slo.latency_s == handed[-1]
    assert handed == pytest.approx(bounds_s)
    assert controller.settings.own_deadlines == (told == "the distribution")
    assert replace(controller.pipeline, slo=pipeline.slo) == pipeline


@pytest.mark.parametrize("contender", [CONTENDERS[1], CONTENDERS[6]], ids=["sponge", "trimtab"])
def test_runs_are_accounted_for_and_repeat(contender: Contender) -> None:
    case = Case(contender, seed=2, seconds=30)
    once, again = simulated(case), simulated(case)
    assert replace(once, decide_s=0.0) == replace(again, decide_s=0.0)
    assert once.offered == once.in_time + once.late + once.refused + once.dropped + once.failed > 400
    assert once.violation_ratio is not None
    assert once.violation_ratio < 0.1
