"""The planner's machine code beside a server."""

from __future__ import annotations

import asyncio
import sys

import pytest

from trimtab import compiled
from trimtab.runtime.compiling import SLOW_S, BackgroundCompiler


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was loaded; nothing is compiled in truth."""
    done: list[str] = []

    def load() -> bool:
        done.append("loaded")
        return True

    monkeypatch.setattr(compiled, "load_when_cached", load)
    monkeypatch.setattr(compiled, "is_loaded", lambda: bool(done))
    monkeypatch.setattr(compiled, "is_available", lambda: True)
    return done


async def _done(compiler: BackgroundCompiler) -> None:
    assert compiler._task is not None
    async with asyncio.timeout(20):
        await compiler._task


def test_a_slow_decision_starts_the_compiler_once_and_a_quick_one_does_not(loads: list[str]) -> None:
    async def served() -> None:
        compiler = BackgroundCompiler((sys.executable, "-c", ""))
        compiler.decided(SLOW_S / 2)
        await asyncio.sleep(0.05)
        assert loads == []
        compiler.decided(SLOW_S * 2)
        compiler.decided(SLOW_S * 2)
        await _done(compiler)
        compiler.decided(SLOW_S * 2)
        await compiler.stop()

    asyncio.run(served())
    assert loads == ["loaded"]


def test_a_compiler_that_fails_leaves_plain_python(loads: list[str], caplog: pytest.LogCaptureFixture) -> None:
    async def served() -> None:
        compiler = BackgroundCompiler((sys.executable, "-c", "raise SystemExit(3)"))
        compiler.decided(1.0)
        await _done(compiler)
        await compiler.stop()

    asyncio.run(served())
    assert "exit status 3" in caplog.text
    assert loads == []


def test_stopping_ends_the_compiler(loads: list[str]) -> None:
    async def served() -> None:
        compiler = BackgroundCompiler((sys.executable, "-c", "import time; time.sleep(60)"))
        compiler.decided(1.0)
        await asyncio.sleep(0.2)
        async with asyncio.timeout(10):
            await compiler.stop()

    asyncio.run(served())
    assert loads == []
