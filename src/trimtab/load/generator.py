"""The open-loop generator: lets each request go at its own absolute moment, whatever became of the ones before it.

No request waits for an answer, none is skipped and none is moved: if the generator or the server falls behind, later
requests still count their response time from the moment at which they *should* have been sent, so that a stall shows in
all requests it would have met (no coordinated omission). How late the generator itself was is recorded per request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp
import numpy as np
from numpy.typing import NDArray

from trimtab.load.client import Client, Reply
from trimtab.load.dataset import LabelledInputs
from trimtab.load.result import Record, outcome_of
from trimtab.load.wire import Body, decode, decode_error, encode

LEAD_S = 0.2
"""From the call to the start of the replay, so that the first request is not late."""
TICK_S = 0.2
"""How often progress is told and a stop is looked for."""
COST_EVERY_S = 1.0
GRACE_S = 5.0
"""After a stop, requests in flight get so long to end."""


@dataclass(slots=True)
class Progress:
    """How a run is going; told a few times a second."""

    total: int
    sent: int = 0
    ended: int = 0
    in_time: int = 0
    now_s: float = 0.0


@dataclass(slots=True)
class Replayed:
    """What came of a replay: records in the order of their intended moments, and what the server said it cost."""

    records: list[Record] = field(default_factory=list)
    cost: list[tuple[float, float]] = field(default_factory=list)
    """(moment, core-seconds so far)."""
    stopped: bool = False


async def replay(
    client: Client,
    model: str,
    data: LabelledInputs,
    *,
    times_s: NDArray[np.float64],
    rows: NDArray[np.int64],
    slo_s: float,
    binary: bool = True,
    stop: asyncio.Event | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Replayed:
    """Send request i with row `rows[i]` at `times_s[i]` seconds from the start, and see every one to its end.

    All bodies are made before the start. When `stop` is set no further request is let go, and those in flight get
    `GRACE_S` to end; requests that were never let go are not offered, and have no record.

    Raises:
        LoadError: a tensor cannot be sent.
    """
    wanted = () if data.output is None else (data.output,)
    wanted = () if data.output is None else (data.output,)
    bodies = {int(row): encode(data.row(int(row)), wanted, binary=binary) for row in np.unique(rows)}
    cost_before = await client.core_seconds()
    run = _Run(client, model, data, slo_s, bodies, Progress(len(times_s)))
    watchers = [asyncio.create_task(run.tell(on_progress))]
    if cost_before is not None:
        run.result.cost.append((run.now_s(), cost_before))
        watchers.append(asyncio.create_task(run.follow_cost()))
    try:
        await run.send_all(times_s.tolist(), rows.tolist(), stop or asyncio.Event())
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
    if cost_before is not None:
        await run.read_cost()
    on_progress(run.progress)
    run.result.records.sort(key=lambda record: record.index)
    return run.result


class _Run:
    """The state of one replay."""

    def __init__(
        self,
        client: Client,
        model: str,
        data: LabelledInputs,
        slo_s: float,
        bodies: dict[int, Body],
        progress: Progress,
    ) -> None:
        self._client = client
        self._model = model
        self._data = data
        self._slo_s = slo_s
        self._bodies = bodies
        self._start = time.perf_counter() + LEAD_S
        self.progress = progress
        self.result = Replayed()

    def now_s(self) -> float:
        """Seconds from the start of the replay. The loop's own clock may be as coarse as a millisecond."""
        return time.perf_counter() - self._start

    async def send_all(self, times_s: Sequence[float], rows: Sequence[int], stop: asyncio.Event) -> None:
        """Let every request go at its moment, then wait for those in flight."""
        flying: set[asyncio.Task[None]] = set()
        try:
            for index, (intended_s, row) in enumerate(zip(times_s, rows, strict=True)):
                while (wait_s := intended_s - self.now_s()) > 0 and not stop.is_set():  # noqa: ASYNC110 — the moment counts
                    await asyncio.sleep(min(wait_s, TICK_S))
                if stop.is_set():
                    break
                task = asyncio.create_task(self._one(index, row, intended_s))
                flying.add(task)
                task.add_done_callback(flying.discard)
                self.progress.sent += 1
                if wait_s < 0:
                    await asyncio.sleep(0)  # behind: what was let go must still get its turn to be sent
            await self._land(flying, stop)
        finally:
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)

    async def _land(self, flying: set[asyncio.Task[None]], stop: asyncio.Event) -> None:
        """Wait for what is in flight; once stopped, only for the grace time. Each request has its own timeout."""
        left_s = GRACE_S
        while flying and left_s > 0:
            await asyncio.wait(set(flying), timeout=TICK_S)
            if stop.is_set():
                left_s -= TICK_S
        self.result.stopped = stop.is_set()

    async def tell(self, on_progress: Callable[[Progress], None]) -> None:
        """Tell progress, for ever."""
        while True:
            await asyncio.sleep(TICK_S)
            self.progress.now_s = self.now_s()
            on_progress(self.progress)

    async def follow_cost(self) -> None:
        """Ask the server now and then what it has cost, for ever."""
        while True:
            await asyncio.sleep(COST_EVERY_S)
            await self.read_cost()

    async def read_cost(self) -> None:
        """Ask the server what it has cost so far; the moment is that of the answer."""
        value = await self._client.core_seconds()
        if value is not None:
            self.result.cost.append((self.now_s(), value))

    async def _one(self, index: int, row: int, intended_s: float) -> None:
        """One request, from its moment to its record; a record is made in every case."""
        sent_s = self.now_s()
        try:
            reply = await self._client.infer(self._model, self._bodies[row])
        except TimeoutError:
            error = "no answer within the timeout"
        except (aiohttp.ClientError, OSError) as broken:
            error = f"{type(broken).__name__}: {broken}"[:200]
        except asyncio.CancelledError:
            self._keep(Record(index, row, intended_s, sent_s, self.now_s(), "failed", error="stopped unanswered"))
            raise
        else:
            self._keep(self._judge(reply, index, row, intended_s, sent_s))
            return
        self._keep(Record(index, row, intended_s, sent_s, self.now_s(), "failed", error=error))

    def _judge(self, reply: Reply, index: int, row: int, intended_s: float, sent_s: float) -> Record:
        end_s = self.now_s()
        outcome = outcome_of(reply.status, end_s - intended_s, self._slo_s)
        if outcome not in {"in_time", "late"}:
            said = f"status {reply.status}, {decode_error(reply.data)}" if outcome == "failed" else None
            return Record(index, row, intended_s, sent_s, end_s, outcome, reply.status, said)
        try:
            answer = decode(reply.data, reply.head_length)
            correct = None
            if self._data.output is not None:
                if self._data.output not in answer.outputs:
                    raise ValueError(f"the answer has no output {self._data.output!r}")  # noqa: TRY301 — one way out
                correct = self._data.correct(row, answer.outputs[self._data.output])
        except ValueError as unusable:
            return Record(index, row, intended_s, sent_s, end_s, "failed", reply.status, f"unusable answer: {unusable}")
        return Record(
            index, row, intended_s, sent_s, end_s, outcome, reply.status, None,
            answer.variants, answer.accuracy, answer.plan, correct,
        )  # fmt: skip

    def _keep(self, record: Record) -> None:
        self.result.records.append(record)
        self.progress.ended += 1
        self.progress.in_time += record.outcome == "in_time"
