from __future__ import annotations

import heapq
import math
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import estimate, plan_cost_per_hour, sustained_rate
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import CapacityPoint, Profile, VariantProfile
from trimtab.rng import generator
from trimtab.spec.model import AccuracyModel, Edge, Instance, Pipeline, Prices, Serverless, Task, Variant
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
    total, terms = 0.0, []
    for name, service_s in (("locate", 0.003), ("read", 0.055)):
        rho, scv = 12 * service_s, (0.2 / 2.326) ** 2
        given = service_s / (1 - rho) * (1 + scv) / 2
        mean = rho * given
        deviation = math.sqrt(rho * 2 * given**2 - mean**2)
        beyond = max(given * math.log(rho / 0.01) - mean, (math.log(100) - 1) * deviation)
        spread = math.hypot(0.2 * service_s, beyond)
        task = found.tasks[name]
        assert task.service_s == pytest.approx(1.2 * service_s)
        assert task.service_s + task.waiting_s == pytest.approx(service_s + mean + spread)
        assert task.utilisation == pytest.approx(rho)
        total += service_s + mean
        terms.append(spread)
    assert total + math.hypot(*terms) <= found.latency_s <= total + 1.027 * math.hypot(*terms)


def test_the_tail_model_bounds_a_simulated_chain_without_being_half_as_long_again(
    chain: tuple[Pipeline, Profile],
) -> None:
    plan = plan_of(locate=Allocation("heavy", 1, 1, 1, 1), read=Allocation("heavy", 2, 1, 1, 1))
    for rate in (10.0, 20.0, 28.0):
        at, stages = np.cumsum(generator(1, "chain").exponential(1 / rate, 100_000)), [(0.025, 1), (0.055, 2)]
        done = at
        for service_s, servers in stages:
            done = _fifo(done, service_s, servers)
        seen = float(np.quantile(done - at, 0.99))
        predicted = estimate(plan, *chain, rate)
        assert seen <= predicted.latency_s <= 1.5 * seen
        assert predicted.latency_s < sum(t.service_s + t.waiting_s for t in predicted.tasks.values())


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
    alone = estimate(plan_of(locate=Allocation("light", 1, 1, 1, 1), read=replace(heavy, share=1.0)), *chain, 2.0)
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
    # Two branches side by side: half as many answers of each task may be late, and spreads add in squares.
    stretch = NormalDist().inv_cdf(0.995) / NormalDist().inv_cdf(0.99)
    exact = 0.01 + 0.05 + stretch * 0.2 * math.hypot(0.01, 0.05)
    assert exact <= found.latency_s <= 1.027 * exact


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


def test_the_groups_of_a_task_form_batches_from_all_of_its_traffic() -> None:
    pipeline, profile = make_chain({"one": {"s": (0.8, 0.01), "l": (0.9, 0.02)}})
    groups = (Allocation("l", 1, 1, 1, 2, share=0.25), Allocation("s", 1, 1, 1, 2, share=0.75))
    found = estimate(plan_of(one=groups), pipeline, profile, 40.0, latency_model="paper")
    assert found.latency_s == pytest.approx(1.2 * 0.02 * 1.9 + 1 / 40)
    assert found.tasks["one"].capacity_rps == pytest.approx(min(2 / 0.038 / 0.25, 2 / 0.019 / 0.75))
    assert found.tasks["one"].utilisation == pytest.approx(max(10 * 0.019, 30 * 0.0095))


def test_a_group_without_traffic_costs_and_does_not_delay(chain: tuple[Pipeline, Profile]) -> None:
    fine, idle = Allocation("light", 1, 1, 1, 1, share=1.0), Allocation("heavy", 1, 1, 1, 1, share=0.0)
    alone = estimate(plan_of(locate=fine, read=fine), *chain, 5.0)
    beside = estimate(plan_of(locate=fine, read=(fine, idle)), *chain, 5.0)
    assert (beside.tasks, beside.latency_s, beside.accuracy) == (alone.tasks, alone.latency_s, alone.accuracy)
    assert beside.cores == alone.cores + 1


@pytest.mark.parametrize("shares", [(0.5, 0.4), (1.2, -0.2), (1.0, 1.0)])
def test_shares_that_make_no_whole_are_refused(chain: tuple[Pipeline, Profile], shares: tuple[float, float]) -> None:
    groups = tuple(Allocation(v, 1, 1, 1, 1, s) for v, s in zip(("light", "heavy"), shares, strict=True))
    with pytest.raises(PlanRequestError, match=r"task read: the shares.*make no whole"):
        estimate(plan_of(locate=Allocation("light", 1, 1, 1, 1), read=groups), *chain, 1.0)


def test_fan_out_follows_the_variants_that_serve() -> None:
    pipeline, profile = make_chain({"one": {"s": (0.8, 0.01), "l": (0.9, 0.01)}, "two": {"v": (0.9, 0.01)}})
    edge = Edge("one", 2.0, {"l": 4.0})
    pipeline = replace(pipeline, tasks={**pipeline.tasks, "two": replace(pipeline.tasks["two"], after=(edge,))})
    two = Allocation("v", 1, 1, 1, 1)
    mixed = (Allocation("l", 1, 1, 1, 1, 0.25), Allocation("s", 1, 1, 1, 1, 0.75))
    for one, items in ((Allocation("s", 1, 1, 1, 1), 2.0), (Allocation("l", 1, 1, 1, 1), 4.0), (mixed, 2.5)):
        found = estimate(plan_of(one=one, two=two), pipeline, profile, 10.0)
        assert found.tasks["two"].utilisation == pytest.approx(10 * items * 0.01)
        assert found.tasks["two"].capacity_rps == pytest.approx(100 / items)


def capacity_tables() -> tuple[Pipeline, Profile]:
    """One task, one variant fast and one accurate, each known by a capacity table alone."""
    pipeline, _ = make_chain({"one": {"s": (0.7, 0.1), "l": (0.8, 0.1)}}, slo_s=0.75)
    rows = {
        "s": (CapacityPoint(2, 20.0, 0.7), CapacityPoint(8, 90.0, 0.74)),
        "l": (CapacityPoint(8, 30.0, 0.75), CapacityPoint(16, 60.0, 0.76)),
    }
    return pipeline, Profile({"one": {v: VariantProfile("one", v, (), capacity=table) for v, table in rows.items()}})


@pytest.mark.parametrize("model", ["paper", "tail"])
def test_a_plan_by_capacity_tables(model: str) -> None:
    pipeline, profile = capacity_tables()
    plan = plan_of(one=(Allocation("l", 1, 8, 1, 1, share=0.4), Allocation("s", 1, 8, 1, 1, share=0.6)))
    found = estimate(plan, pipeline, profile, 75.0, latency_model=model)  # type: ignore[arg-type]  # one of two words
    assert found.meets_slo
    assert found.latency_s == 0.75
    assert found.accuracy == pytest.approx(0.4 * 0.8 + 0.6 * 0.7)
    assert found.tasks["one"].capacity_rps == pytest.approx(75.0)
    over = estimate(plan, pipeline, profile, 80.0, latency_model=model)  # type: ignore[arg-type]  # as above
    assert over.latency_s == math.inf
    assert over.goodput_rps == pytest.approx(75.0)
    assert sustained_rate(plan, pipeline, profile) == pytest.approx(75.0)


def test_what_a_capacity_table_does_not_know_is_refused_or_too_slow() -> None:
    pipeline, profile = capacity_tables()
    assert not estimate(plan_of(one=Allocation("l", 1, 16, 1, 1)), pipeline, profile, 1.0).meets_slo
    with pytest.raises(PlanRequestError, match=r"capacity table.*got batch 4.*wanted batch 1"):
        estimate(plan_of(one=Allocation("s", 1, 2, 1, 4)), pipeline, profile, 1.0)
    with pytest.raises(PlanRequestError, match=r"got 3 cores × 1 threads.*2 cores × 1 threads, 8 cores × 1 threads"):
        estimate(plan_of(one=Allocation("s", 1, 3, 1, 1)), pipeline, profile, 1.0)


def test_rounding_alone_never_misses_the_slo() -> None:
    pipeline, profile = make_chain({n: {"v": (0.9, 0.1 / 1.2)} for n in "abc"}, slo_s=0.3, batches=(1,))
    plan = plan_of(**{n: Allocation("v", 1, 1, 1, 1) for n in "abc"})
    found = estimate(plan, pipeline, profile, 0.0, latency_model="paper")
    assert found.latency_s == pytest.approx(0.3, rel=1e-12)
    assert found.meets_slo
    shorter = replace(pipeline, slo=replace(pipeline.slo, latency_s=0.2999))
    assert not estimate(plan, shorter, profile, 0.0, latency_model="paper").meets_slo


def test_replicas_memory_and_load_time_are_counted() -> None:
    pipeline, profile = make_chain({"one": {"s": (0.8, 0.01), "l": (0.9, 0.02)}}, variant_bytes=100)
    known = {v: replace(p, load_time_s=3.0) for v, p in profile.variants["one"].items()}
    profile = Profile({"one": known})
    groups = (Allocation("l", 2, 1, 1, 1, 0.5), Allocation("s", 3, 1, 1, 1, 0.5))
    after, before = plan_of(one=groups), plan_of(one=Allocation("l", 2, 1, 1, 1))
    found = estimate(after, pipeline, profile, 1.0, current=before)
    assert (found.replicas, found.memory_bytes, found.load_s) == (5, 1000, 3.0)
    assert estimate(after, pipeline, profile, 1.0).load_s == 0.0
    assert estimate(after, pipeline, profile, 1.0, current=after).load_s == 0.0
    unknown = Profile({"one": {v: replace(p, load_time_s=None) for v, p in known.items()}})
    assert "one/s: load time not known" in estimate(after, pipeline, unknown, 1.0, current=before).extrapolated[0]


def test_money_by_rented_instances_and_by_use() -> None:
    pipeline, profile = make_chain({"one": {"v": (0.9, 0.05)}, "two": {"v": (0.9, 0.02)}}, fan_out=2.0)
    prices = Prices(
        instances={"i": Instance("i", 2, 1.0 / 3600), "j": Instance("j", 8, 2.0 / 3600)},
        serverless=Serverless(core_second=1e-3, request=1e-4),
    )
    pipeline = replace(pipeline, prices=prices)
    rented = Allocation("v", 3, 1, 1, 1, instance="i")
    used = Allocation("v", 7, 1, 1, 4, instance="serverless")
    plan = plan_of(one=rented, two=used)
    by_use = 3600 * 20 * (1e-4 + 1e-3 * 0.02 * (0.1 + 0.9 * 4) / 4)
    assert estimate(plan, pipeline, profile, 10.0).cost_per_hour == pytest.approx(2.0 + by_use)
    assert plan_cost_per_hour(plan, pipeline, profile) == pytest.approx(2.0 + by_use)
    assert estimate(plan, pipeline, profile, 0.0).cost_per_hour == pytest.approx(2.0), "it scales to zero"
    slower = estimate(plan, pipeline, profile, 10.0, service_ratio={"two": 2.0}).cost_per_hour
    assert slower == pytest.approx(2.0 + 2 * by_use - 3600 * 20 * 1e-4)


def test_the_accuracy_is_that_of_the_pipelines_model(chain: tuple[Pipeline, Profile]) -> None:
    pipeline, profile = chain
    plan = plan_of(locate=Allocation("middle", 1, 1, 1, 1), read=Allocation("heavy", 1, 1, 1, 1))
    ranked = replace(pipeline, accuracy=AccuracyModel("rank-sum"))
    assert estimate(plan, ranked, profile, 1.0).accuracy == pytest.approx(1.5)


GROUP_LISTS = st.lists(
    st.tuples(st.sampled_from(["light", "middle", "heavy"]), st.integers(1, 3), st.sampled_from([1, 4])),
    min_size=1,
    max_size=3,
)


@given(GROUP_LISTS, GROUP_LISTS, st.floats(0.0, 80.0))
def test_the_order_of_groups_tasks_and_variants_changes_nothing(
    locate: list[tuple[str, int, int]], read: list[tuple[str, int, int]], rate: float
) -> None:
    variants = {"light": (0.88, 0.003), "middle": (0.95, 0.016), "heavy": (0.975, 0.055)}
    pipeline, profile = make_chain({"locate": variants, "read": variants})
    pipeline = replace(pipeline, prices=Prices(instances={"i": Instance("i", 2, 1.0), "j": Instance("j", 3, 1.4)}))
    plan = plan_of(
        **{
            name: tuple(Allocation(v, n, 1, 1, b, 1 / len(groups)) for v, n, b in groups)
            for name, groups in (("locate", locate), ("read", read))
        }
    )
    turned = Plan(
        {name: TaskPlan(name, t.allocations[::-1], t.resident[::-1]) for name, t in list(plan.tasks.items())[::-1]},
        10.0,
    )
    turned_profile = Profile({n: dict(list(vs.items())[::-1]) for n, vs in list(profile.variants.items())[::-1]})
    one, other = estimate(plan, pipeline, profile, rate), estimate(turned, pipeline, turned_profile, rate)
    assert other.latency_s == pytest.approx(one.latency_s, rel=1e-9)
    assert other.goodput_rps == pytest.approx(one.goodput_rps, rel=1e-6, abs=1e-6)
    assert other.accuracy == pytest.approx(one.accuracy)
    assert other.cost_per_hour == pytest.approx(one.cost_per_hour)
    assert (other.cores, other.replicas, other.memory_bytes) == (one.cores, one.replicas, one.memory_bytes)
    assert one.goodput_rps <= rate
    assert one.meets_slo == (one.goodput_rps == rate)


# --- pools ----------------------------------------------------------------------------------------------------------

LADDER, LADDER_KNOWN = make_chain({"a": {"s": (0.7, 0.01), "m": (0.8, 0.03), "l": (0.9, 0.08)}}, batches=(1,))


def pool_of(*may_use: str, replicas: int = 2) -> Plan:
    """Replicas of l that may step down."""
    return Plan({"a": TaskPlan("a", (Allocation("l", replicas, 1, 1, 1),), ("l", "m", "s"), may_use)}, 10.0)


def test_a_pools_accuracy_falls_as_it_must_step_down_and_its_latency_stays_bounded() -> None:
    rates = (0.0, 5.0, 15.0, 30.0, 60.0, 120.0, 170.0)
    found = [estimate(pool_of("m", "s"), LADDER, LADDER_KNOWN, rate) for rate in rates]
    accuracies = [each.accuracy for each in found]
    assert accuracies[0] == 0.9
    assert accuracies == sorted(accuracies, reverse=True)
    assert 0.7 < accuracies[-1] < 0.75
    assert all(each.meets_slo and each.goodput_rps == rate for each, rate in zip(found, rates, strict=True))
    # The longest wait is 0.35 of the SLO; the service of the dearest comes on top. A path's latency is rounded up.
    assert max(each.latency_s for each in found) == pytest.approx(0.35 * 0.4 + 1.2 * 0.08, rel=1e-3)


def test_a_pool_holds_what_its_fastest_variant_does() -> None:
    rates = {steps: sustained_rate(pool_of(*steps), LADDER, LADDER_KNOWN) for steps in ((), ("m",), ("s",), ("m", "s"))}
    assert rates["m", "s"] == pytest.approx(0.85 * 2 / 0.01)
    assert rates["s",] == rates["m", "s"]
    assert rates[()] < rates["m",] <= 0.85 * 2 / 0.03
    over = estimate(pool_of("m", "s"), LADDER, LADDER_KNOWN, 200.0)
    assert not over.meets_slo
    assert over.goodput_rps == pytest.approx(170.0)
    assert over.accuracy == 0.7


def test_who_may_not_step_down_keeps_its_accuracy_and_waits() -> None:
    rigid, pool = (estimate(pool_of(*steps), LADDER, LADDER_KNOWN, 24.0) for steps in ((), ("m", "s")))
    assert rigid.accuracy == 0.9 > pool.accuracy
    assert not rigid.meets_slo
    assert pool.meets_slo
    paper = estimate(pool_of("m", "s"), LADDER, LADDER_KNOWN, 24.0, latency_model="paper")
    assert paper.accuracy == 0.9, "the paper's model knows nothing of it"


def test_a_calm_pool_is_what_its_dearest_variant_is_alone() -> None:
    for rate in (0.0, 1.0, 4.0):
        pool, alone = (estimate(pool_of(*steps), LADDER, LADDER_KNOWN, rate) for steps in (("m", "s"), ()))
        assert (pool.latency_s, pool.accuracy) == (alone.latency_s, 0.9)


def test_freedom_to_use_what_is_no_step_down_changes_nothing() -> None:
    pipeline, known = make_chain({"a": {"l": (0.9, 0.02), "twin": (0.95, 0.019)}}, batches=(1,))
    plan = Plan({"a": TaskPlan("a", (Allocation("l", 1, 1, 1, 1),), ("l", "twin"), ("twin",))}, 1.0)
    fixed = replace(plan, tasks={"a": replace(plan.tasks["a"], may_use=())})
    for rate in (1.0, 20.0, 45.0):
        assert estimate(plan, pipeline, known, rate) == estimate(fixed, pipeline, known, rate)
