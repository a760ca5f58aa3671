"""The joint problem: five core levels and mixes of two variants per task, against HiGHS on the same pruned choices."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from benchmarks.planner.instances import make_instance, spread
from benchmarks.planner.ipa import by_highs, compared, kept, measured, ours

from trimtab import compiled

SIZES = ((3, 5), (5, 10), (10, 10))


def run(*, quick: bool, out: Path) -> None:
    """Print the table."""
    del out
    count, others = (50, 2) if quick else (300, 4)
    compiled.load()
    print(f"Joint problem: milliseconds from coefficient arrays, {count} instances; HiGHS the first {others}")
    print(f"{'tasks x variants':<17}{'p50':>9}{'p99':>9}{'max':>9}{'choices':>10}{'HiGHS, pruned':>14}{'ratio':>9}")
    for tasks, variants in SIZES:
        instances = [make_instance(seed, tasks, variants, joint=True) for seed in range(count)]
        values, times = measured(functools.partial(ours, mixes=True), instances)
        few = instances[:others]
        problems = [kept(one, mixes=True) for one in few]
        size = np.median([table.cost.size for problem in problems for table in problem.choices])
        print(f"{f'{tasks} x {variants}':<17}{spread(times)}{size:>10.0f}", end="", flush=True)
        print(f"{compared(values, times, problems, [one.weights.alpha for one in few], by_highs):>23}", flush=True)
