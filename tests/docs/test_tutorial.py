"""The tutorial's commands, run in their order as one shell session."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from trimtab.control.journal import read_journal

ROOT = Path(__file__).parents[2]
WITHIN_S = 240


@pytest.mark.live
@pytest.mark.skipif(len(psutil.Process().cpu_affinity() or ()) < 2, reason="needs two cores")
@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs curl and bash")
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text()
    script = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = script.replace("out/tutorial", str(tmp_path)).replace("8099", str(port))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-c", f"set -em\n{script}"],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    served = json.loads((tmp_path / "load.json").read_text())
    assert "attainment" in json.dumps(served)
    quiet, busy = re.findall(r"accuracy +([\d.]+) %", result.stdout)[:2]
    assert float(busy) < float(quiet), "the busy plan should take cheaper variants"
    entries = read_journal(tmp_path / "journal.jsonl").entries
    assert sum(entry.observation.outcomes.ended for entry in entries if entry.observation) > 50
