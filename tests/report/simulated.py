"""Made-up results of simulated runs: a load with one burst, in which a policy of stated figures is late or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trimtab.rng import generator
from trimtab.sim.result import SimResult, SimRun, SimSeries, SimSummary

SLO_S = 0.75
POLICIES: dict[str, tuple[float, float, float]] = {
    "trimtab": (0.002, 0.92, 6.5),
    "infadapter": (0.05, 0.93, 10.5),
    "ms+": (0.06, 0.90, 11.0),
    "cheapest": (0.001, 0.70, 4.0),
    "oracle": (0.0, 0.94, 6.0),
}
"""Name → violations, accuracy and cores on average."""


def make_result(
    policy: str = "trimtab",
    trace: str = "busy",
    seed: int = 0,
    *,
    violations: float | None = None,
    accuracy: float | None = None,
    cores: float | None = None,
    name: str | None = None,
    seconds: int = 100,
    window_s: float = 5.0,
) -> SimResult:
    """A result with these figures, give or take what the seed adds; they agree with its series."""
    usual = POLICIES.get(policy, (0.03, 0.9, 9.0))
    share, worth, held = (
        a if b is None else b for a, b in zip(usual, (violations, accuracy, cores), strict=True)
    )  # fmt: skip
    draws = generator(seed, policy, trace)
    windows = int(np.ceil(seconds / window_s))
    rate = 40.0 + 60.0 * (np.abs(np.arange(windows) - windows / 2) < windows / 8)
    offered = draws.poisson(rate * window_s)
    late = draws.binomial(offered, share)
    p99 = SLO_S * (0.4 + 4.0 * share) * rate / 50.0 + 0.01 * draws.random(windows)
    accuracies = worth - 0.01 * (rate > 50) + 0.002 * draws.random(windows)
    planned = held * (0.8 + 0.4 * (rate > 50))
    bound = policy == "oracle"
    small = offered // 3
    series = SimSeries(
        window_s=window_s,
        offered=offered.tolist(),
        in_time=(offered - late).tolist(),
        late=late.tolist(),
        refused=[0] * windows,
        dropped=[0] * windows,
        failed=[0] * windows,
        p50_s=(p99 / 2).tolist(),
        p99_s=p99.tolist(),
        accuracy=accuracies.tolist(),
        cores=(planned + 0.1).tolist(),
        planned_cores=planned.tolist(),
        rate_planned=(1.1 * rate).tolist(),
        variants={"classify": {"small": small.tolist(), "large": (offered - small).tolist()}},
    )
    total, missed = int(offered.sum()), int(late.sum())
    summary = SimSummary(
        offered=total,
        in_time=total - missed,
        late=missed,
        refused=0,
        dropped=0,
        failed=0,
        attainment=1.0 - missed / total,
        violation_ratio=missed / total,
        p50_s=float(np.mean(p99) / 2),
        p95_s=float(np.mean(p99)),
        p99_s=float(np.max(p99)),
        mean_s=float(np.mean(p99) / 2),
        accuracy=float(np.average(accuracies, weights=offered)),
        core_seconds=float(np.sum(planned + 0.1) * window_s),
        mean_cores=float(np.mean(planned + 0.1)),
        peak_cores=int(np.ceil(planned.max())) + 1,
        planned_cores=float(np.mean(planned)),
        changes=2 + seed,
        decisions=50,
        decide_s=0.5,
    )
    run = SimRun(
        pipeline="photos",
        policy=policy,
        trace=trace,
        arrivals="poisson",
        seed=seed,
        seconds=float(seconds),
        slo_s=SLO_S,
        slo_quantile=0.99,
        plant="free" if bound else "instant-resident",
        forecaster="oracle" if bound else "quantile",
        rule="trimtab",
        cores=16,
    )
    return SimResult(run, summary, series, settings={} if name is None else {"name": name})


def with_figures(result: SimResult, **figures: float | None) -> SimResult:
    """The same with other figures in its summary."""
    return replace(result, summary=replace(result.summary, **figures))  # type: ignore[arg-type]  # some are counts


def silent(result: SimResult) -> SimResult:
    """The same, had every request been refused."""
    offered, windows = result.series.offered, len(result.series.offered)
    unknown: list[float | None] = [None] * windows
    return SimResult(
        result.run,
        replace(
            result.summary, in_time=0, late=0, refused=sum(offered), attainment=0.0, violation_ratio=1.0, p50_s=None,
            p95_s=None, p99_s=None, mean_s=None, accuracy=None,
        ),
        replace(
            result.series, in_time=[0] * windows, late=[0] * windows, refused=offered, p50_s=unknown, p99_s=unknown,
            accuracy=unknown, variants={"classify": {"small": [0] * windows, "large": [0] * windows}},
        ),
        settings=result.settings,
    )  # fmt: skip
