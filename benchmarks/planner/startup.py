"""From the start of a process to its first plan: import, plain form, and the compiled form out of the cache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from trimtab import compiled

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys, time
start = time.perf_counter()
import trimtab.plan.solve
imported = time.perf_counter()
from trimtab import compiled
sys.path.insert(0, {root!r})
from benchmarks.planner.instances import make_instance, timed
from benchmarks.planner.ipa import ours
instance = make_instance(1, 3, 5)
first = timed(lambda: ours(instance))[1]
later = min(timed(lambda: ours(instance))[1] for _ in range(5))
loading = timed(compiled.load_when_cached)[1]
at_once = timed(lambda: ours(instance))[1]
assert compiled.is_loaded()
print(1e3 * (imported - start), first, later, loading, at_once)
"""


def run(*, quick: bool, out: Path) -> None:
    """Print the medians over some processes."""
    del out
    compiling = not compiled.is_cached()
    subprocess.run([sys.executable, "-m", "trimtab.compiled"], check=True)
    rows = [_one() for _ in range(3 if quick else 9)]
    names = (
        "import trimtab.plan.solve",
        "first plan, plain form (3 x 5)",
        "a later plan, plain form (3 x 5)",
        "the compiled form from the cache",
        "first plan, compiled",
    )
    print(f"Start of a process: milliseconds, median of {len(rows)}" + (" (compiled anew before)" * compiling))
    for name, value in zip(names, np.median(np.array(rows), axis=0), strict=True):
        print(f"{name:<34}{value:>10.2f}")


def _one() -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(root=str(ROOT))], capture_output=True, text=True, check=True
    )
    return [float(word) for word in done.stdout.split()]
