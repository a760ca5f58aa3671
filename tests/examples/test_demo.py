"""The demonstration's own part: no child outlives it, and a server that fails is told with its log."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType

import psutil
import pytest

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(sys.platform == "win32", reason="the demonstration ends whole process groups, a POSIX idea"),
]


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "digits" / "demo.py"
    spec = importlib.util.spec_from_file_location("digits_demo", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def alive(pid: int) -> bool:
    """Whether the process still runs; a dead one that nobody has waited for yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_no_child_and_no_grandchild_outlives_a_failure(demo: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(p.pid, flush=True); time.sleep(600)"
    )
    with contextlib.suppress(KeyboardInterrupt), demo.child(["-c", code], log) as process:
        until = time.monotonic() + 20
        while not log.read_text().endswith("\n") and time.monotonic() < until:
            time.sleep(0.02)
        grandchild = int(log.read_text())
        assert alive(grandchild)
        raise KeyboardInterrupt
    assert process.returncode is not None
    until = time.monotonic() + 20
    while alive(grandchild) and time.monotonic() < until:
        time.sleep(0.02)
    assert not alive(grandchild)


def test_a_failed_command_is_told(demo: ModuleType) -> None:
    with pytest.raises(demo.DemoError, match="exit code 3 from: -c"):
        demo.run(["-c", "raise SystemExit(3)"], timeout_s=20)
    with pytest.raises(demo.DemoError, match="took longer than 0 s"):
        demo.run(["-c", "import time; time.sleep(600)"], timeout_s=0.2)


def test_the_address_is_read_from_the_ready_line(demo: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "print('trimtab: serving digits on http://127.0.0.1:5 (more)', flush=True); import time; time.sleep(600)"
    with demo.child(["-c", code], log) as process:
        assert demo.wait_ready(process, log) == "http://127.0.0.1:5"


def test_a_server_that_ends_is_told_with_its_last_words(demo: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "raise SystemExit('no such policy')"
    with (
        pytest.raises(demo.DemoError, match=r"exit code 1(.|\n)*no such policy"),
        demo.child(["-c", code], log) as ended,
    ):
        demo.wait_ready(ended, log)
