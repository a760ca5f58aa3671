"""The how-to on accuracy: its commands run, on the example with fewer variants and rows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trimtab.spec.load import load_pipeline

ROOT = Path(__file__).parents[2]
KEPT = {"locate-s", "read-xs", "read-s"}

pytestmark = pytest.mark.live


def test_the_how_tos_commands_run(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "digits", tmp_path / "examples" / "digits")
    file = tmp_path / "examples" / "digits" / "pipeline.yaml"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    variants = {line: found[1] for line in lines if (found := re.match(r" {6}([a-z-]+): \{model:", line))}
    assert set(variants.values()) >= KEPT
    file.write_text("".join(line for line in lines if variants.get(line, "read-s") in KEPT), encoding="utf-8")
    how_to = (ROOT / "docs" / "how-to" / "evaluate.md").read_text(encoding="utf-8")
    commands = re.findall(r"```sh\n(.*?)```", how_to, re.DOTALL)
    script = "".join(commands).rstrip() + " --write"
    assert "--count 600" in script
    done = subprocess.run(
        ["bash", "-c", "set -e\n" + script.replace("--count 600", "--count 20")],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "accuracy-measured.json").read_text())
    assert {each["variant"]: each["given"] for each in found["variants"]} == dict.fromkeys(KEPT, "data")
    assert len(found["combinations"]) == 2
    assert all(each["product"] is not None for each in found["combinations"])
    written = load_pipeline(file)
    assert set(written.accuracy.table) == {("locate-s", "read-xs"), ("locate-s", "read-s")}
