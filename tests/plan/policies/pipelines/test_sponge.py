"""Sponge's choice against a plain simulation of draining, with the profile's times and with fitted ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.errors import PlanRequestError
from trimtab.plan.model import Limits, PlanRequest
from trimtab.plan.policies.pipelines.instances import Instance
from trimtab.plan.policies.pipelines.sponge import SpongePolicy, SpongeSettings, drained_share
from trimtab.spec.model import Edge
from trimtab.testing import check_policy, make_chain

SHAPES = ((1, 1), (2, 2), (3, 3), (4, 4), (6, 6), (8, 8))
BATCHES = (1, 2, 4, 8)
MEASURED = SpongePolicy(SpongeSettings(latency="measured"))


def drains(latency_s: float, batch: int, items: int, bound_s: float) -> bool:
    """Batch after batch, as the published loop does it."""
    waited_s, left = 0.0, items
    while True:
        if waited_s + latency_s > bound_s:
            return False
        waited_s, left = waited_s + latency_s, left - batch
        if left <= 0:
            return True


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([0.004, 0.02, 0.07]),
    st.sampled_from([0.0, 0.5, 7.0, 33.0, 120.0]),
    st.sampled_from([0.3, 1.0, 2.0]),
    st.sampled_from([0.4, 0.9]),
)
def test_it_takes_the_first_that_drains_a_second(seconds: float, rate: float, slo_s: float, gain: float) -> None:
    pipeline, profile = make_chain(
        {"a": {"v": (0.9, seconds)}}, slo_s=slo_s, shapes=SHAPES, batches=BATCHES, batch_gain=gain
    )
    result = MEASURED.propose(PlanRequest(pipeline, profile, rate, Limits(cores=8.0)))
    (found,) = result.plan.tasks["a"].allocations
    items = max(1, int(-(-rate // 1)))
    points = {(p.cores, p.batch): p.quantiles_s[0.99] for p in profile.variants["a"]["v"].points}
    first = next((key for key in sorted(points) if drains(points[key], key[1], items, 0.9 * slo_s)), None)
    if first is None:
        assert not result.feasible
        assert "drained in time" in result.steps[0].reason
    else:
        assert (found.cores, found.batch, found.replicas) == (*first, 1)


def test_the_share_that_is_drained_by_hand() -> None:
    one = Instance(cores=2, threads=2, batch=4, latency_s=0.1, rate=40.0)
    # 30 items are 8 batches; 0.35 s hold 3 of them.
    assert drained_share(one, 30.0, 0.35) == pytest.approx(3 / 8)
    assert drained_share(one, 30.0, 0.8) == 1.0
    assert drained_share(one, 30.0, 0.09) == 0.0
    # Two inferences side by side: 4 rounds of 2 batches.
    two = replace(one, threads=1)
    assert drained_share(two, 30.0, 0.3) == pytest.approx(6 / 8)
    assert drained_share(two, 0.0, 0.1) == 1.0
    assert drained_share(two, 1.0, -0.1) == 0.0


def test_a_capacity_table_drains_its_rate_if_its_latency_is_within_the_time() -> None:
    row = Instance(cores=4, threads=1, batch=1, latency_s=0.5, rate=30.0, by_table=True)
    assert drained_share(row, 40.0, 0.6) == pytest.approx(0.75)
    assert drained_share(row, 20.0, 0.6) == 1.0
    assert drained_share(row, 0.0, 0.5) == 1.0
    assert drained_share(row, 20.0, 0.4) == 0.0


def test_fitted_and_measured_agree_where_the_profile_has_the_form() -> None:
    # l = 1.2 · s · (0.1 + 0.9 b) ÷ t is g b/t + e/t, but make_chain divides by √t; so shapes of one thread alone.
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.02)}}, slo_s=1.0, batches=BATCHES)
    request = PlanRequest(pipeline, profile, 20.0, Limits(cores=8.0))
    fitted, measured = SpongePolicy().propose(request), MEASURED.propose(request)
    assert fitted.plan == measured.plan
    assert "latencies fitted" in fitted.steps[0].reason
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.02)}}, slo_s=1.0, batches=BATCHES, shapes=SHAPES)
    request = PlanRequest(pipeline, profile, 41.0, Limits(cores=8.0))
    assert MEASURED.propose(request).feasible


def test_tasks_share_the_slo_in_proportion_to_their_time() -> None:
    tasks = {"a": {"v": (0.9, 0.03)}, "b": {"v": (0.9, 0.01)}}
    pipeline, profile = make_chain(tasks, slo_s=1.0, shapes=((1, 1), (4, 4)), batches=(1,))
    # Parts 0.75 and 0.25 s, of which 0.9 count; p99 on a core is 36 and 12 ms: 18 items of each drain on one core.
    for rate, cores in ((18.0, [1, 1]), (19.0, [4, 4])):
        result = MEASURED.propose(PlanRequest(pipeline, profile, rate, Limits(cores=8.0)))
        assert result.feasible
        assert [task.allocations[0].cores for task in result.plan.tasks.values()] == cores
    fork = replace(pipeline, tasks={**pipeline.tasks, "b": replace(pipeline.tasks["b"], after=())})
    result = MEASURED.propose(PlanRequest(fork, profile, 20.0, Limits(cores=8.0)))
    assert [t.allocations[0].cores for t in result.plan.tasks.values()] == [1, 1], "side by side, each has all the time"
    doubled = replace(fork, tasks={**fork.tasks, "b": replace(fork.tasks["b"], after=(Edge("a", 2.0),))})
    result = MEASURED.propose(PlanRequest(doubled, profile, 10.0, Limits(cores=8.0)))
    assert [t.allocations[0].cores for t in result.plan.tasks.values()] == [1, 4], "twice as many items"


def test_where_cores_are_short_the_task_that_drains_least_grows_first() -> None:
    tasks = {"a": {"v": (0.9, 0.03)}, "b": {"v": (0.9, 0.01)}}
    pipeline, profile = make_chain(tasks, slo_s=1.0, shapes=((1, 1), (4, 4)), batches=(1,))
    # Four cores halve the times: 37 items drain. Of 30 and 30 · 2, b drains the smaller share.
    pipeline = replace(pipeline, tasks={**pipeline.tasks, "b": replace(pipeline.tasks["b"], after=(Edge("a", 2.0),))})
    result = MEASURED.propose(PlanRequest(pipeline, profile, 30.0, Limits(cores=6.0)))
    assert not result.feasible
    assert [task.allocations[0].cores for task in result.plan.tasks.values()] == [1, 4]
    with pytest.raises(PlanRequestError, match="no room for one replica"):
        MEASURED.propose(PlanRequest(pipeline, profile, 30.0, Limits(cores=1.0)))


def test_where_nothing_drains_in_time_the_fastest_is_taken() -> None:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.3)}}, slo_s=0.1, shapes=((1, 1), (2, 2), (4, 4)), batches=(1,))
    result = MEASURED.propose(PlanRequest(pipeline, profile, 1.0, Limits(cores=8.0)))
    assert not result.feasible
    assert result.plan.tasks["a"].allocations[0].cores == 4


def test_bounds_and_the_network_are_heeded() -> None:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.03)}}, slo_s=1.0, shapes=((1, 1), (4, 4)), batches=(1, 8))

    def ask(**settings_: object) -> tuple[int, int, bool]:
        policy = SpongePolicy(SpongeSettings(latency="measured", **settings_))  # type: ignore[arg-type]  # by name
        result = policy.propose(PlanRequest(pipeline, profile, 26.0, Limits(cores=8.0)))
        (group,) = result.plan.tasks["a"].allocations
        return group.cores, group.batch, result.feasible

    # 36 ms a request on one core: 26 need 0.936 s; in batches of 8 four need 4 · 0.2628 s; on 4 cores 0.468 s.
    assert ask() == (4, 1, True)
    assert ask(max_cores=1)[0] == 1
    assert ask(slo_share=0.94) == (1, 1, True)
    assert ask(slo_share=0.94, network_s=0.01) == (4, 1, True)
    assert ask(slo_share=0.4, max_batch=1) == (4, 1, False)
    for wrong in ({"slo_share": 1.5}, {"network_s": -1.0}, {"max_cores": 0}):
        with pytest.raises(ValueError, match="wanted"):
            SpongeSettings(**wrong)


@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize("policy", [SpongePolicy(), MEASURED])
def test_it_passes_the_kit(policy: SpongePolicy, tasks: int) -> None:
    check_policy(policy, tasks=tasks)
