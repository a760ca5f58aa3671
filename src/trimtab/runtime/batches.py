"""Batches in service: which waiting items start now on which replica, and what becomes of them.

What to start is decided by `trimtab.dispatch`, who gets it by `runtime.pool`; here batches are run, watched, learned
from and tried again. Whose items they are is the data plane's business: it queues them and is told, as their `Owner`,
how each ends.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from trimtab.dispatch.pipeline import PipelineDispatcher
from trimtab.dispatch.task import Batch
from trimtab.errors import FailedError, ModelError, RequestError, WorkerError, WorkerLostError
from trimtab.observe.window import ObservationWindow, TaskLevel
from trimtab.plan.model import Plan
from trimtab.profile.model import Profile
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.pool import Pool, Seat, Server
from trimtab.runtime.requests import Item, Request
from trimtab.runtime.service import Tensor
from trimtab.runtime.statistics import Statistics
from trimtab.runtime.wiring import Wiring
from trimtab.spec.model import Pipeline

log = logging.getLogger(__name__)

STUCK_AFTER_S, STUCK_TIMES = 5.0, 20.0
"""A batch that takes longer than this, and than so many times what was expected, is given up, its worker replaced."""
DOUBT_AFTER_S, DOUBT_TIMES = 0.1, 4.0
"""A batch that takes longer than this, and than so many times what was expected, is tried on another replica as well,
and its own gets no more for a while: it may be stopped. The first answer counts."""
RETRIES = 1
"""Times an item is tried again when the worker that had it was lost, or is in doubt."""
_WATCH_S, _LONGEST_GAP_S = 0.05, 0.2
"""Time between two looks at running batches, and the most that counts of it: this process may have been paused."""


class Owner(Protocol):
    """Whose items are served."""

    def item_done(self, item: Item, variant: str, outputs: dict[str, Tensor]) -> None:
        """An item was answered: its output rows, by tensor."""
        ...

    def failed(self, request: Request, error: RequestError) -> None:
        """A request cannot be answered."""
        ...

    def given_up(self, request: Request, why: str) -> None:
        """Nothing can save a request any more."""
        ...


@dataclass(eq=False, slots=True)
class _Running:
    """A batch in service."""

    batch: Batch[Item]
    seat: Seat
    group: int
    threads: int
    started_s: float
    serving: asyncio.Task[None] | None = None
    watched_s: float = 0.0
    """How long it was watched. While this process itself stands still, no worker can be blamed: that does not count."""
    doubted: bool = False
    """Whether its items were given to another replica too, since it is overdue."""
    stuck: bool = False
    """Whether its worker was given up."""


class Batches:
    """Queues, replicas and running batches of all tasks."""

    def __init__(
        self,
        pipeline: Pipeline,
        profile: Profile,
        wiring: Wiring,
        owner: Owner,
        *,
        metrics: Metrics,
        window: ObservationWindow,
        statistics: Statistics,
        clock: Callable[[], float],
        on_stuck: Callable[[Server], None],
    ) -> None:
        """For the data plane, whose arguments these are."""
        self._pipeline, self._wiring, self._owner = pipeline, wiring, owner
        self._metrics, self._window, self._statistics = metrics, window, statistics
        self._clock, self._on_stuck = clock, on_stuck
        self._dispatch: PipelineDispatcher[Item] = PipelineDispatcher(pipeline, profile)
        self.pools = {name: Pool() for name in pipeline.tasks}
        """The replicas of each task."""
        self.slots = dict.fromkeys(pipeline.tasks, 0)
        """Task → batches that its replicas serve at once."""
        self._in_service = dict.fromkeys(pipeline.tasks, 0)
        self._ragged = {name for name, task in wiring.tasks.items() if any(-1 in t.shape[1:] for t in task.inputs)}
        """Tasks whose items need not have the same shape."""
        self._plan: Plan | None = None
        self._open = True
        self._running: set[_Running] = set()
        self._watching: asyncio.TimerHandle | None = None
        self._watched_until_s = 0.0
        self._to_pump: set[str] = set()
        """Tasks whose queues are looked at as soon as the event loop comes to it."""

    # --- replicas and plans -----------------------------------------------------------------------------------------

    def follow(self, plan: Plan) -> None:
        """Follow a plan's variants, batch sizes and shares from the next batch on.

        Replicas whose allocation is gone serve the first one until they are regrouped.
        """
        self._plan = plan
        self._dispatch.follow(plan)
        for task, pool in self.pools.items():
            for seat in pool:
                if seat.group >= len(plan.tasks[task].allocations):
                    seat.group = 0
            self._changed(task)

    def add(self, task: str, replica: Server, concurrency: int, group: int = 0) -> None:
        """Give batches of `task` to a replica that is ready; `group` is its allocation's position in the plan."""
        self.pools[task].seats.append(Seat(replica, concurrency, group))
        self._changed(task)

    def resize(self, replica: Server, concurrency: int) -> None:
        """A replica serves `concurrency` batches at once from now on."""
        seat = self.pools[replica.task].of(replica)
        if seat is not None:
            seat.concurrency = concurrency
            self._changed(replica.task)

    def regroup(self, replica: Server, group: int) -> None:
        """A replica serves another allocation of the plan from its next batch on."""
        seat = self.pools[replica.task].of(replica)
        if seat is not None and seat.group != group:
            seat.group = group
            self._changed(replica.task)

    async def drain(self, replica: Server) -> None:
        """Give no new batch to a replica; returns when it has answered what it had."""
        pool = self.pools[replica.task]
        seat = pool.of(replica)
        if seat is None:
            return
        seat.open = False
        self._changed(replica.task)
        await seat.idle.wait()
        self.remove(replica)

    def remove(self, replica: Server) -> None:
        """Forget a replica that was lost. Its batches fail by themselves and are tried again elsewhere."""
        pool = self.pools[replica.task]
        pool.seats = [seat for seat in pool if seat.replica is not replica]
        self._changed(replica.task)

    def _changed(self, task: str) -> None:
        """The replicas of a task, or what they serve, changed: count anew and start what can start."""
        if self._plan is None:
            return
        pool, dispatcher, now_s = self.pools[task], self._dispatch.tasks[task], self._clock()
        pool.recall()
        slots = [pool.slots(group, now_s) for group in range(dispatcher.groups)]
        self.slots[task] = sum(slots)
        dispatcher.serve_with(slots)
        self._pump(task)

    def levels(self, starting: Mapping[str, int], cores: Mapping[str, int]) -> dict[str, TaskLevel]:
        """Queues and replicas of every task, now."""
        return {
            name: TaskLevel(
                queued=self._dispatch.tasks[name].queued,
                in_service=self._in_service[name],
                replicas_ready=len(self.pools[name].seats),
                replicas_starting=starting.get(name, 0),
                cores=cores.get(name, 0),
            )
            for name in self._pipeline.tasks
        }

    def tick(self) -> None:
        """Share deadlines anew with the service times measured since; called about once a second."""
        self._dispatch.split_deadlines()

    def close(self) -> None:
        """Nobody is let in any more; what runs is still watched."""
        self._open = False

    async def stop(self) -> None:
        """End what still runs."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        serving = [running.serving for running in self._running if running.serving is not None]
        for batch in serving:
            batch.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    # --- items ------------------------------------------------------------------------------------------------------

    def queued(self, task: str) -> int:
        """Items that wait at a task."""
        return self._dispatch.tasks[task].queued

    def predicted_response_s(self, request: Request) -> float:
        """Least response time that a request arriving now can hope for; infinite where a task has no replica."""
        least_s = self._dispatch.predicted_response_s(self._in_service, self.slots, request.enter, request.level)
        if request.rows > 1 and math.isfinite(least_s):
            per_row_s = (self._dispatch.tasks[name].per_item_s / max(self.slots[name], 1) for name in request.enter)
            least_s += (request.rows - 1) * max(per_row_s)
        return least_s

    def queue(self, task: str, items: list[Item]) -> None:
        """Let items of a request wait at a task."""
        dispatcher, now_s = self._dispatch.tasks[task], self._clock()
        for item in items:
            item.queued_s = now_s
            item.request.queued.add(item)
            dispatcher.push(item, item.request.deadline_s, item.request.level)
        self._pump_soon(task)

    def withdraw(self, request: Request) -> None:
        """Let nothing of a request wait any more."""
        for item in request.queued:
            self._dispatch.tasks[item.task].discard(item)
        request.queued.clear()

    def _pump_soon(self, task: str) -> None:
        """Start batches once all that is ready on the event loop has run: what arrives together goes together."""
        if not self._to_pump:
            asyncio.get_running_loop().call_soon(self._pump_all)
        self._to_pump.add(task)

    def _pump_all(self) -> None:
        tasks, self._to_pump = self._to_pump, set()
        for task in tasks:
            self._pump(task)

    def _pump(self, task: str) -> None:
        """Start every batch that can start now."""
        if self._plan is None:
            return
        dispatcher, pool = self._dispatch.tasks[task], self.pools[task]
        now_s = self._clock()
        for group in range(dispatcher.groups):
            while dispatcher.waiting(group) > 0:
                free = pool.free(group, now_s)
                seat = pool.next(group, now_s) if free else None
                if seat is None:
                    break
                batch, lost = dispatcher.next_batch(now_s, free, pool.slots(group, now_s), group)
                for item in lost:
                    item.request.queued.discard(item)
                    self._owner.given_up(item.request, f"task '{task}' could not finish in time")
                if batch is not None:
                    batch = self._alike(task, batch)
                    threads = self._plan.tasks[task].allocations[group].threads
                    self._start(_Running(batch, seat, group, threads, now_s))

    def _alike(self, task: str, batch: Batch[Item]) -> Batch[Item]:
        """The items of a batch that can be stacked with its head, as free axes may differ; the others wait on."""
        if len(batch.items) == 1 or task not in self._ragged:
            return batch
        shape = _row_shape(batch.items[0])
        for item in batch.items:
            if _row_shape(item) != shape:
                self._dispatch.tasks[task].push(item, item.request.deadline_s, item.request.level)
        return replace(batch, items=tuple(item for item in batch.items if _row_shape(item) == shape))

    def _start(self, running: _Running) -> None:
        """Hand a batch to its replica."""
        seat, items = running.seat, running.batch.items
        for item in items:
            item.request.queued.discard(item)
        seat.busy += 1
        seat.idle.clear()
        self._in_service[seat.replica.task] += len(items)
        self._running.add(running)
        loop = asyncio.get_running_loop()
        running.serving = loop.create_task(self._serve(running))
        if self._watching is None:
            self._watched_until_s = running.started_s
            self._watching = loop.call_later(_WATCH_S, self._watch)

    async def _serve(self, running: _Running) -> None:
        """Run one batch on one replica and hand its answers on."""
        seat, batch, started_s = running.seat, running.batch, running.started_s
        task, size = seat.replica.task, len(batch.items)
        answered = False
        try:
            result = await seat.replica.run(batch.variant, _stacked(batch.items))
            outputs = self._checked_outputs(task, batch, result.outputs)
            answered = True
        except asyncio.CancelledError:
            if not running.stuck:
                raise
            seat.open = False
            self._retry(running, f"a worker of task '{task}' stopped answering")
        except WorkerError as error:
            if isinstance(error, WorkerLostError):  # the plant will take it away; until then it gets nothing more
                seat.open = False
                self._changed(task)
            else:
                self.pools[task].leave_out(seat, self._clock())
            self._retry(running, error.what)
        except (ModelError, RequestError) as error:
            log.error("task '%s', variant '%s': %s", task, batch.variant, error)
            self._fail(batch, FailedError(f"task '{task}' failed: {error.what}"))
        except Exception as error:
            log.exception("task '%s', variant '%s': unexpected error", task, batch.variant)
            self._fail(batch, FailedError(f"task '{task}' failed: {type(error).__name__}"))
        finally:
            self._running.discard(running)
            seat.busy -= 1
            self._in_service[task] -= size
            if seat.busy == 0:
                seat.idle.set()
        now_s = self._clock()
        if answered:
            new = [item for item in batch.items if not item.answered]
            for i, item in enumerate(batch.items):
                rows = dict(outputs) if size == 1 else {name: array[i : i + 1] for name, array in outputs.items()}
                if item in item.request.queued and not item.done:  # it was in doubt and waits for another replica
                    item.request.queued.discard(item)
                    self._dispatch.tasks[task].discard(item)
                self._owner.item_done(item, batch.variant, rows)
            self._learn(running, now_s, new)
        else:
            self._statistics.failed(task, batch.variant, size, now_s - started_s)
        self._pump_soon(task)

    def _learn(self, running: _Running, now_s: float, new: list[Item]) -> None:
        """Note how long a batch took: for the replica's pace, the service times counted on, the window, the metrics.

        Only its `new` items are counted as served: another replica may have answered the others before.
        """
        task, batch, started_s = running.seat.replica.task, running.batch, running.started_s
        size, measured_s = len(new), now_s - running.started_s
        pool = self.pools[task]
        peers_pace_only = running.doubted or bool(running.seat.pause_s)
        if pool.served(running.seat, measured_s, batch.expected_s, now_s):
            self._changed(task)
        expected_s = math.inf
        if not peers_pace_only:  # one sick replica says nothing about the variant
            expected_s = self._dispatch.tasks[task].record(batch.variant, len(batch.items), measured_s, running.group)
        if not new:
            return
        self._window.served(task, batch.variant, size, measured_s, expected_s, running.threads)
        queued_s = [item.queued_s for item in new]
        self._metrics.batch_served(
            task, batch.variant, size, service_s=measured_s, waiting_s=max(started_s - min(queued_s), 0.0)
        )
        self._statistics.served(task, batch.variant, size, max(size * started_s - sum(queued_s), 0.0), measured_s)

    def _watch(self) -> None:
        """Look for batches that are overdue, and for replicas whose pause is over; runs while there are any."""
        now_s = self._clock()
        gap_s = min(now_s - self._watched_until_s, _LONGEST_GAP_S)
        self._watched_until_s = now_s
        for running in list(self._running):
            running.watched_s += min(gap_s, now_s - running.started_s)
            took_s, expected_s = running.watched_s, running.batch.expected_s
            if took_s > max(STUCK_AFTER_S, STUCK_TIMES * expected_s):
                running.stuck = True
                self._on_stuck(running.seat.replica)
                if running.serving is not None:
                    running.serving.cancel()
            elif not running.doubted and took_s > max(DOUBT_AFTER_S, DOUBT_TIMES * expected_s):
                self._doubt(running, now_s)
        paused = [task for task, pool in self.pools.items() if pool.next_trial_s() < math.inf]
        for task in paused:
            self._changed(task)
        again = bool(self._running or (paused and self._open))
        self._watching = asyncio.get_running_loop().call_later(_WATCH_S, self._watch) if again else None

    def _doubt(self, running: _Running, now_s: float) -> None:
        """A batch is overdue: give its items to another replica too, where there is one, and leave this one out."""
        pool, task = self.pools[running.seat.replica.task], running.seat.replica.task
        if not pool.leave_out(running.seat, now_s):
            return
        running.doubted = True
        log.warning("replica %s of task '%s' is slow to answer: others take over", running.seat.replica.id, task)
        for item in running.batch.items:
            if not item.done and item.retries < RETRIES:
                self._queue_again(item)
        self._changed(task)

    def _queue_again(self, item: Item) -> None:
        item.retries += 1
        item.queued_s = self._clock()
        item.request.queued.add(item)
        self._dispatch.tasks[item.task].push(item, item.request.deadline_s, item.request.level)

    def _checked_outputs(self, task: str, batch: Batch[Item], outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """A worker's answer must have the declared tensors, one row an item."""
        for tensor in self._wiring.tasks[task].outputs:
            array = outputs.get(tensor.name)
            if array is None or array.ndim == 0 or array.shape[0] != len(batch.items):
                got = "nothing" if array is None else f"shape {array.shape}"
                raise FailedError(
                    f"variant '{batch.variant}', output '{tensor.name}': got {got}, wanted {len(batch.items)} rows"
                )
            if array.dtype != tensor.dtype or array.ndim != len(tensor.shape):
                raise FailedError(
                    f"variant '{batch.variant}', output '{tensor.name}': got {array.dtype} with {array.ndim} axes, "
                    f"wanted {tensor.dtype} with {len(tensor.shape)}"
                )
        return outputs

    def _retry(self, running: _Running, why: str) -> None:
        """Try the items of a lost batch once more, as far as their requests still wait."""
        for item in running.batch.items:
            if item.done or item in item.request.queued:  # answered by another replica, or waiting for one
                continue
            if any(item in other.batch.items for other in self._running if other is not running):  # somebody has it
                continue
            if item.retries >= RETRIES:
                self._owner.failed(item.request, FailedError(f"{why}, twice"))
            elif not any(seat.open for seat in self.pools[item.task]) and item.request.due_s <= self._clock():
                self._owner.given_up(item.request, why)
            else:
                self._queue_again(item)

    def _fail(self, batch: Batch[Item], error: RequestError) -> None:
        for item in batch.items:
            self._owner.failed(item.request, error)


def _stacked(items: tuple[Item, ...]) -> dict[str, Tensor]:
    """The inputs of a batch, one row an item."""
    if len(items) == 1:
        return items[0].inputs
    return {name: np.concatenate([item.inputs[name] for item in items]) for name in items[0].inputs}


def _row_shape(item: Item) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape[1:] for array in item.inputs.values())
