"""Peak memory by length of the trace, each length in a process of its own. Linux only: it reads /proc."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOURS = (1, 6, 24)


def run(*, quick: bool) -> None:
    """Print the table."""
    print("Resident memory at 50 requests/s by hours of trace: with all code loaded, and at most while simulating")
    if not Path("/proc/self/clear_refs").exists():
        print("left out: this system has no /proc")
        return
    print(f"{'hours':>6}{'requests':>12}{'before':>12}{'at most':>12}{'more':>12}")
    for hours in HOURS[: 2 if quick else None]:
        command = [sys.executable, "-m", "benchmarks.sim.memory", str(hours)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        requests, before, most = (int(word) for word in done.stdout.split())
        print(f"{hours:>6}{requests:>12,}" + "".join(f"{kb / 1024:>9.1f} MB" for kb in (before, most, most - before)))


def _one(hours: int) -> None:
    """Simulate so many hours; print the requests, and this process' kilobytes before and at most."""
    from benchmarks.sim.scenes import a_scene, played

    from trimtab import compiled

    compiled.load("sim")
    scene = a_scene(50.0)
    played(scene, 60, 50)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on, not from the loading of code
    before = _kilobytes("VmRSS")
    offered = played(scene, 3600 * hours, 50).summary.offered
    print(offered, before, _kilobytes("VmHWM"))


def _kilobytes(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, f"{name} is not told"
    return int(found[1])


if __name__ == "__main__":
    _one(int(sys.argv[1]))
