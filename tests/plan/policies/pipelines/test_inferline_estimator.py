"""The estimator against hand-made timelines and against an event loop that knows nothing of arrays."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.plan.model import Limits, PlanRequest
from trimtab.plan.policies.pipelines.inferline_estimator import Config, Estimator, queue_done, sample_arrivals
from trimtab.profile.model import CapacityPoint, Profile, VariantProfile
from trimtab.spec.model import Edge, Pipeline, Slo
from trimtab.testing import make_chain


def by_events(starts: list[float], items: list[int], times: list[float], slots: int) -> list[float]:
    """The same queue as a loop over events: joins and ends, in the order of time."""
    order = itertools.count()
    events = [(t, next(order), "join", [r] * items[r]) for t, r in sorted((t, r) for r, t in enumerate(starts))]
    heapq.heapify(events)
    waiting: deque[int] = deque()
    idle, done = slots, list(starts)
    while events:
        now = events[0][0]
        while events and events[0][0] == now:
            _, _, kind, batch = heapq.heappop(events)
            if kind == "join":
                waiting.extend(batch)
            else:
                idle += 1
                for request in batch:
                    done[request] = max(done[request], now)
        while idle and waiting:
            batch = [waiting.popleft() for _ in range(min(len(waiting), len(times) - 1))]
            heapq.heappush(events, (now + times[len(batch)], next(order), "end", batch))
            idle -= 1
    return done


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3)), min_size=1, max_size=25),
    st.lists(st.integers(1, 12), min_size=1, max_size=4),
    st.integers(1, 4),
)
def test_the_queue_equals_an_event_loop(arrivals: list[tuple[int, int]], steps: list[int], slots: int) -> None:
    # Whole numbers: sums are exact, so that both see the same moments.
    starts = [float(t) for t, _ in arrivals]
    items = [n for _, n in arrivals]
    times = [0.0, *map(float, itertools.accumulate(steps))]
    found = queue_done(np.array(starts), np.array(items, dtype=np.int64), times, slots)
    assert found.tolist() == by_events(starts, items, times, slots)


def test_a_timeline_by_hand() -> None:
    # Batches of up to 2 take 10 and 16. Two slots.
    starts = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 40.0])
    found = queue_done(starts, np.ones(6, dtype=np.int64), [0.0, 10.0, 16.0], 2)
    # 0 and 1 alone until 10 and 11; 2 and 3 together at 10, 4 alone at 11; the last one finds both idle.
    assert found.tolist() == [10.0, 11.0, 26.0, 26.0, 21.0, 50.0]


def chain(quantile: float = 0.99) -> tuple[Pipeline, Profile]:
    pipeline, profile = make_chain(
        {"a": {"v": (0.9, 0.02)}, "b": {"v": (0.9, 0.01)}}, batches=(1, 2, 4), batch_gain=0.5, fan_out=2.0
    )
    return replace(pipeline, slo=Slo(0.4, quantile)), profile


def estimator(pipeline: Pipeline, profile: Profile, arrivals: list[float]) -> Estimator:
    request = PlanRequest(pipeline, profile, 1.0, Limits(cores=8.0))
    return Estimator(request, dict.fromkeys(pipeline.tasks, "v"), np.array(arrivals), seed=0)


def test_tasks_follow_each_other_and_quantiles_are_of_whole_requests() -> None:
    one = {"a": Config(1, 1, 1, 1), "b": Config(1, 1, 1, 1)}
    two = {**one, "b": Config(1, 1, 2, 1)}
    pipeline, profile = chain()
    # a: 20 ms each; b: two items each, 10 ms each alone, 15 ms together.
    lone = estimator(pipeline, profile, [0.0])
    assert lone.latency_s(one) == pytest.approx(0.04)
    assert lone.latency_s(two) == pytest.approx(0.035)
    both = estimator(pipeline, profile, [0.0, 0.001])
    # Done with a at 20 and 40 ms; b alone takes 20 to 40 and 40 to 60: 59 ms for the second.
    assert both.latency_s(one) == pytest.approx(0.059)
    assert both.latency_s({**one, "a": Config(1, 1, 1, 2)}) == pytest.approx(0.059)
    assert estimator(*chain(0.5), [0.0, 0.001]).latency_s(one) == pytest.approx(0.04)
    assert lone.rate("b", two["b"]) == pytest.approx(2 / 0.015)


def test_branches_are_done_when_the_last_one_is() -> None:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.02)}, "b": {"v": (0.9, 0.05)}, "c": {"v": (0.9, 0.01)}})
    tasks = dict(pipeline.tasks)
    tasks["b"] = replace(tasks["b"], after=())
    tasks["c"] = replace(tasks["c"], after=(Edge("a"), Edge("b")))
    joined = estimator(replace(pipeline, tasks=tasks), profile, [0.0])
    assert joined.latency_s(dict.fromkeys(tasks, Config(1, 1, 1, 1))) == pytest.approx(0.06)
    tasks["c"] = replace(tasks["c"], after=(Edge("a"),))
    apart = estimator(replace(pipeline, tasks=tasks), profile, [0.0])
    assert apart.latency_s(dict.fromkeys(tasks, Config(1, 1, 1, 1))) == pytest.approx(0.05)


def test_a_task_that_few_requests_visit_delays_few() -> None:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.01)}, "b": {"v": (0.9, 0.5)}}, fan_out=0.2)
    arrivals = [10.0 * i for i in range(1000)]
    configs = dict.fromkeys(pipeline.tasks, Config(1, 1, 1, 1))
    for quantile, latency_s in ((0.7, 0.01), (0.9, 0.51)):
        found = estimator(replace(pipeline, slo=Slo(1.0, quantile)), profile, arrivals).latency_s(configs)
        assert found == pytest.approx(latency_s)


def test_a_capacity_table_serves_its_rate_and_no_answer_is_earlier_than_its_latency() -> None:
    pipeline, _ = make_chain({"a": {"v": (0.9, 0.02)}})
    rows = (CapacityPoint(2, 40.0, 0.12),)
    profile = Profile({"a": {"v": VariantProfile("a", "v", (), capacity=rows)}})
    config = {"a": Config(2, 1, 1, 1)}
    # Two slots of 50 ms each serve 40 a second: pairs are done after 50, 100 and 150 ms.
    for requests, latency_s in ((1, 0.12), (2, 0.12), (4, 0.12), (6, 0.15)):
        assert estimator(pipeline, profile, [0.0] * requests).latency_s(config) == pytest.approx(latency_s)


def test_the_sample_is_a_poisson_process_that_a_seed_fixes() -> None:
    sample = sample_arrivals(50.0, 60.0, 3000, seed=1)
    assert sample.size == 3000
    gaps = np.diff(sample)
    assert gaps.mean() == pytest.approx(1 / 50.0, rel=0.06)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.08)
    assert np.array_equal(sample, sample_arrivals(50.0, 60.0, 3000, seed=1))
    assert not np.array_equal(sample, sample_arrivals(50.0, 60.0, 3000, seed=2))
    assert np.allclose(sample, 2.0 * sample_arrivals(100.0, 60.0, 3000, seed=1)), "stretched, not drawn anew"
    assert sample_arrivals(50.0, 60.0, 100, seed=1).size == 100
    assert sample_arrivals(0.0, 60.0, 100, seed=1).tolist() == [0.0]
    counted = sample_arrivals(9.0, 60.0, 100, seed=1, counts=(2, 0, 3))
    assert [math.floor(t) for t in counted] == [0, 0, 2, 2, 2]
    assert sample_arrivals(9.0, 60.0, 100, seed=1, counts=(0, 0)).tolist() == [0.0]
