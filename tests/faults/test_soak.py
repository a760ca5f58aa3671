"""The long runs as tests: half an hour of load with deadlines, and ten minutes of forced changes of plan. Not in CI."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.live, pytest.mark.soak]

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("run", ["soak", "plan_changes"])
def test_the_claim_of_a_long_run_holds(run: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.reliability.{run}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
