from __future__ import annotations

import heapq
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import estimate, sustained_rate
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile
from trimtab.rng import generator
from trimtab.spec.model import Edge, Pipeline, Prices, Task, Variant
from trimtab.testing import make_chain


def plan_of(**allocations: Allocation | tuple[Allocation, ...]) -> Plan:
    tasks = {}
    for name, given_ in allocations.items():
        groups = given_ if isinstance(given_, tuple) else (given_,)
        tasks[name] = TaskPlan(name, groups, resident=tuple(a.variant for a in groups))
    return Plan(tasks, 10.0)


def test_the_paper_model_is_service_plus_batch_formation(chain: tuple[Pipeline, Profile]) -> None:
    plan = plan_of(locate=Allocation("light", 1, 1, 1, 4), read=Allocation("middle", 2, 1, 1, 2))
    found = estimate(plan, *chain, 20.0, latency_model="paper")
    locate_s, read_s = 1.2 * 0.003 * (0.1 + 0.9 * 4), 1.2 * 0.016 * (0.1 + 0.9 * 2)
    assert found.latency_s == pytest.approx(locate_s + 3 / 20 + read_s + 1 / 20)
    assert found.tasks["read"].capacity_rps == pytest.approx(2 * 2 / (0.016 * 1.9))
    assert found.accuracy == pytest.approx(0.93 * 0.95)
    assert found.cores == 3
    assert found.meets_slo
    assert found.goodput_rps == 20.0


def test_the_tail_model_at_one_server_and_no_batching(chain: tuple[Pipeline, Profile]) -> None:
    plan = plan_of(locate=Allocation("light", 1, 1, 1, 1), read=Allocation("heavy", 1, 1, 1, 1))
    found = estimate(plan, *chain, 12.0)
    rho, scv = 12 * 0.055, (0.2 / 2.326) ** 2
    wait_given_waiting = 0.055 / (1 - rho) * (1 + scv) / 2
    assert found.tasks["read"].waiting_s == pytest.approx(wait_given_waiting * math.log(rho / 0.01))
    assert found.tasks["read"].service_s == pytest.approx(1.2 * 0.055)
    assert found.tasks["read"].utilisation == pytest.approx(rho)
    assert found.latency_s == pytest.approx(sum(t.service_s + t.waiting_s for t in found.tasks.values()))


def test_the_tail_model_bounds_a_simulated_chain_without_being_twice_too_long(
    chain: tuple[Pipeline, Profile],
) -> None:
    plan = plan_of(locate=Allocation("heavy", 1, 1, 1, 1), read=Allocation("heavy", 2, 1, 1, 1))
    for rate in (10.0, 20.0, 28.0):
        at, stages = np.cumsum(generator(1, "chain").exponential(1 / rate, 100_000)), [(0.025, 1), (0.055, 2)]
        done = at
        for service_s, servers in stages:
            done = _fifo(done, service_s, servers)
        seen = float(np.quantile(done - at, 0.99))
        predicted = estimate(plan, *chain, rate).latency_s
        assert seen <= predicted <= 2.0 * seen


def _fifo(arrivals: np.ndarray, service_s: float, servers: int) -> np.ndarray:
    free, done = [0.0] * servers, np.empty_like(arrivals)
    for i, at in enumerate(np.sort(arrivals)):
        done[i] = max(at, heapq.heappop(free)) + service_s
        heapq.heappush(free, done[i])
    return done


def test_a_larger_batch_limit_never_makes_the_tail_longer(chain: tuple[Pipeline, Profile]) -> None:
    for rate in (0.1, 5.0, 50.0, 200.0):
        latencies = [
            estimate(
                plan_of(locate=Allocation("light", 1, 1, 1, b), read=Allocation("light", 1, 1, 1, b)), *chain, rate
            ).latency_s
            for b in (1, 2, 4, 8)
        ]
        assert latencies == sorted(latencies, reverse=True)


@given(st.floats(0.0, 100.0), st.floats(0.0, 100.0), st.floats(0.0, 10.0))
def test_more_traffic_and_burstier_traffic_never_answer_sooner(low: float, high: float, scv: float) -> None:
    pipeline, profile = make_chain({"one": {"v": (0.9, 0.02)}}, batches=(1,))
    plan = plan_of(one=Allocation("v", 2, 1, 1, 1))
    low, high = sorted((low, high))
    assert estimate(plan, pipeline, profile, low).latency_s <= estimate(plan, pipeline, profile, high).latency_s
    assert (
        estimate(plan, pipeline, profile, low, arrival_scv=scv).latency_s
        <= estimate(plan, pipeline, profile, low, arrival_scv=scv + 1.0).latency_s
    )


def test_goodput_is_the_rate_or_the_largest_one_that_is_held(chain: tuple[Pipeline, Profile]) -> None:
    plan = plan_of(locate=Allocation("light", 1, 1, 1, 1), read=Allocation("heavy", 1, 1, 1, 1))
    capacity = sustained_rate(plan, *chain)
    assert 5.0 < capacity < 1 / 0.055
    assert estimate(plan, *chain, capacity - 0.001).goodput_rps == capacity - 0.001
    over = estimate(plan, *chain, 40.0)
    assert not over.meets_slo
    assert over.latency_s == math.inf
    assert over.goodput_rps == pytest.approx(capacity)
    pipeline, profile = chain
    hopeless = replace(pipeline, slo=replace(pipeline.slo, latency_s=0.01))
    assert estimate(plan, hopeless, profile, 1.0).goodput_rps == 0.0
    assert sustained_rate(plan, hopeless, profile) == 0.0


def test_fan_out_multiplies_the_rate_and_gathers_items() -> None:
    tasks = {"one": {"v": (0.9, 0.01)}, "two": {"v": (0.9, 0.01)}}
    plan = plan_of(one=Allocation("v", 1, 1, 1, 1), two=Allocation("v", 1, 1, 1, 1))
    once = estimate(plan, *make_chain(tasks), 10.0)
    thrice = estimate(plan, *make_chain(tasks, fan_out=3.0), 10.0)
    assert thrice.tasks["two"].utilisation == pytest.approx(3 * once.tasks["two"].utilisation)
    assert thrice.tasks["two"].capacity_rps == pytest.approx(once.tasks["two"].capacity_rps / 3)
    assert thrice.tasks["one"] == once.tasks["one"]


def test_a_mix_weights_accuracy_by_traffic_and_waits_for_its_slowest_group(chain: tuple[Pipeline, Profile]) -> None:
    light, heavy = Allocation("light", 1, 1, 1, 1, share=0.75), Allocation("heavy", 1, 1, 1, 1, share=0.25)
    found = estimate(plan_of(locate=Allocation("light", 1, 1, 1, 1), read=(light, heavy)), *chain, 8.0)
    assert found.accuracy == pytest.approx(0.93 * (0.75 * 0.88 + 0.25 * 0.975))
    alone = estimate(plan_of(locate=light, read=replace(heavy, share=1.0)), *chain, 2.0)
    assert found.tasks["read"].service_s == alone.tasks["read"].service_s
    assert found.tasks["read"].waiting_s == pytest.approx(alone.tasks["read"].waiting_s)


def test_a_dag_takes_its_longest_path() -> None:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.01)}, "b": {"v": (0.9, 0.02)}, "c": {"v": (0.9, 0.05)}})
    fork = replace(
        pipeline,
        tasks={
            **pipeline.tasks,
            "c": Task("c", {"v": Variant("v", Path("v.onnx"), 0.9)}, after=(Edge("a"),)),
        },
    )
    one = Allocation("v", 1, 1, 1, 1)
    found = estimate(plan_of(a=one, b=one, c=one), fork, profile, 0.0)
    assert found.latency_s == pytest.approx(1.2 * (0.01 + 0.05))


def test_live_service_times_and_prices_count(chain: tuple[Pipeline, Profile]) -> None:
    plan = plan_of(locate=Allocation("light", 1, 1, 1, 1), read=Allocation("heavy", 1, 1, 1, 1))
    slow = estimate(plan, *chain, 0.0, service_ratio={"read": 2.0})
    assert slow.tasks["read"].service_s == pytest.approx(2 * 1.2 * 0.055)
    assert slow.cost_per_hour is None
    pipeline, profile = chain
    priced = estimate(plan, replace(pipeline, prices=Prices(core_hour=0.05)), profile, 0.0)
    assert priced.cost_per_hour == pytest.approx(0.10)


def test_what_was_not_measured_is_said_or_refused(chain: tuple[Pipeline, Profile]) -> None:
    fine = Allocation("light", 1, 1, 1, 1)
    beyond = estimate(plan_of(locate=fine, read=Allocation("light", 1, 1, 1, 64)), *chain, 1.0)
    assert "batch 64" in beyond.extrapolated[0]
    with pytest.raises(PlanRequestError, match=r"task read, variant light.*2 cores × 1 threads.*1 cores × 1 threads"):
        estimate(plan_of(locate=fine, read=Allocation("light", 1, 2, 1, 1)), *chain, 1.0)
    with pytest.raises(PlanRequestError, match=r"variant huge.*light, middle, heavy"):
        estimate(plan_of(locate=fine, read=Allocation("huge", 1, 1, 1, 1)), *chain, 1.0)
    with pytest.raises(PlanRequestError, match="task read"):
        estimate(plan_of(locate=fine), *chain, 1.0)


@pytest.mark.parametrize("rate", [math.nan, math.inf, -math.inf, -0.1])
def test_a_rate_without_meaning_is_refused(chain: tuple[Pipeline, Profile], rate: float) -> None:
    plan = plan_of(locate=Allocation("light", 1, 1, 1, 1), read=Allocation("light", 1, 1, 1, 1))
    with pytest.raises(PlanRequestError, match="rate"):
        estimate(plan, *chain, rate)
