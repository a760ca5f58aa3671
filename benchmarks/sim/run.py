"""The simulator's benchmarks, all measured in this run: requests a second, against SimPy, a day, memory.

    python benchmarks/sim/run.py [--quick]

The comparison needs SimPy, which `make setup` installs; without it, that section says so.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Run all sections."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="shorter runs: half a minute")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    compiled = importlib.import_module("trimtab.compiled")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    cached = compiled.is_cached("sim")
    began_s = time.perf_counter()
    compiled.load("sim")
    took_s = time.perf_counter() - began_s
    print(f"machine code {'from the cache' if cached else 'compiled'} in {took_s:.1f} s")
    for section in ("speed", "simpy_model", "memory"):
        print(flush=True)
        importlib.import_module(f"benchmarks.sim.{section}").run(quick=options.quick)


if __name__ == "__main__":
    main()
