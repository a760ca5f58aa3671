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
from dataclasses import dataclass, field
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
)
from trimtab.observe.window import ObservationWindow, Outcome, TaskLevel
from trimtab.plan.model import Plan
from trimtab.profile.model import Profile
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.replica import BatchResult
from trimtab.runtime.requests import Item, PipelineInterface, Request
from trimtab.runtime.service import InferRequest, InferResponse, ModelInfo, ModelStatistics, RepositoryEntry, Tensor
from trimtab.runtime.wiring import Wiring
from trimtab.spec.model import Pipeline

log = logging.getLogger(__name__)

STUCK_AFTER_S, STUCK_TIMES = 5.0, 20.0
"""A batch that takes longer than this, and than so many times what was expected, is given up, its worker replaced."""
RETRIES = 1
"""Times an item is tried again when the worker that had it was lost."""


class Server(Protocol):
    """What the data plane needs of a replica."""

    @property
    def id(self) -> str:
        """A name for logs."""
        ...

    @property
    def task(self) -> str:
        """The task it serves."""
        ...

    async def run(self, variant: str, inputs: Mapping[str, Tensor]) -> BatchResult:
        """Serve one batch; tensors have one row an item.

        Raises:
            WorkerError: it was lost.
            ModelError: this batch failed.
        """
        ...


@dataclass(eq=False, slots=True)
class _Slots:
    """A replica as the data plane sees it: how many batches it serves at once, and how many it serves now."""

    replica: Server
    concurrency: int
    busy: int = 0
    open: bool = True
    """False while it drains: no new batch."""
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.idle.set()


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
    ) -> None:
        """`clock` is monotonic, in seconds; `on_stuck` is told of a replica that stopped answering."""
        self._pipeline = pipeline
        self._wiring = wiring
        self._metrics = metrics
        self._clock = clock
        self._on_stuck = on_stuck
        self._dispatch: PipelineDispatcher[Item] = PipelineDispatcher(pipeline, profile)
        self._slots: dict[str, list[_Slots]] = {name: [] for name in pipeline.tasks}
        self._in_service = dict.fromkeys(pipeline.tasks, 0)
        self._window = ObservationWindow(clock())
        self._plan: Plan | None = None
        self._plan_id = ""
        self._open = True
        self._under_way: set[Request] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._batches: set[asyncio.Task[None]] = set()
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
        """Follow a plan's variants and batch sizes from the next batch on."""
        self._plan, self._plan_id = plan, plan.id
        self._dispatch.follow(plan)
        for task in self._slots:
            self._pump(task)

    def add(self, task: str, replica: Server, concurrency: int) -> None:
        """Give batches of `task` to a replica that is ready."""
        self._slots[task].append(_Slots(replica, concurrency))
        self._pump(task)

    def resize(self, replica: Server, concurrency: int) -> None:
        """A replica serves `concurrency` batches at once from now on."""
        for slots in self._slots[replica.task]:
            if slots.replica is replica:
                slots.concurrency = concurrency
        self._pump(replica.task)

    async def drain(self, replica: Server) -> None:
        """Give no new batch to a replica; returns when it has answered what it had."""
        for slots in list(self._slots[replica.task]):
            if slots.replica is replica:
                slots.open = False
                await slots.idle.wait()
                self._slots[replica.task].remove(slots)

    def remove(self, replica: Server) -> None:
        """Forget a replica that was lost. Its batches fail by themselves and are tried again elsewhere."""
        self._slots[replica.task] = [s for s in self._slots[replica.task] if s.replica is not replica]

    def levels(self, starting: Mapping[str, int], cores: Mapping[str, int]) -> dict[str, TaskLevel]:
        """Queues and replicas of every task, now."""
        return {
            name: TaskLevel(
                queued=len(self._dispatch.tasks[name].queue),
                in_service=self._in_service[name],
                replicas_ready=len(self._slots[name]),
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
        for batch in list(self._batches):
            batch.cancel()
        await asyncio.gather(*self._batches, return_exceptions=True)

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
        return self._open and all(any(s.open for s in self._slots[task]) for task in tasks)

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer one request; see `InferenceService.infer`."""
        now_s = self._clock()
        enter = self._interface.enter(request.model)
        wanted = self._interface.check(request)
        slo_s = self._pipeline.slo.latency_s
        timeout_s = slo_s if request.timeout_s is None else min(slo_s, request.timeout_s)
        self._window.offered(now_s)
        self._metrics.request_offered()
        loop = asyncio.get_running_loop()
        state = Request(
            model=request.model,
            enter=enter,
            inputs=request.inputs,
            rows=next(iter(request.inputs.values())).shape[0],
            arrived_s=now_s,
            due_s=now_s + timeout_s,
            deadline_s=now_s + (1.0 - kernels.ANSWER_SHARE) * timeout_s,
            answer=loop.create_future(),
        )
        self._under_way.add(state)
        self._quiet.clear()
        outcome: Outcome = "failed"
        reason = ""
        response_s: float | None = None
        try:
            self._admit(state)
            for task in self._pipeline.roots() if request.model == self._pipeline.name else (request.model,):
                self._spawn(state, task)
            timer = loop.call_later(timeout_s, self._deadline_passed, state, request.timeout_s is not None)
            try:
                outputs = await state.answer
            finally:
                timer.cancel()
            response_s = self._clock() - now_s
            outcome = "in_time" if now_s + response_s <= state.due_s else "late"
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
        return ()

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

    def _admit(self, state: Request) -> None:
        """Refuse early what cannot be answered in time."""
        if not self._open:
            raise RefusedError("the server is stopping", retry_after_s=1.0, reason="stopping")
        slots = {name: self._total_slots(name) for name in self._slots}
        least_s = self._dispatch.predicted_response_s(self._in_service, slots, state.enter)
        if math.isinf(least_s):
            raise RefusedError("a task has no ready replica", retry_after_s=1.0, reason="not_ready")
        least_s += (state.rows - 1) * max(
            self._dispatch.tasks[name].per_item_s / max(slots[name], 1) for name in state.enter
        )
        if state.arrived_s + least_s > state.deadline_s:
            raise RefusedError(
                f"overloaded: the answer would take at least {least_s:.3f} s, "
                f"the request has {state.due_s - state.arrived_s:.3f} s",
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
            dispatcher.push(item, state.deadline_s)
        self._pump(task)

    def _pump(self, task: str) -> None:
        """Start every batch that can start now."""
        if self._plan is None:
            return
        dispatcher = self._dispatch.tasks[task]
        while len(dispatcher.queue) > 0:
            free = sum(s.concurrency - s.busy for s in self._slots[task] if s.open and s.busy < s.concurrency)
            if free == 0:
                return
            batch, lost = dispatcher.next_batch(self._clock(), free, self._total_slots(task))
            for item in lost:
                item.request.queued.discard(item)
                self._give_up(item.request, f"task '{task}' could not finish in time")
            if batch is not None:
                slots = min((s for s in self._slots[task] if s.open and s.busy < s.concurrency), key=lambda s: s.busy)
                for item in batch.items:
                    item.request.queued.discard(item)
                slots.busy += 1
                slots.idle.clear()
                self._in_service[task] += len(batch.items)
                serving = asyncio.get_running_loop().create_task(self._serve(slots, batch))
                self._batches.add(serving)
                serving.add_done_callback(self._batches.discard)

    async def _serve(self, slots: _Slots, batch: Batch[Item]) -> None:
        """Run one batch on one replica and hand its answers on."""
        task = slots.replica.task
        started_s = self._clock()
        threads = self._plan.tasks[task].allocations[0].threads if self._plan is not None else 1
        names = batch.items[0].inputs
        try:
            inputs = {name: np.stack([item.inputs[name] for item in batch.items]) for name in names}
            limit_s = max(STUCK_AFTER_S, STUCK_TIMES * batch.expected_s)
            result = await asyncio.wait_for(slots.replica.run(batch.variant, inputs), limit_s)
            outputs = self._checked_outputs(task, batch, result.outputs)
        except TimeoutError:
            self._on_stuck(slots.replica)
            self._retry(batch, f"a worker of task '{task}' stopped answering")
        except WorkerError as error:
            self._retry(batch, error.what)
        except (ModelError, RequestError) as error:
            log.error("task '%s', variant '%s': %s", task, batch.variant, error)
            self._fail(batch, FailedError(f"task '{task}' failed: {error.what}"))
        except Exception as error:
            log.exception("task '%s', variant '%s': unexpected error", task, batch.variant)
            self._fail(batch, FailedError(f"task '{task}' failed: {type(error).__name__}"))
        else:
            measured_s = self._clock() - started_s
            size = len(batch.items)
            expected_s = self._dispatch.tasks[task].record(batch.variant, size, measured_s)
            self._window.served(task, batch.variant, size, measured_s, expected_s, threads)
            waited_s = started_s - min(item.queued_s for item in batch.items)
            self._metrics.batch_served(task, batch.variant, size, service_s=measured_s, waiting_s=waited_s)
            for i, item in enumerate(batch.items):
                self._item_done(item, batch.variant, {name: array[i] for name, array in outputs.items()})
        finally:
            slots.busy -= 1
            self._in_service[task] -= len(batch.items)
            if slots.busy == 0:
                slots.idle.set()
            self._pump(task)

    def _checked_outputs(self, task: str, batch: Batch[Item], outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """A worker's answer must have the declared tensors, one row an item."""
        for tensor in self._wiring.tasks[task].outputs:
            array = outputs.get(tensor.name)
            if array is None or array.ndim == 0 or array.shape[0] != len(batch.items):
                got = "nothing" if array is None else f"shape {array.shape}"
                raise FailedError(
                    f"variant '{batch.variant}', output '{tensor.name}': got {got}, wanted {len(batch.items)} rows"
                )
        return outputs

    def _item_done(self, item: Item, variant: str, outputs: dict[str, Tensor]) -> None:
        state = item.request
        if state.answer.done():
            return
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
        except RequestError as error:
            self._finish(state, error)
            return
        if state.enter == state.missing.keys() and not any(state.missing.values()):
            state.answer.set_result(self._interface.gather(state))

    def _retry(self, batch: Batch[Item], why: str) -> None:
        """Try the items of a lost batch once more, as far as their requests still wait."""
        for item in batch.items:
            if item.request.answer.done():
                continue
            if item.retries >= RETRIES:
                self._finish(item.request, FailedError(f"{why}, twice"))
            elif not any(s.open for s in self._slots[item.task]) and item.request.due_s <= self._clock():
                self._give_up(item.request, why)
            else:
                item.retries += 1
                item.queued_s = self._clock()
                item.request.queued.add(item)
                self._dispatch.tasks[item.task].push(item, item.request.deadline_s)

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
        if not state.answer.done():
            state.answer.set_exception(error)

    def _end(self, state: Request, outcome: Outcome, reason: str, response_s: float | None) -> None:
        """The one place where a request ends."""
        for item in state.queued:
            self._dispatch.tasks[item.task].queue.discard(item)
        state.queued.clear()
        if not state.answer.done():
            state.answer.cancel()
        elif not state.answer.cancelled():
            state.answer.exception()  # mark it as seen: a request that ended otherwise needs it no more
        self._window.ended(outcome, response_s)
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

    def _total_slots(self, task: str) -> int:
        return sum(s.concurrency for s in self._slots[task] if s.open)
