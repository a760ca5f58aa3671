"""Runs many independent cases, a few processes at a time, and keeps their order."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from experiments.command import console
from rich.progress import track

from trimtab import compiled

C = TypeVar("C")
R = TypeVar("R")


def results(case: Callable[[C], R], cases: Sequence[C], processes: int, what: str) -> list[R]:
    """What `case` gives for each of `cases`, in their order.

    `case` is a function of a module, and cases hold only what can be sent to another process. Machine code is made
    once, before any process needs it; without Numba everything runs as plain Python.
    """
    _compile()
    if processes == 1 or len(cases) == 1:
        return [case(one) for one in track(cases, what, console=console, transient=True)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(cases)), mp_context=context, initializer=_compile) as pool:
        found = pool.map(case, cases)
        return list(track(found, what, total=len(cases), console=console, transient=True))


def _compile() -> None:
    if compiled.is_available():
        for part in compiled.PARTS:
            compiled.load(part)
