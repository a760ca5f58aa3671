"""Machine code for the planner of a server: made beside it, into the cache, when it pays.

Serving never waits for a compiler. What is not in the cache is compiled by a process of low priority, and only once a
decision took so long in plain Python that it is worth a minute of a core; until then small pipelines, which plan in
milliseconds anyway, keep all cores for requests. The controller's process loads what is in the cache; this one, which
carries the requests, never does.

`python -m trimtab.runtime.compiling PARENT` is that process: it ends when its parent does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence

from trimtab import compiled

log = logging.getLogger(__name__)

SLOW_S = 0.05
"""A decision that takes longer in plain Python is worth compiling for."""
_COMMAND = (sys.executable, "-m", "trimtab.runtime.compiling")
_NICENESS = 19
_LOOK_S = 0.2


class BackgroundCompiler:
    """Fills the cache of compiled kernels for a server, once."""

    def __init__(self, command: Sequence[str] = _COMMAND) -> None:
        """`command` fills the cache; it is given the id of this process."""
        self._command = command
        self._task: asyncio.Task[None] | None = None

    def decided(self, took_s: float) -> None:
        """Told how long a decision took; starts compiling where that was long. Returns at once."""
        if took_s > SLOW_S and self._task is None and compiled.is_available() and not compiled.is_cached():
            self._task = asyncio.get_running_loop().create_task(self._compile(), name="compile kernels")

    async def stop(self) -> None:
        """End a compilation that is under way."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _compile(self) -> None:
        log.info("planning is slow in plain Python: compiling it in the background")
        process = await asyncio.create_subprocess_exec(
            *self._command,
            str(os.getpid()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
            code = await process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        if code != 0:
            log.warning("compiling the planner failed (exit status %d): it stays in plain Python", code)
            return
        log.info("the planner is compiled")


def _fill_cache(parent: int) -> None:
    """Compile into the cache; end at once when the parent is gone, which may be killed and end nobody."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, name="watch parent", daemon=True).start()
    obstacle = compiled.cache_obstacle("plan")
    if obstacle is not None:
        sys.exit(f"error: machine code cannot be kept: {obstacle}")
    compiled.load("plan")


if __name__ == "__main__":
    _fill_cache(int(sys.argv[1]))
