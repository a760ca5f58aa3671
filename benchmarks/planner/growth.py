"""How the time to plan grows with tasks, with variants and with group sizes: a picture and its numbers."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmarks.planner.instances import BATCHES, Instance, make_instance
from benchmarks.planner.ipa import measured, ours

from trimtab import compiled

TASKS = (1, 2, 3, 5, 10, 20, 40)
VARIANTS = (2, 5, 10, 20, 50, 100)
SIZES = (1, 2, 4, 7, 14, 35, 70)
"""Options of every variant."""


def run(*, quick: bool, out: Path) -> None:
    """Print the medians and draw them with the 99th percentiles."""
    compiled.load()
    count = 40 if quick else 300
    curves = {
        "tasks (10 variants, 7 batches)": {n: [make_instance(i, n, 10) for i in range(count)] for n in TASKS},
        "variants (10 tasks, 7 batches)": {n: [make_instance(i, 10, n) for i in range(count)] for n in VARIANTS},
        "options of a variant (10 × 10)": {n: [_with_sizes(i, n) for i in range(count)] for n in SIZES},
    }
    print(f"Growth, one variant per task: milliseconds, median / p99 of {count}")
    found = {name: {n: _times(some) for n, some in curve.items()} for name, curve in curves.items()}
    for name, curve in found.items():
        print(f"{name:<34}" + "  ".join(f"{n}: {p50:.3f} / {p99:.3f}" for n, (p50, p99) in curve.items()))
    _draw(found, out / "growth.png")
    print(f"picture: {out / 'growth.png'}")


def _with_sizes(seed: int, sizes: int) -> Instance:
    """A 10 × 10 instance with a number of options for every variant, alike but for noise in time and capacity."""
    whole = make_instance(seed, 10, 10)
    rng = np.random.default_rng(seed)
    at = rng.choice(BATCHES.size, sizes, replace=sizes > BATCHES.size)
    at[0] = 0
    groups = whole.groups
    latency_s = groups.latency_s[:, at] * rng.uniform(0.7, 1.3, (groups.accuracy.size, sizes))
    latency_s[:, 0] = groups.latency_s[:, 0]
    changed = replace(
        groups,
        latency_s=latency_s,
        throughput_rps=groups.batch[at] / latency_s * rng.uniform(0.7, 1.3, latency_s.shape),
        cores=np.ascontiguousarray(groups.cores[:, at]),
        batch=groups.batch[at],
    )
    waits_s = latency_s[:, 0]
    least_s = sum(float(waits_s[a:b].min()) for a, b in itertools.pairwise(groups.first))
    return replace(whole, groups=changed, latency_s=least_s * float(rng.uniform(1.05, 5.0)))


def _times(instances: list[Instance]) -> tuple[float, float]:
    _, times = measured(ours, instances)
    return float(np.median(times)), float(np.quantile(times, 0.99))


def _draw(found: dict[str, dict[int, tuple[float, float]]], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(12, 3.6), sharey=True, layout="constrained")
    for axis, (name, curve) in zip(axes, found.items(), strict=True):
        sizes = list(curve)
        axis.loglog(sizes, [p50 for p50, _ in curve.values()], "o-", label="median")
        axis.loglog(sizes, [p99 for _, p99 in curve.values()], "s--", label="99th percentile")
        axis.set_xlabel(name)
        axis.set_xticks(sizes, [str(n) for n in sizes])
        axis.minorticks_off()
        axis.grid(visible=True, alpha=0.3)
    ticks = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    axes[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[0].set_ylabel("milliseconds for a plan")
    axes[0].legend()
    figure.savefig(file, dpi=150)
    plt.close(figure)
