"""What the reliability runs share: a stand with one task on two cores, its capacity, and load by the clock."""

from __future__ import annotations

import argparse
import asyncio
import platform
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from tests.faults.stand import Answer, Shape, Stand, a_pipeline, standing

WEAKEST = Shape(("big",), (1,), (1,), batch=1)
"""The plan with the least capacity of those that are used."""


def options(text: str | None, seconds: float) -> argparse.ArgumentParser:
    """The options that all runs have."""
    parser = argparse.ArgumentParser(description=(text or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=seconds, help="length of the load")
    return parser


@asynccontextmanager
async def one_task(*, slo_s: float, work: int = 400, shape: Shape = WEAKEST) -> AsyncIterator[Stand]:
    """A stand with a single task; see `standing` for what is checked at its end."""
    with tempfile.TemporaryDirectory() as folder:
        whole = a_pipeline(Path(folder), slo_s=slo_s, work=work)
        pipeline = replace(whole, tasks={"first": whole.tasks["first"]})
        async with standing(pipeline, shape=shape) as stand:
            yield stand


async def capacity_rps(stand: Stand, seconds: float = 3.0, clients: int = 8) -> float:
    """Requests per second that `clients`, each asking anew at its answer, get through."""
    end_s = time.perf_counter() + seconds
    answered = 0

    async def client() -> None:
        nonlocal answered
        while time.perf_counter() < end_s:
            answer = await stand.ask()
            answered += answer.ending == "answered"

    await asyncio.gather(*(client() for _ in range(clients)))
    return answered / seconds


async def steady(
    stand: Stand, rate_rps: float, seconds: float, took: Callable[[Answer], None], timeout_s: float | None = None
) -> None:
    """One request every 1 / `rate_rps` seconds by the clock, whatever became of those before; all get their end."""
    began_s = time.perf_counter()
    asking: set[asyncio.Task[None]] = set()

    async def one() -> None:
        took(await stand.ask(timeout_s))

    for number in range(round(rate_rps * seconds)):
        wait_s = began_s + number / rate_rps - time.perf_counter()
        await asyncio.sleep(max(wait_s, 0.0))
        task = asyncio.create_task(one())
        asking.add(task)
        task.add_done_callback(asking.discard)
    await asyncio.gather(*asking)


async def watch(stand: Stand, every_s: float, look: Callable[[], None] = lambda: None) -> None:
    """Observe the plant as a controller would, and `look` at something, for ever."""
    while True:
        await asyncio.sleep(every_s)
        await stand.observe()
        look()


def machine() -> str:
    """What a table says about where it was made."""
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{system}; clients run in the server's process"
