"""InferLine's planner: what it ends with cannot be bettered by any one of its steps. Its tuner: numbers by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.observe.model import Observation
from trimtab.plan.model import Limits, Plan, PlanRequest, PlanResult
from trimtab.plan.policies.pipelines.inferline import InferLinePolicy, InferLineSettings
from trimtab.plan.policies.pipelines.inferline_estimator import Config, Estimator, sample_arrivals
from trimtab.plan.policies.pipelines.inferline_planner import hardware_of
from trimtab.plan.policies.pipelines.inferline_tuner import (
    Planned,
    envelope_of_arrivals,
    envelope_of_counts,
    tuned,
    windows_s,
)
from trimtab.testing import check_observing_policy, check_policy, make_chain, observation

SHAPES = ((1, 1), (2, 2), (4, 4))
BATCHES = (1, 2, 4, 8)
QUICK = InferLineSettings(sample_items=300)


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from([0.005, 0.02, 0.05]), min_size=1, max_size=2),
    st.sampled_from([1.0, 15.0, 60.0]),
    st.sampled_from([0.1, 0.25, 0.6]),
    st.sampled_from([0.5, 0.9]),
)
def test_no_single_step_betters_the_plan(seconds: list[float], rate: float, slo_s: float, gain: float) -> None:
    names = [f"t{i}" for i in range(len(seconds))]
    pipeline, profile = make_chain(
        {name: {"v": (0.9, s)} for name, s in zip(names, seconds, strict=True)},
        slo_s=slo_s, shapes=SHAPES, batches=BATCHES, batch_gain=gain,
    )  # fmt: skip
    request = PlanRequest(pipeline, profile, rate, Limits(cores=500.0))
    result = InferLinePolicy(QUICK).propose(request)
    estimator = Estimator(request, dict.fromkeys(names, "v"), sample_arrivals(rate, 60.0, 300, 0), 0)

    def feasible(configs: dict[str, Config]) -> bool:
        keeps_up = all(c.replicas * estimator.rate(t, c) >= rate * (1 - 1e-9) for t, c in configs.items())
        return keeps_up and estimator.latency_s(configs) <= slo_s

    best = {t: Config(4, 4, 1, 200) for t in names}
    if not feasible(best):
        assert "infeasible at a 64th of the rate too" in result.steps[0].reason
        assert not result.feasible
        return
    groups = {t: result.plan.tasks[t].allocations[0] for t in names}
    found = {t: Config(g.cores, g.threads, g.batch, g.replicas) for t, g in groups.items()}
    assert feasible(found)
    for task, config in found.items():
        fewer = replace(config, replicas=config.replicas - 1)
        assert fewer.replicas == 0 or not feasible({**found, task: fewer}), "RemoveReplica"
        larger = [b for b in BATCHES if b >= 2 * config.batch]
        if larger:
            assert not feasible({**found, task: replace(config, batch=larger[0])}), "IncreaseBatch"
        for cores in (2, 1):
            smaller = Config(cores, cores, 1, max(1, (config.total_cores - 1) // cores))
            if cores < config.cores and cores * smaller.replicas < config.total_cores:
                # With batches of one; DowngradeHW also tries larger ones.
                assert cores != max(c for c in (2, 1) if c < config.cores) or not feasible({**found, task: smaller})


def test_hardware_goes_from_the_fastest_down() -> None:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.02)}}, shapes=(*SHAPES, (4, 1), (8, 8)), batches=(1, 4))
    request = PlanRequest(pipeline, profile, 1.0, Limits(cores=6.0))
    kinds = hardware_of(request, "a", "v", None)
    assert [(k.cores, k.threads, k.batches) for k in kinds] == [(4, 4, (1, 4)), (2, 2, (1, 4)), (1, 1, (1, 4))]
    assert hardware_of(request, "a", "v", 2)[0].batches == (1,)


def test_the_plan_by_hand() -> None:
    # 20 ms a request, 50 a second and core. At 10/s one core does, whatever the sample, for 300 ms.
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.02)}}, slo_s=0.3, batches=(1,))
    asked = PlanRequest(pipeline, profile, 10.0, Limits(cores=50.0))
    result = InferLinePolicy().propose(asked)
    assert result.plan.cores == 1
    assert result.feasible
    assert "feasible on 600 requests" in result.steps[0].reason
    # 120 a second need three; with a sample of that rate, whatever is asked.
    assert InferLinePolicy(InferLineSettings(sample_rps=120.0)).propose(asked).plan.cores >= 3
    counted = InferLinePolicy(InferLineSettings(sample_counts=(120,) * 10))
    assert counted.propose(asked).plan.cores >= 3
    # Cores for two: half the rate, twice the replicas, as many as there may be.
    short = InferLinePolicy().propose(replace(asked, rate_rps=200.0, limits=Limits(cores=2.0)))
    assert not short.feasible
    assert short.plan.cores == 2
    assert "200/s is infeasible" in short.steps[0].reason


def test_envelopes_by_hand() -> None:
    assert windows_s(0.3, 60) == (1, 2, 4, 8, 16, 32, 60)
    assert windows_s(2.5, 60) == (3, 6, 12, 24, 48, 60)
    assert windows_s(70.0, 60) == (60,)
    counts = [1, 9, 5, None, 4, 4, 4]
    assert envelope_of_counts(counts, (1, 2, 3, 4)) == {1: 9.0, 2: 7.0, 3: 5.0}
    arrivals = np.array([0.0, 0.5, 0.6, 0.7, 2.0, 4.0])
    # One second from 0: 4; two from 0: 4; four from 0: 5, which is all but the end of a trace that is 4 s long.
    assert envelope_of_arrivals(arrivals, (1, 2, 4, 60)) == {1: 4.0, 2: 2.0, 4: 1.25, 60: 1.25}
    assert envelope_of_arrivals(np.zeros(1), (1, 60)) == {1: 1.0, 60: 1.0}


PLANNED = {"a": Planned(rate=50.0, visits=1.0, utilisation=0.8), "b": Planned(rate=100.0, visits=3.0, utilisation=0.5)}


def tune(
    current: dict[str, int], counts: list[int | None], *, may_shrink: bool = True, sample: float = 60.0
) -> dict[str, int]:
    envelope = dict.fromkeys((1, 2, 4), sample)
    found, _ = tuned(current, PLANNED, counts, envelope, may_shrink=may_shrink, recent_s=30, bucket_s=5)
    return found


def test_the_tuner_by_hand() -> None:
    has = {"a": 2, "b": 4}
    # 100/s: ⌈100 / (50 · 0.8)⌉ = 3 and ⌈300 / (100 · 0.5)⌉ = 6.
    assert tune(has, [50, 100, 50]) == {"a": 3, "b": 6}
    assert tune({"a": 9, "b": 4}, [50, 100, 50]) == {"a": 9, "b": 6}, "nothing is taken away while something is added"
    assert tune(has, [50, 60, 50]) == has, "within the envelope"
    assert tune(has, [50, None, 50]) == has
    assert tune(has, []) == has
    # Down: 20/s in the fullest 5 s; with the least utilisation, 0.5: ⌈20 / 25⌉ = 1 and ⌈60 / 50⌉ = 2.
    assert tune(has, [20] * 10) == {"a": 1, "b": 2}
    assert tune(has, [20] * 10, may_shrink=False) == has
    assert tune(has, [*([20] * 10), 40, 40, 40, 40, 40]) == {"a": 2, "b": 3}, "⌈40 / 25⌉ and ⌈120 / 50⌉"
    assert tune({"a": 9, "b": 9}, [100, *([20] * 10)]) == {"a": 3, "b": 6}, "what the envelope asks for stays"
    assert tune({"a": 9, "b": 9}, [55] * 3) == {"a": 9, "b": 9}, "five seconds were not seen yet"


def question(rate: float, current: Plan | None = None, cores: float = 50.0) -> PlanRequest:
    """20 ms a request: 50 a second and core."""
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.02)}}, slo_s=0.3, batches=(1,))
    return PlanRequest(pipeline, profile, rate, Limits(cores=cores), current=current)


def replicas(result: PlanResult | Plan) -> int:
    plan = result if isinstance(result, Plan) else result.plan
    return plan.tasks["a"].allocations[0].replicas


def test_the_policy_plans_once_and_tunes_from_then_on() -> None:
    policy = InferLinePolicy()
    first = policy.propose(question(40.0)).plan
    planned = replicas(first)
    utilisation = 40.0 / (planned * 50.0)
    policy.observe(observation(1.0, 40), first)
    assert replicas(policy.propose(question(40.0, first))) == planned
    policy.observe(observation(2.0, 200), first)
    result = policy.propose(question(1.0, first))
    assert replicas(result) == int(np.ceil(200 / (50.0 * utilisation) - 1e-9)), (
        "the count decides, not the rate asked for"
    )
    assert "tuner: up to 200/s came" in result.steps[0].reason
    grown = result.plan
    quiet: list[Observation] = [observation(3.0 + t, 10) for t in range(80)]
    sizes = []
    for each in quiet:
        policy.observe(each, grown)
        grown = policy.propose(question(10.0, grown)).plan
        sizes.append(replicas(grown))
    assert sizes[:58] == [replicas(result)] * 58, "the burst stays in the envelope of 60 s"
    assert sizes[-1] == 1


def test_more_than_the_limits_is_cut() -> None:
    policy = InferLinePolicy()
    first = policy.propose(question(40.0, cores=5.0)).plan
    policy.observe(observation(1.0, 900), first)
    result = policy.propose(question(900.0, first, cores=5.0))
    assert replicas(result) == 5
    assert not result.feasible


@pytest.mark.parametrize("tasks", [1, 2])
def test_it_passes_the_kit(tasks: int) -> None:
    check_policy(InferLinePolicy(), tasks=tasks)
    check_observing_policy(InferLinePolicy, tasks=tasks)
