"""Which cores this machine lets us use, and keeping every thread of this process on some of them.

Where the system has no affinity (macOS, Windows) that is a missing capability, said in words, not an error.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from trimtab.errors import WorkerError

_TASKS = Path("/proc/self/task")


def missing() -> str | None:
    """What is missing here, in words for people; None where affinity works."""
    if hasattr(os, "sched_setaffinity") and _TASKS.is_dir():
        return None
    return "CPU affinity: not offered by this operating system; replicas are kept to their cores by thread counts alone"


def usable_cores() -> tuple[int, ...]:
    """Ids of the cores that this process may run on, ascending; counted from 0 where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def hold_cores(core_ids: tuple[int, ...]) -> None:
    """Keep every thread of this process, and all that they start, on `core_ids`. Does nothing where it is missing.

    Threads may start while we go through them, so we repeat until no new one has turned up. About 0.2 ms.

    Raises:
        WorkerError: the system does not let this process use one of the cores.
    """
    if missing() is not None:
        return
    wanted = set(core_ids)
    done: set[int] = set()
    try:
        while new := {int(entry.name) for entry in _TASKS.iterdir()} - done:
            for tid in new:
                with contextlib.suppress(ProcessLookupError):  # the thread ended meanwhile
                    os.sched_setaffinity(tid, wanted)
            done |= new
        held = os.sched_getaffinity(0)
    except OSError as error:
        raise WorkerError("these cores cannot be used", got=str(core_ids), wanted=_allowed()) from error
    if held != wanted:
        raise WorkerError("not all of these cores can be used", got=str(core_ids), wanted=_allowed())


def _allowed() -> str:
    return f"cores this system lets the process use; it has {os.cpu_count()}"
