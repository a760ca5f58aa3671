"""The planner's machine code beside a server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from trimtab import compiled
from trimtab.runtime.compiling import SLOW_S, BackgroundCompiler


@pytest.fixture(autouse=True)
def _not_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "is_available", lambda: True)
    monkeypatch.setattr(compiled, "is_cached", lambda: False)


async def _done(compiler: BackgroundCompiler) -> None:
    assert compiler._task is not None
    async with asyncio.timeout(20):
        await compiler._task


def test_a_slow_decision_starts_the_compiler_once_and_a_quick_one_does_not(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    code = f"open({str(log)!r}, 'a').write('called\\n')"

    async def served() -> None:
        compiler = BackgroundCompiler((sys.executable, "-c", code))
        compiler.decided(SLOW_S / 2)
        assert compiler._task is None
        compiler.decided(SLOW_S * 2)
        compiler.decided(SLOW_S * 2)
        await _done(compiler)
        compiler.decided(SLOW_S * 2)
        await compiler.stop()

    asyncio.run(served())
    assert log.read_text() == "called\n"


def test_what_is_cached_is_not_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "is_cached", lambda: True)

    async def served() -> None:
        compiler = BackgroundCompiler((sys.executable, "-c", "raise SystemExit(3)"))
        compiler.decided(1.0)
        assert compiler._task is None
        await compiler.stop()

    asyncio.run(served())


def test_a_compiler_that_fails_leaves_plain_python(caplog: pytest.LogCaptureFixture) -> None:
    async def served() -> None:
        compiler = BackgroundCompiler((sys.executable, "-c", "raise SystemExit(3)"))
        compiler.decided(1.0)
        await _done(compiler)
        await compiler.stop()

    asyncio.run(served())
    assert "exit status 3" in caplog.text


def test_stopping_ends_the_compiler() -> None:
    async def served() -> None:
        compiler = BackgroundCompiler((sys.executable, "-c", "import time; time.sleep(60)"))
        compiler.decided(1.0)
        await asyncio.sleep(0.2)
        async with asyncio.timeout(10):
            await compiler.stop()
        assert compiler._task is not None
        assert compiler._task.done()

    asyncio.run(served())


def test_the_process_ends_with_its_parent() -> None:
    child = (
        "import sys, time; from trimtab import compiled; from trimtab.runtime import compiling;"
        "compiled.cache_obstacle = lambda part: None; compiled.load = lambda part: time.sleep(60);"
        "compiling._fill_cache(int(sys.argv[1]))"
    )
    parent = (
        "import os, subprocess, sys;"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}, str(os.getpid())]);"
        "print(child.pid, flush=True); child.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        started = psutil.Process(int(process.stdout.readline()))
        process.kill()
    assert not psutil.wait_procs([started], timeout=20)[1]
