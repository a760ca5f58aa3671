"""Windows added up: series by window, totals, and what came after the load."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.sim import layout as at
from trimtab.sim.recorder import Recorder
from trimtab.sim.window import Window, response_quantiles
from trimtab.spec.model import Pipeline, Slo, Task, Variant

PIPELINE = Pipeline(
    "p",
    {
        "a": Task("a", {"small": Variant("small", None, 0.7), "large": Variant("large", None, 0.9)}),
        "b": Task("b", {"only": Variant("only", None, 0.8)}),
    },
    Slo(0.5),
)


def bucket(response_s: float) -> int:
    return int(math.log(response_s / at.LEAST_RESPONSE_S) / at.RESPONSE_STEP)


def window(
    start_s: float,
    end_s: float,
    *,
    arrivals: tuple[int, ...] = (),
    outcomes: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0),
    worth: float = 0.0,
    responses: tuple[float, ...] = (),
    served: tuple[int, int, int] = (0, 0, 0),
    core_seconds: float = 0.0,
) -> Window:
    """`served`: large, small and only."""
    counts = np.zeros(at.BUCKETS, dtype=np.int64)
    for response_s in responses:
        counts[bucket(response_s)] += 1
    return Window(
        start_s, end_s, arrivals, np.array(outcomes), worth, sum(responses), counts,
        np.array([served[:2], [served[2], 0]]), np.zeros((2, 4)), core_seconds, np.empty(0),
    )  # fmt: skip


def test_two_windows_and_a_tail_by_hand() -> None:
    recorder = Recorder(PIPELINE, window_s=2.0)
    recorder.add(
        window(
            0, 1, arrivals=(3,), outcomes=(2, 0, 1, 0, 0), worth=1.5, responses=(0.1, 0.2), served=(2, 0, 2),
            core_seconds=4.0,
        ),
        planned_cores=4, rate_planned=10.0,
    )  # fmt: skip
    recorder.add(
        window(
            1, 2, arrivals=(4,), outcomes=(1, 1, 0, 0, 0), worth=1.2, responses=(0.3, 0.6), served=(0, 2, 2),
            core_seconds=6.0,
        ),
        planned_cores=2, rate_planned=20.0,
    )  # fmt: skip
    recorder.add(window(2, 3, arrivals=(2,), outcomes=(0, 0, 0, 1, 1), core_seconds=2.0), 2, 20.0)
    recorder.finish(20.0, 3.0)
    tail = recorder.tail()
    tail.add(window(3, 4, outcomes=(1, 1, 0, 0, 0), worth=1.4, responses=(0.5, 0.9), core_seconds=9.0), 0)
    series = recorder.series()
    assert series.offered == [7, 2]
    assert (series.in_time, series.late, series.refused) == ([3, 0], [1, 0], [1, 0])
    assert (series.dropped, series.failed) == ([0, 1], [0, 1])
    assert series.cores == pytest.approx([5.0, 2.0])
    assert series.planned_cores == pytest.approx([3.0, 2.0])
    assert series.rate_planned == [20.0, 20.0]
    assert series.variants == {"a": {"small": [2, 0], "large": [2, 0]}, "b": {"only": [4, 0]}}
    assert list(series.variants["a"]) == ["small", "large"]  # least accurate first
    assert series.accuracy == [pytest.approx(2.7 / 4), None]
    assert series.p50_s[0] == pytest.approx(0.2, rel=0.003)
    assert (series.p50_s[1], series.p99_s[1]) == (None, None)
    assert recorder.windows == 2
    summary = recorder.summary(3.0, peak_cores=7, changes=1, decisions=3, decide_s=0.5, after=tail)
    assert summary.offered == 9 == summary.in_time + summary.late + summary.refused + summary.dropped + summary.failed
    assert (summary.in_time, summary.late, summary.refused, summary.dropped, summary.failed) == (4, 2, 1, 1, 1)
    assert summary.attainment == pytest.approx(4 / 9)
    assert summary.violation_ratio == pytest.approx(5 / 9)
    assert summary.mean_s == pytest.approx((0.1 + 0.2 + 0.3 + 0.6 + 0.5 + 0.9) / 6)
    assert summary.accuracy == pytest.approx(4.1 / 6)
    assert summary.p99_s == pytest.approx(0.9, rel=0.003)
    assert summary.core_seconds == pytest.approx(12.0)  # what is held after the load is no cost of it
    assert summary.mean_cores == pytest.approx(4.0)
    assert summary.planned_cores == pytest.approx((4 + 2 + 2) / 3)
    assert (summary.peak_cores, summary.changes, summary.decisions, summary.decide_s) == (7, 1, 3, 0.5)


def test_nothing_at_all() -> None:
    recorder = Recorder(PIPELINE, window_s=5.0)
    recorder.finish(1.0, 0.0)
    summary = recorder.summary(1.0, 0, 0, 0, 0.0)
    assert recorder.windows == 0
    assert (summary.offered, summary.attainment, summary.p50_s, summary.mean_s, summary.accuracy) == (
        0, None, None, None, None,
    )  # fmt: skip


def test_windows_close_in_spite_of_rounding() -> None:
    recorder = Recorder(PIPELINE, window_s=1.0)
    now_s = 0.0
    for _ in range(30):
        recorder.add(window(now_s, now_s + 0.1, core_seconds=0.1), 1, 1.0)
        now_s += 0.1
    recorder.finish(1.0, 3.0)
    assert recorder.windows == 3
    assert recorder.series().cores == pytest.approx([1.0, 1.0, 1.0])


@given(
    st.lists(st.floats(2e-5, 1000.0), min_size=1, max_size=60), st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4)
)
def test_quantiles_of_counted_times_are_within_a_quarter_of_a_percent(
    times: list[float], quantiles: list[float]
) -> None:
    counts = np.zeros(at.BUCKETS, dtype=np.int64)
    for response_s in times:
        counts[bucket(response_s)] += 1
    told = response_quantiles(counts, quantiles)
    for q in quantiles:
        near = np.quantile(times, q, method="lower"), np.quantile(times, q, method="higher")
        assert near[0] * (1 - 0.0026) <= told[q] <= near[1] * (1 + 0.0026)


def test_no_times_have_no_quantiles() -> None:
    assert response_quantiles(np.zeros(at.BUCKETS, dtype=np.int64), (0.5, 0.99)) == {}
