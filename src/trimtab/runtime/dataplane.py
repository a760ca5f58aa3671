"""The data plane of this machine: requests in, batches out to the replicas, answers back.

It runs on one event loop and decides nothing itself: admission, batch formation and variant choice are
`trimtab.dispatch`; plans come from the plant. When the controller dies it serves on with the last plan.

A request is split into items (one per row, more behind a fan-out). Every request that is offered ends exactly once, in
`_end`, with one outcome of `observe.model.Outcomes`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import numpy as np

from trimtab.dispatch import kernels
from trimtab.dispatch.pipeline import PipelineDispatcher
from trimtab.dispatch.task import Batch
from trimtab.errors import (
    DeadlineError,
    FailedError,
    ModelError,
    RefusedError,
    RequestError,
    WorkerError,
    WorkerLostError,
)
from trimtab.observe.window import ObservationWindow, Outcome, TaskLevel
from trimtab.plan.model import Plan
from trimtab.profile.model import Profile
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.pool import Pool, Seat, Server
from trimtab.runtime.requests import Item, PipelineInterface, Request
from trimtab.runtime.service import InferRequest, InferResponse, ModelInfo, ModelStatistics, RepositoryEntry, Tensor
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
MAX_QUEUED = 10_000
"""Items that may wait at one task. Admission by predicted finish refuses long before that, unless times are unknown."""
_WATCH_S, _LONGEST_GAP_S = 0.05, 0.2
"""Time between two looks at running batches, and the most that counts of it: this process may have been paused."""


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


class Repository(Protocol):
    """Who loads and unloads on behalf of clients: see the methods of the same names of `InferenceService`."""

    def entries(self) -> tuple[RepositoryEntry, ...]:
        """What there is to load."""
        ...

    async def load(self, model: str) -> None:
        """Load."""
        ...

    async def unload(self, model: str) -> None:
        """Unload."""
        ...


class DataPlane:
    """The `InferenceService` of this machine."""

    def __init__(
        self,
        pipeline: Pipeline,
        profile: Profile,
        wiring: Wiring,
        metrics: Metrics,
        clock: Callable[[], float],
        on_stuck: Callable[[Server], None],
        *,
        max_queued: int = MAX_QUEUED,
        wall: Callable[[], float] | None = None,
    ) -> None:
        """Make it on a running event loop; `follow` a plan and `add` replicas, then it serves.

        Args:
            pipeline: what is served.
            profile: what its variants take.
            wiring: its tensors.
            metrics: told of everything.
            clock: monotonic, in seconds.
            on_stuck: told of a replica that stopped answering.
            max_queued: items that may wait at one task; requests beyond are refused.
            wall: Unix time, for statistics only; None: this machine's.
        """
        self._pipeline = pipeline
        self._wiring = wiring
        self._metrics = metrics
        self._clock = clock
        self._on_stuck = on_stuck
        self._dispatch: PipelineDispatcher[Item] = PipelineDispatcher(pipeline, profile)
        self._pools = {name: Pool() for name in pipeline.tasks}
        self._slots = dict.fromkeys(pipeline.tasks, 0)
        """Task → batches that its replicas serve at once."""
        self._ragged = {name for name, task in wiring.tasks.items() if any(-1 in t.shape[1:] for t in task.inputs)}
        """Tasks whose items need not have the same shape."""
        self._max_queued = max_queued
        self._in_service = dict.fromkeys(pipeline.tasks, 0)
        self._statistics = Statistics(pipeline, wall or _unix_time_s)
        self._window = ObservationWindow(clock())
        self._plan: Plan | None = None
        self._plan_id = ""
        self._open = True
        self._under_way: set[Request] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._running: set[_Running] = set()
        self._watching: asyncio.TimerHandle | None = None
        self._watched_until_s = 0.0
        self._to_pump: set[str] = set()
        """Tasks whose queues are looked at as soon as the event loop comes to it."""
        self._interface = PipelineInterface(pipeline, wiring)
        self.loading: Repository | None = None
        """Who loads and unloads; None: nobody does."""

    # --- what the plant calls ---------------------------------------------------------------------------------------

    @property
    def plan(self) -> Plan | None:
        """The plan that is followed."""
        return self._plan

    @property
    def window(self) -> ObservationWindow:
        """What happened since the last observation."""
        return self._window

    def follow(self, plan: Plan) -> None:
        """Follow a plan's variants, batch sizes and shares from the next batch on.

        Replicas whose allocation is gone serve the first one until they are regrouped.
        """
        self._plan, self._plan_id = plan, plan.id
        self._dispatch.follow(plan)
        for task, pool in self._pools.items():
            for seat in pool:
                if seat.group >= len(plan.tasks[task].allocations):
                    seat.group = 0
            self._changed(task)

    def add(self, task: str, replica: Server, concurrency: int, group: int = 0) -> None:
        """Give batches of `task` to a replica that is ready; `group` is its allocation's position in the plan."""
        self._pools[task].seats.append(Seat(replica, concurrency, group))
        self._changed(task)

    def resize(self, replica: Server, concurrency: int) -> None:
        """A replica serves `concurrency` batches at once from now on."""
        seat = self._pools[replica.task].of(replica)
        if seat is not None:
            seat.concurrency = concurrency
            self._changed(replica.task)

    def regroup(self, replica: Server, group: int) -> None:
        """A replica serves another allocation of the plan from its next batch on."""
        seat = self._pools[replica.task].of(replica)
        if seat is not None and seat.group != group:
            seat.group = group
            self._changed(replica.task)

    async def drain(self, replica: Server) -> None:
        """Give no new batch to a replica; returns when it has answered what it had."""
        pool = self._pools[replica.task]
        seat = pool.of(replica)
        if seat is None:
            return
        seat.open = False
        self._changed(replica.task)
        await seat.idle.wait()
        self.remove(replica)

    def remove(self, replica: Server) -> None:
        """Forget a replica that was lost. Its batches fail by themselves and are tried again elsewhere."""
        pool = self._pools[replica.task]
        pool.seats = [seat for seat in pool if seat.replica is not replica]
        self._changed(replica.task)

    def _changed(self, task: str) -> None:
        """The replicas of a task, or what they serve, changed: count anew and start what can start."""
        if self._plan is None:
            return
        pool, dispatcher, now_s = self._pools[task], self._dispatch.tasks[task], self._clock()
        pool.recall()
        slots = [pool.slots(group, now_s) for group in range(dispatcher.groups)]
        self._slots[task] = sum(slots)
        dispatcher.serve_with(slots)
        self._pump(task)

    def levels(self, starting: Mapping[str, int], cores: Mapping[str, int]) -> dict[str, TaskLevel]:
        """Queues and replicas of every task, now."""
        return {
            name: TaskLevel(
                queued=self._dispatch.tasks[name].queued,
                in_service=self._in_service[name],
                replicas_ready=len(self._pools[name].seats),
                replicas_starting=starting.get(name, 0),
                cores=cores.get(name, 0),
            )
            for name in self._pipeline.tasks
        }

    def tick(self) -> None:
        """Share deadlines anew with the service times measured since; called about once a second."""
        self._dispatch.split_deadlines()

    async def close(self, grace_s: float) -> None:
        """Let nobody in, answer what is under way for up to `grace_s`, then refuse the rest."""
        self._open = False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), grace_s)
        if self._under_way:
            log.warning("%d requests were still under way after %.1f s of grace", len(self._under_way), grace_s)
        for state in list(self._under_way):
            self._finish(state, RefusedError("the server is stopping", retry_after_s=1.0, reason="stopping"))
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        serving = [running.serving for running in self._running if running.serving is not None]
        for batch in serving:
            batch.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    # --- what the protocols call ------------------------------------------------------------------------------------

    def models(self) -> tuple[ModelInfo, ...]:
        """The pipeline first, then its tasks."""
        return tuple(self._interface.models.values())

    def live(self) -> bool:
        """Whether the process works at all."""
        return True

    def ready(self, model: str | None = None) -> bool:
        """Whether every task that `model` needs has a ready replica."""
        tasks = self._interface.enter(model) if model is not None else frozenset(self._pipeline.tasks)
        return self._open and all(any(seat.open for seat in self._pools[task]) for task in tasks)

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer one request; see `InferenceService.infer`."""
        now_s = self._clock()
        enter = self._interface.enter(request.model)
        wanted = self._interface.check(request)
        slo_s = self._pipeline.slo.latency_s
        timeout_s = slo_s if request.timeout_s is None else min(slo_s, request.timeout_s)
        arrived_s = now_s if request.arrived_s is None else min(request.arrived_s, now_s)
        self._window.offered(now_s)
        self._metrics.request_offered()
        loop = asyncio.get_running_loop()
        state = Request(
            model=request.model,
            enter=enter,
            inputs=request.inputs,
            rows=next(iter(request.inputs.values())).shape[0],
            arrived_s=arrived_s,
            due_s=arrived_s + timeout_s,
            deadline_s=arrived_s + (1.0 - kernels.ANSWER_SHARE) * timeout_s,
            answer=loop.create_future(),
            level=request.priority,
        )
        self._under_way.add(state)
        self._quiet.clear()
        outcome: Outcome = "failed"
        reason = ""
        response_s: float | None = None
        try:
            self._admit(state, now_s)
            for task in self._pipeline.roots() if request.model == self._pipeline.name else (request.model,):
                self._spawn(state, task)
            timer = loop.call_later(
                max(state.due_s - now_s, 0.0), self._deadline_passed, state, request.timeout_s is not None
            )
            try:
                outputs = await state.answer
            finally:
                timer.cancel()
            response_s = self._clock() - arrived_s
            outcome = "in_time" if arrived_s + response_s <= state.due_s else "late"
            return self._respond(request, state, outputs, wanted)
        except (RefusedError, DeadlineError) as error:
            outcome, reason = ("dropped" if state.variants else "refused"), error.reason
            raise
        except asyncio.CancelledError:
            outcome, reason = "dropped", "client_gone"
            raise
        except RequestError as error:
            reason = error.reason
            raise
        finally:
            self._end(state, outcome, reason, response_s)

    def statistics(self) -> tuple[ModelStatistics, ...]:
        """What was done since the start."""
        return self._statistics.all()

    def repository(self) -> tuple[RepositoryEntry, ...]:
        """What there is to load."""
        return () if self.loading is None else self.loading.entries()

    async def load(self, model: str) -> None:
        """Load a variant; see `InferenceService.load`."""
        if self.loading is None:
            raise FailedError("nothing can be loaded here")
        await self.loading.load(model)

    async def unload(self, model: str) -> None:
        """Unload a variant; see `InferenceService.unload`."""
        if self.loading is None:
            raise FailedError("nothing can be unloaded here")
        await self.loading.unload(model)

    # --- a request's way --------------------------------------------------------------------------------------------

    def _admit(self, state: Request, now_s: float) -> None:
        """Refuse early what cannot be answered in time."""
        if not self._open:
            raise RefusedError("the server is stopping", retry_after_s=1.0, reason="stopping")
        for name in state.enter:
            if self._dispatch.tasks[name].queued + state.rows > self._max_queued:
                raise RefusedError(f"the queue of task '{name}' is full", retry_after_s=1.0, reason="queue_full")
        least_s = self._dispatch.predicted_response_s(self._in_service, self._slots, state.enter, state.level)
        if math.isinf(least_s):
            raise RefusedError("a task has no ready replica", retry_after_s=1.0, reason="not_ready")
        if state.rows > 1:
            least_s += (state.rows - 1) * max(
                self._dispatch.tasks[name].per_item_s / max(self._slots[name], 1) for name in state.enter
            )
        if now_s + least_s > state.deadline_s:
            raise RefusedError(
                f"overloaded: the answer would take at least {least_s:.3f} s, "
                f"the request has {max(state.due_s - now_s, 0.0):.3f} s",
                retry_after_s=max(least_s, 1.0),
                reason="overload",
            )

    def _spawn(self, state: Request, task: str) -> None:
        """Queue the items of `task`; the inputs it needs are there."""
        dispatcher = self._dispatch.tasks[task]
        now_s = self._clock()
        for item in self._interface.split(state, task):
            item.queued_s = now_s
            state.queued.add(item)
            dispatcher.push(item, state.deadline_s, state.level)
        self._pump_soon(task)

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
        dispatcher, pool = self._dispatch.tasks[task], self._pools[task]
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
                    self._give_up(item.request, f"task '{task}' could not finish in time")
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
                self._pools[task].leave_out(seat, self._clock())
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
                self._item_done(item, batch.variant, rows)
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
        pool = self._pools[task]
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
        paused = [task for task, pool in self._pools.items() if pool.next_trial_s() < math.inf]
        for task in paused:
            self._changed(task)
        again = bool(self._running or (paused and self._open))
        self._watching = asyncio.get_running_loop().call_later(_WATCH_S, self._watch) if again else None

    def _doubt(self, running: _Running, now_s: float) -> None:
        """A batch is overdue: give its items to another replica too, where there is one, and leave this one out."""
        pool, task = self._pools[running.seat.replica.task], running.seat.replica.task
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

    def _item_done(self, item: Item, variant: str, outputs: dict[str, Tensor]) -> None:
        state = item.request
        if item.done:  # its request has ended, or another replica was faster
            return
        if item in state.queued:  # it was in doubt and waits for another replica: no more
            state.queued.discard(item)
            self._dispatch.tasks[item.task].discard(item)
        state.done[item.task][item.index] = outputs
        state.variants.setdefault(item.task, []).append(variant)
        state.missing[item.task] -= 1
        if state.missing[item.task] > 0:
            return
        try:
            for task in self._pipeline.downstream(item.task):
                after = [e.upstream for e in self._pipeline.tasks[task].after]
                if task in state.enter and all(state.missing.get(u) == 0 for u in after):
                    self._spawn(state, task)
            if state.complete():
                state.answer.set_result(self._interface.gather(state))
        except RequestError as error:
            self._finish(state, error)

    def _retry(self, running: _Running, why: str) -> None:
        """Try the items of a lost batch once more, as far as their requests still wait."""
        for item in running.batch.items:
            if item.done or item in item.request.queued:  # answered by another replica, or waiting for one
                continue
            if any(item in other.batch.items for other in self._running if other is not running):  # somebody has it
                continue
            if item.retries >= RETRIES:
                self._finish(item.request, FailedError(f"{why}, twice"))
            elif not any(seat.open for seat in self._pools[item.task]) and item.request.due_s <= self._clock():
                self._give_up(item.request, why)
            else:
                self._queue_again(item)

    def _fail(self, batch: Batch[Item], error: RequestError) -> None:
        for item in batch.items:
            self._finish(item.request, error)

    def _give_up(self, state: Request, why: str) -> None:
        """Nothing can save the request any more: a refusal before any work, a missed deadline after some."""
        if state.variants:
            self._finish(state, DeadlineError(f"given up: {why}"))
        else:
            self._finish(state, RefusedError(f"overloaded: {why}", retry_after_s=1.0, reason="deadline"))

    def _deadline_passed(self, state: Request, asked_by_client: bool) -> None:
        """At the deadline: what waits is given up; what is served is answered late, unless the client set the deadline.

        Such a client has gone by now.
        """
        if not state.answer.done() and (asked_by_client or state.queued):
            self._give_up(state, "the deadline passed")

    def _finish(self, state: Request, error: RequestError) -> None:
        """End a request without an answer; nothing of it is started any more."""
        if not state.answer.done():
            state.answer.set_exception(error)
            self._withdraw(state)

    def _withdraw(self, state: Request) -> None:
        for item in state.queued:
            self._dispatch.tasks[item.task].discard(item)
        state.queued.clear()

    def _end(self, state: Request, outcome: Outcome, reason: str, response_s: float | None) -> None:
        """The one place where a request ends."""
        self._withdraw(state)
        if not state.answer.done():
            state.answer.cancel()
        elif not state.answer.cancelled():
            state.answer.exception()  # mark it as seen: a request that ended otherwise needs it no more
        self._window.ended(outcome, response_s)
        if response_s is None:
            self._statistics.unanswered(self._clock() - state.arrived_s)
        else:
            self._statistics.answered(state.rows, response_s)
        self._metrics.request_ended(outcome, reason, response_s)
        self._under_way.discard(state)
        if not self._under_way:
            self._quiet.set()

    def _respond(
        self, request: InferRequest, state: Request, outputs: Mapping[str, Tensor], wanted: tuple[str, ...]
    ) -> InferResponse:
        accuracy = 1.0
        parameters: dict[str, str | float | bool] = {}
        for task in self._pipeline.tasks:
            if task in state.variants:
                used = state.variants[task]
                accuracy *= sum(self._pipeline.tasks[task].variants[v].accuracy for v in used) / len(used)
                parameters[f"variant.{task}"] = "+".join(dict.fromkeys(used))
        parameters["accuracy"] = accuracy
        parameters["plan"] = self._plan_id
        self._metrics.answered_with(accuracy)
        version = "+".join(str(v) for k, v in parameters.items() if k.startswith("variant."))
        return InferResponse(
            model=request.model,
            version=version,
            outputs={name: outputs[name] for name in wanted},
            id=request.id,
            parameters=parameters,
        )


def _stacked(items: tuple[Item, ...]) -> dict[str, Tensor]:
    """The inputs of a batch, one row an item."""
    if len(items) == 1:
        return items[0].inputs
    return {name: np.concatenate([item.inputs[name] for item in items]) for name in items[0].inputs}


def _row_shape(item: Item) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape[1:] for array in item.inputs.values())


def _unix_time_s() -> float:
    return datetime.now(UTC).timestamp()
