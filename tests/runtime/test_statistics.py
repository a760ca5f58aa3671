"""Running sums of what was done."""

from __future__ import annotations

from trimtab.runtime.service import ModelStatistics, Spent
from trimtab.runtime.statistics import Statistics
from trimtab.spec.model import Edge, Pipeline, Slo, Task, Variant


def a_pipeline() -> Pipeline:
    tasks = {
        "find": Task("find", {"find-s": Variant("find-s", None, 0.8)}),
        "read": Task("read", {v: Variant(v, None, 0.9) for v in ("read-s", "read-l")}, (Edge("find"),)),
    }
    return Pipeline("scene", tasks, Slo(1.0))


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def of(statistics: Statistics, model: str, version: str = "") -> ModelStatistics:
    return next(s for s in statistics.all() if (s.model, s.version) == (model, version))


def test_at_the_start_all_is_there_and_nothing_was_done() -> None:
    figures = Statistics(a_pipeline(), Clock()).all()
    assert [(f.model, f.version) for f in figures] == [
        ("scene", ""),
        ("find", "find-s"),
        ("read", "read-s"),
        ("read", "read-l"),
    ]
    assert all(f == ModelStatistics(f.model, f.version) for f in figures)


def test_requests_are_summed_for_the_pipeline() -> None:
    clock = Clock()
    statistics = Statistics(a_pipeline(), clock)
    statistics.answered(3, 0.25)
    clock.now_s += 5.0
    statistics.answered(1, 0.5)
    clock.now_s += 5.0
    statistics.unanswered(0.125)
    found = of(statistics, "scene")
    assert (found.items, found.executions, found.last_inference_s) == (4, 2, 1005.0)
    assert (found.success, found.fail) == (Spent(2, 0.75), Spent(1, 0.125))
    assert of(statistics, "find", "find-s").executions == 0


def test_batches_are_summed_for_their_variant_an_item_at_a_time() -> None:
    statistics = Statistics(a_pipeline(), Clock())
    statistics.served("read", "read-l", 4, 0.5, 0.25)
    statistics.served("read", "read-l", 1, 0.0, 0.125)
    statistics.served("read", "read-l", 4, 0.25, 0.5)
    statistics.failed("read", "read-l", 2, 0.5)
    found = of(statistics, "read", "read-l")
    assert (found.items, found.executions) == (9, 3)
    assert found.queue == Spent(9, 0.75)
    assert found.compute == Spent(9, 4 * 0.25 + 0.125 + 4 * 0.5)
    assert found.success == Spent(9, found.queue.seconds + found.compute.seconds)
    assert found.fail == Spent(2, 1.0)
    assert found.batches == {1: Spent(1, 0.125), 4: Spent(2, 0.75)}
    assert sum(size * spent.count for size, spent in found.batches.items()) == found.items
    assert of(statistics, "read", "read-s").items == 0


def test_figures_that_were_read_stay_as_they_were() -> None:
    statistics = Statistics(a_pipeline(), Clock())
    statistics.served("find", "find-s", 1, 0.0, 0.125)
    before = of(statistics, "find", "find-s")
    statistics.served("find", "find-s", 1, 0.0, 0.125)
    assert (before.items, before.batches) == (1, {1: Spent(1, 0.125)})
