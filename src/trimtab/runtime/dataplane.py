"""The data plane of this machine: requests in, batches out to the replicas, answers back.

It runs on one event loop and decides nothing itself: admission, batch formation and variant choice are
`trimtab.dispatch`; plans come from the plant. When the controller dies it serves on with the last plan. A request's
life is here; what happens to its items between the queue and the answer is in `runtime.batches`.

A request is split into items (one per row, more behind a fan-out). Every request that is offered ends exactly once, in
`_end`, with one outcome of `observe.model.Outcomes`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from trimtab.errors import DeadlineError, FailedError, RefusedError, RequestError
from trimtab.observe.window import ObservationWindow, Outcome, TaskLevel
from trimtab.plan.model import Plan
from trimtab.plan.pool import ANSWER_SHARE
from trimtab.profile.model import Profile
from trimtab.runtime.batches import Batches
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.pool import Server
from trimtab.runtime.requests import Item, PipelineInterface, Request
from trimtab.runtime.serve_options import MAX_QUEUED
from trimtab.runtime.service import InferRequest, InferResponse, ModelInfo, ModelStatistics, RepositoryEntry, Tensor
from trimtab.runtime.statistics import Statistics
from trimtab.runtime.wiring import Wiring
from trimtab.spec.model import Pipeline

log = logging.getLogger(__name__)


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
        self._max_queued = max_queued
        self._statistics = Statistics(pipeline, wall or _unix_time_s)
        self._window = ObservationWindow(clock(), pipeline.slo.latency_s)
        self._batches = Batches(
            pipeline,
            profile,
            wiring,
            self,
            metrics=metrics,
            window=self._window,
            statistics=self._statistics,
            clock=clock,
            on_stuck=on_stuck,
        )
        self._plan: Plan | None = None
        self._plan_id = ""
        self._open = True
        self._under_way: set[Request] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()
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
        self._batches.follow(plan)

    def add(self, task: str, replica: Server, concurrency: int, group: int = 0) -> None:
        """Give batches of `task` to a replica that is ready; `group` is its allocation's position in the plan."""
        self._batches.add(task, replica, concurrency, group)

    def resize(self, replica: Server, concurrency: int) -> None:
        """A replica serves `concurrency` batches at once from now on."""
        self._batches.resize(replica, concurrency)

    def regroup(self, replica: Server, group: int) -> None:
        """A replica serves another allocation of the plan from its next batch on."""
        self._batches.regroup(replica, group)

    async def drain(self, replica: Server) -> None:
        """Give no new batch to a replica; returns when it has answered what it had."""
        await self._batches.drain(replica)

    def remove(self, replica: Server) -> None:
        """Forget a replica that was lost. Its batches fail by themselves and are tried again elsewhere."""
        self._batches.remove(replica)

    def levels(self, starting: Mapping[str, int], cores: Mapping[str, int]) -> dict[str, TaskLevel]:
        """Queues and replicas of every task, now."""
        return self._batches.levels(starting, cores)

    def tick(self) -> None:
        """Share deadlines anew with the service times measured since; called about once a second."""
        self._batches.tick()

    async def close(self, grace_s: float) -> None:
        """Let nobody in, answer what is under way for up to `grace_s`, then refuse the rest."""
        self._open = False
        self._batches.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), grace_s)
        if self._under_way:
            log.warning("%d requests were still under way after %.1f s of grace", len(self._under_way), grace_s)
        for state in list(self._under_way):
            self.failed(state, RefusedError("the server is stopping", retry_after_s=1.0, reason="stopping"))
        await self._batches.stop()

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
        return self._open and all(any(seat.open for seat in self._batches.pools[task]) for task in tasks)

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer one request; see `InferenceService.infer`."""
        now_s = self._clock()
        enter = self._interface.enter(request.model)
        wanted = self._interface.check(request)
        slo_s = self._pipeline.slo.latency_s
        timeout_s = slo_s if request.timeout_s is None else min(slo_s, request.timeout_s)
        arrived_s = now_s if request.arrived_s is None else min(request.arrived_s, now_s)
        self._window.offered(now_s, arrived_s + timeout_s - now_s)
        self._metrics.request_offered()
        loop = asyncio.get_running_loop()
        state = Request(
            model=request.model,
            enter=enter,
            inputs=request.inputs,
            rows=next(iter(request.inputs.values())).shape[0],
            arrived_s=arrived_s,
            due_s=arrived_s + timeout_s,
            deadline_s=arrived_s + (1.0 - ANSWER_SHARE) * timeout_s,
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
        for name in self._pipeline.tasks:
            if name in state.enter and self._batches.queued(name) + state.rows > self._max_queued:
                raise RefusedError(f"the queue of task '{name}' is full", retry_after_s=1.0, reason="queue_full")
        least_s = self._batches.predicted_response_s(state)
        if math.isinf(least_s):
            raise RefusedError("a task has no ready replica", retry_after_s=1.0, reason="not_ready")
        if now_s + least_s > state.deadline_s:
            raise RefusedError(
                f"overloaded: the answer would take at least {least_s:.3f} s, "
                f"the request has {max(state.due_s - now_s, 0.0):.3f} s",
                retry_after_s=max(least_s, 1.0),
                reason="overload",
            )

    def _spawn(self, state: Request, task: str) -> None:
        """Queue the items of `task`; the inputs it needs are there."""
        self._batches.queue(task, self._interface.split(state, task))

    def item_done(self, item: Item, variant: str, outputs: dict[str, Tensor]) -> None:
        """An item was answered: go on to the tasks behind it, or answer the request."""
        state = item.request
        if item.done:  # its request has ended, or another replica was faster
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
            if state.complete():
                state.answer.set_result(self._interface.gather(state))
        except RequestError as error:
            self.failed(state, error)

    def given_up(self, request: Request, why: str) -> None:
        """Nothing can save a request any more: a refusal before any work, a missed deadline after some."""
        if request.variants:
            self.failed(request, DeadlineError(f"given up: {why}"))
        else:
            self.failed(request, RefusedError(f"overloaded: {why}", retry_after_s=1.0, reason="deadline"))

    def _deadline_passed(self, state: Request, asked_by_client: bool) -> None:
        """At the deadline: what waits is given up; what is served is answered late, unless the client set the deadline.

        Such a client has gone by now.
        """
        if not state.answer.done() and (asked_by_client or state.queued):
            self.given_up(state, "the deadline passed")

    def failed(self, request: Request, error: RequestError) -> None:
        """End a request without an answer; nothing of it is started any more."""
        if not request.answer.done():
            request.answer.set_exception(error)
            self._batches.withdraw(request)

    def _end(self, state: Request, outcome: Outcome, reason: str, response_s: float | None) -> None:
        """The one place where a request ends."""
        self._batches.withdraw(state)
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


def _unix_time_s() -> float:
    return datetime.now(UTC).timestamp()
