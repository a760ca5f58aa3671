"""Which process goes first when memory runs out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SETTING = Path("/proc/self/oom_score_adj")
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not SETTING.exists(), reason="needs a system that lets processes offer themselves"),
]


@pytest.mark.parametrize(("calls", "more"), [(1, 500), (3, 1500)])
def test_a_process_offers_itself_before_its_parent(calls: int, more: int) -> None:
    code = f"from trimtab.runtime.memory import die_first as f; {'f(); ' * calls}print(open('{SETTING}').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == min(int(SETTING.read_text()) + more, 1000)
