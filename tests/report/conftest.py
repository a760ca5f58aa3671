"""Three made-up runs over one bursty load, as a cheap, an accurate and an adaptive server would give them."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.load.result import LoadResult, Outcome, Record, Run, measure
from trimtab.workload.arrivals import send_times
from trimtab.workload.generate import TraceShape, generate

SLO_S = 0.4


def make_run(name: str, seconds: int = 40) -> LoadResult:
    """`cheapest` is fast and often wrong, `most-accurate` refuses above 40 requests per second, `trimtab` switches."""
    trace = generate(TraceShape(seconds, mean_rps=20, peak_rps=70, bursts=2, burst_s=10, ramp_s=1, swing=0, noise=0), 3)
    times_s = send_times(trace.rates(), "recorded", 1)
    draws = np.random.default_rng(len(name))
    records = []
    for i, intended_s in enumerate(times_s.tolist()):
        busy = (trace.counts[int(intended_s)] or 0) > 40
        best = name == "most-accurate" or (name == "trimtab" and not busy)
        accuracy = 0.92 * 0.97 if best else 0.8 * 0.85
        outcome: Outcome = "refused" if name == "most-accurate" and busy and draws.random() < 0.4 else "in_time"
        response_s = float(0.06 + draws.exponential(0.03 if best else 0.01))
        records.append(
            Record(
                i, i, intended_s, intended_s + 0.001, intended_s + response_s,
                outcome if response_s <= SLO_S or outcome == "refused" else "late",
                variants={"find": "large" if best else "small", "read": "wide" if best else "thin"},
                accuracy=accuracy, plan="a" if best else "b",
                correct=None if outcome == "refused" else bool(draws.random() < accuracy),
            )
        )  # fmt: skip
    cost = [(t - 0.2, 1.7 * t + 0.02 * t * t) for t in np.arange(0.0, seconds + 2.0)]
    run = Run(
        name, "http://127.0.0.1:8080", "digits", SLO_S, 0.99, trace.name, "recorded", 1, float(seconds),
        "2026-01-01T00:00:00+00:00", "test.npz",
    )  # fmt: skip
    return measure(run, records, cost=cost)


@pytest.fixture(scope="session")
def runs() -> list[LoadResult]:
    return [make_run(name) for name in ("cheapest", "most-accurate", "trimtab")]
