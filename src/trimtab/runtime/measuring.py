"""Two measurements on one running replica: how long a batch takes while it is busy, and whether it keeps up.

Both go through the real worker process, so that what is measured is what serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import numpy as np

from trimtab.errors import ModelError
from trimtab.profile.model import QUANTILES, CapacityCheck, ServicePoint
from trimtab.runtime.models.model import Interface, format_shape
from trimtab.runtime.replica import Replica
from trimtab.runtime.service import Tensor, TensorInfo

WARM_UP_BATCHES = 2
"""Batches per slot that are run and not counted."""
BACKLOG_ALLOWED = 0.05
"""Share of the arrivals that may still wait when the sending ends for a load to count as sustained."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure one service time."""

    seconds: float
    """Measure at least this long, unless `enough_samples` come sooner."""
    min_samples: int
    """Measure on until there are this many, however long it takes."""
    enough_samples: int = 400


def batch_of(known: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
    """The first `rows` rows of known inputs, which begin again where there are too few."""
    return {name: np.take(array, range(rows), axis=0, mode="wrap") for name, array in known.items()}


def made_up_inputs(interface: Interface, rows: int, rng: np.random.Generator) -> dict[str, Tensor]:
    """Random inputs of a model's shapes: floats in [0, 1), bytes in [0, 256), other integers 0 or 1 (valid as indices).

    Raises:
        ModelError: an axis besides the rows is free, so its length cannot be known, or an input is text.
    """
    return {info.name: _made_up(info, rows, rng) for info in interface.inputs}


def _made_up(info: TensorInfo, rows: int, rng: np.random.Generator) -> Tensor:
    if info.dtype.kind == "O" or any(axis < 0 for axis in info.shape[1:]):
        what = "it is text or bytes" if info.dtype.kind == "O" else "an axis besides the rows is free"
        raise ModelError(
            f"input '{info.name}' cannot be made up: {what}",
            got=format_shape(info.shape),
            wanted="numbers on fixed axes, or an example",
            next_step="give rows of it: trimtab profile --inputs FILE.npz",
        )
    shape = (rows, *info.shape[1:])
    if info.dtype.kind == "f":
        return rng.random(shape, dtype=np.float32).astype(info.dtype)
    return rng.integers(0, 256 if info.dtype == np.uint8 else 2, shape).astype(info.dtype)


@contextlib.asynccontextmanager
async def _first_error() -> AsyncIterator[None]:
    """A task group's failure as the first error itself, not as a group."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


async def measure_service(
    replica: Replica, variant: str, inputs: Mapping[str, Tensor], batch: int, effort: Effort
) -> ServicePoint:
    """Service time of `batch` rows while all slots of the replica are busy.

    As many batches are under way as it has slots, and each is timed from sending to its answer, as the dispatcher sees
    a slot taken: the way to the worker and back is in it, waiting is not. So slots ÷ mean is the rate it can sustain.

    Raises:
        ModelError: the variant cannot serve such a batch.
        WorkerError: the process was lost.
    """
    samples: list[float] = []
    warm_up = WARM_UP_BATCHES * replica.concurrency
    started_s = time.perf_counter()

    def go_on() -> bool:
        count = len(samples) - warm_up
        if count >= effort.enough_samples:
            return False
        return count < effort.min_samples or time.perf_counter() - started_s < effort.seconds

    async def keep_busy() -> None:
        while go_on():
            sent_s = time.perf_counter()
            await replica.run(variant, inputs)
            samples.append(time.perf_counter() - sent_s)

    async with _first_error(), asyncio.TaskGroup() as lanes:
        for _ in range(replica.concurrency):
            lanes.create_task(keep_busy())
    measured = np.asarray(samples[warm_up:])
    return ServicePoint(
        cores=len(replica.core_ids),
        threads=replica.threads,
        batch=batch,
        mean_s=float(measured.mean()),
        quantiles_s={q: float(np.quantile(measured, q)) for q in QUANTILES},
        samples=len(measured),
    )


async def check_capacity(
    replica: Replica,
    variant: str,
    inputs: Mapping[str, Tensor],
    *,
    batch: int,
    rate_rps: float,
    seconds: float,
    rng: np.random.Generator,
) -> CapacityCheck:
    """Open loop: batches of `batch` arrive as a Poisson process of `rate_rps` ÷ `batch` for `seconds`.

    The process is conditioned on its expected count (so arrivals are uniform and sorted), because the question is about
    `rate_rps` and not about the rate that a short draw happens to have. Each batch is sent at its own absolute time,
    whether or not earlier ones have been answered, and its response time counts from that time: a backlog is seen and
    not waited out (no coordinated omission).

    Raises:
        ModelError: the variant cannot serve such a batch.
        WorkerError: the process was lost.
    """
    count = max(round(rate_rps / batch * seconds), 1)
    arrivals_s = np.sort(rng.uniform(0.0, seconds, count)).tolist()
    responses_s: list[float] = []
    loop = asyncio.get_running_loop()
    start_s = loop.time()

    async def one(arrival_s: float) -> None:
        await replica.run(variant, inputs)
        responses_s.append(loop.time() - start_s - arrival_s)

    answered_in_time = 0
    async with _first_error(), asyncio.TaskGroup() as sending:
        for arrival_s in arrivals_s:
            await asyncio.sleep(max(0.0, start_s + arrival_s - loop.time()))
            sending.create_task(one(arrival_s))
        await asyncio.sleep(max(0.0, start_s + seconds - loop.time()))
        answered_in_time = len(responses_s)
    waiting = len(arrivals_s) - answered_in_time
    return CapacityCheck(
        cores=len(replica.core_ids),
        threads=replica.threads,
        batch=batch,
        rate_rps=len(arrivals_s) * batch / seconds,
        served_rps=answered_in_time * batch / seconds,
        p50_s=float(np.quantile(responses_s, 0.5)),
        p99_s=float(np.quantile(responses_s, 0.99)),
        seconds=seconds,
        sustained=waiting <= max(BACKLOG_ALLOWED * len(arrivals_s), 4 * replica.concurrency),
    )
