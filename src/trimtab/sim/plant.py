"""The simulated plant: what a plan asks for is brought about as a plant model says, while the event loop runs.

`SimPlant` is a `Plant` like any other; its time moves only when `advance` is called. A task's templates that are
missing are started, and the task follows its new plan once they are ready; everything else is a message to replicas.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trimtab import rng
from trimtab.control.protocols import Capabilities, Decision
from trimtab.dispatch import rules
from trimtab.dispatch.pipeline import upstream_flags
from trimtab.errors import PlantError, SimulationError
from trimtab.observe.model import Observation, Outcomes
from trimtab.observe.window import RESPONSE_QUANTILES, allowed_quantiles
from trimtab.plan.model import Plan, TaskPlan
from trimtab.profile.model import Profile
from trimtab.sim import engine
from trimtab.sim import layout as at
from trimtab.sim.fleet import Fleet, Replica
from trimtab.sim.groups import Groups
from trimtab.sim.model import Fault, PlantModel, Serving
from trimtab.sim.state import Sizes, State
from trimtab.sim.window import Window, empty_window, response_quantiles, task_observation
from trimtab.spec.model import Pipeline
from trimtab.workload.arrivals import Moments
from trimtab.workload.delays import Delays

_RULES = {
    "trimtab": rules.TRIMTAB,
    "fifo": rules.FIFO,
    "clipper": rules.CLIPPER,
    "nexus": rules.NEXUS,
    "proteus": rules.PROTEUS,
}
_ROUNDING_S = 1e-9
"""What a second is forgiven before it is complete."""
RETRIES = 1
"""Times an item is tried again when the replica that had it was lost; as in the live data plane."""


@dataclass(slots=True)
class _Change:
    """A task on its way to a new plan."""

    plan: TaskPlan
    assigned: tuple[tuple[Replica, ...], ...]
    waits: set[int]
    """Rows of replicas that have to be ready first."""
    not_before_s: float


@dataclass(order=True, slots=True)
class _Event:
    at_s: float
    sequence: int
    act: Callable[[], None] = field(compare=False)


class SimPlant:
    """A simulated plant. Make it, `apply` a plan, then `advance` and `observe` in turns."""

    def __init__(
        self,
        pipeline: Pipeline,
        profile: Profile,
        model: PlantModel,
        cores: int,
        arrivals: Iterator[Moments],
        seed: int,
        *,
        delays: Delays | None = None,
        serving: Serving | None = None,
        truth: Profile | None = None,
        faults: Sequence[Fault] = (),
        memory_bytes: int | None = None,
        records: int = 0,
    ) -> None:
        """`arrivals` gives moments in blocks of whole seconds, ascending; `records` requests are kept one by one.

        `delays` are missing from the time of requests; None: all have the SLO. See `sim.run.simulate` for the rest.
        """
        self._pipeline, self._serving = pipeline, serving or Serving()
        self._capabilities = model.capabilities(cores, memory_bytes)
        self._tasks = list(pipeline.tasks.values())
        width = model.max_allocations_per_task
        variants = max(len(task.variants) for task in self._tasks)
        sizes = Sizes(T=len(self._tasks), G=len(self._tasks) * width, V=variants, B=2)
        self.state = State(sizes, rng.generator(seed, "service").random, records)
        self._fleet = Fleet(self.state, model, truth or profile)
        self._groups = Groups(pipeline, profile, truth or profile, self.state, width, self._serving.draw)
        self._changes: dict[str, _Change] = {}
        self._plan: Plan | None = None
        self._arrivals, self._delays, self._delay_draws = arrivals, delays, rng.generator(seed, "delays")
        self._came_with: list[NDArray[np.float64]] = []
        """What requests had left that arrived in the open window."""
        self._noted = 0
        """Arrivals at hand whose time left is noted."""
        self._per_second: dict[int, int] = {}
        self._first_second = 0
        self._events: list[_Event] = []
        self._sequence = 0
        self._opened_s = self._reported_core_s = 0.0
        self._set_up(width)
        for fault in faults:
            if fault.task not in pipeline.tasks:
                wanted = ", ".join(pipeline.tasks)
                raise SimulationError("a fault of no task", where=f"at {fault.at_s:g} s", got=fault.task, wanted=wanted)
            self._at(fault.at_s, partial(self._fail, fault))

    # --- what drives it ---------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> Capabilities:
        """What the plant can do."""
        return self._capabilities

    @property
    def now_s(self) -> float:
        """The plant's clock."""
        return float(self.state["clock"][at.NOW])

    @property
    def plan(self) -> Plan | None:
        """The plan that was applied last."""
        return self._plan

    @property
    def peak_cores(self) -> int:
        """Most cores held at once so far."""
        return self._fleet.peak_cores

    @property
    def under_way(self) -> int:
        """Requests that were let in and have not ended."""
        return int(self.state["request_i"][:, at.ALIVE].sum())

    def apply_now(self, plan: Plan, *, warm: bool = False) -> None:
        """Bring the plant towards a plan; `warm`: as if it had been there all along, at no delay.

        Raises:
            PlantError: the plan asks for what the plant lacks; nothing has changed.
        """
        self._check(plan)
        if self._plan is not None and self._plan.id == plan.id:
            return
        self._fleet.settle(self.now_s)
        self._plan = plan
        for task in plan.tasks.values():
            self._turn(task, warm=warm)
        self._settle()

    def offer(self, requests: int) -> None:
        """Let so many requests arrive now, beside those of the arrivals that were given at the start."""
        came = int(self.state["counts"][at.NEXT_ARRIVAL])
        ahead = self.state["arrivals"][:, came:]
        now = np.repeat([[self.now_s], [self._pipeline.slo.latency_s]], requests, axis=1)
        self._come(np.concatenate((now, ahead), axis=1))
        second = math.floor(self.now_s)
        self._per_second[second] = self._per_second.get(second, 0) + requests

    def advance(self, to_s: float) -> None:
        """Let time pass up to `to_s`."""
        while self._events and self._events[0].at_s <= to_s:
            event = heapq.heappop(self._events)
            self._run(event.at_s)
            self._fleet.settle(event.at_s)
            event.act()
            self._settle()
        self._run(to_s)

    def take_window(self) -> Window:
        """Everything since the last window, which ends now."""
        now_s = self.now_s
        self._fleet.settle(now_s)
        complete = max(math.floor(now_s + _ROUNDING_S), self._first_second)
        arrivals = tuple(self._per_second.pop(second, 0) for second in range(self._first_second, complete))
        self._first_second = complete
        before, self._reported_core_s = self._reported_core_s, self._fleet.core_seconds(now_s)
        self._note_left()
        left_s, self._came_with = np.concatenate((np.empty(0), *self._came_with)), []
        window = empty_window(self.state, self._opened_s, now_s, arrivals, self._reported_core_s - before, left_s)
        self._opened_s = now_s
        return window

    def observation(self, window: Window) -> Observation:
        """A window as the controller sees it, with the plant's levels now."""
        return Observation(
            now_s=window.end_s,
            window_s=window.end_s - window.start_s,
            arrivals=window.arrivals,
            outcomes=Outcomes(*(int(n) for n in window.outcomes)),
            tasks={
                task.name: task_observation(self.state, t, task, self._fleet.of(task.name), window)
                for t, task in enumerate(self._tasks)
            },
            response_s=response_quantiles(window.responses, RESPONSE_QUANTILES),
            core_seconds=window.core_seconds,
            plan_id=self._plan.id if self._plan else None,
            allowed_s=allowed_quantiles(window.left_s, self._pipeline.slo.latency_s),
        )

    async def observe(self) -> Observation:
        """What was seen since the last call; see `Plant`."""
        return self.observation(self.take_window())

    async def apply(self, decision: Decision) -> None:
        """Follow a decision's plan; see `Plant`."""
        self.apply_now(decision.plan)

    # --- time -------------------------------------------------------------------------------------------------------

    def _run(self, to_s: float) -> None:
        while self.state.run(to_s) == at.NEED_ARRIVALS:
            block = next(self._arrivals, None)
            self.state["counts"][at.MORE] = block is not None
            moments = np.empty(0) if block is None else block
            self._come(np.stack((moments, self._left_s(moments))))
            if block is not None and len(block):
                first = math.floor(block[0])
                for second, requests in enumerate(np.bincount(block.astype(np.int64) - first).tolist(), start=first):
                    self._per_second[second] = self._per_second.get(second, 0) + requests

    def _left_s(self, moments: Moments) -> NDArray[np.float64]:
        """What requests have left that arrive at these moments."""
        slo_s = self._pipeline.slo.latency_s
        if self._delays is None:
            return np.full(len(moments), slo_s)
        return self._delays.left_s(slo_s, self._delay_draws, moments)

    def _come(self, arrivals: NDArray[np.float64]) -> None:
        """Requests that are to arrive, in the place of those at hand."""
        self._note_left()
        self._noted = 0
        self.state["counts"][at.NEXT_ARRIVAL] = 0
        self.state.replace("arrivals", arrivals)

    def _note_left(self) -> None:
        """Take note of what the requests had left that have arrived since the last call."""
        came = int(self.state["counts"][at.NEXT_ARRIVAL])
        if self._delays is not None:
            self._came_with.append(self.state["arrivals"][1, self._noted : came])
        self._noted = came

    def _settle(self) -> None:
        """Give back what is no longer held, and take note of what is."""
        if self._events and self._events[0].at_s <= self.now_s:
            return  # more happens at this very moment
        self._fleet.settle(self.now_s)
        self._fleet.count_peak()

    def _at(self, at_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, _Event(at_s, self._sequence, act))
        self._sequence += 1

    def _set_up(self, width: int) -> None:
        """What stays as it is: the pipeline and the rules."""
        state, serving, slo_s = self.state, self._serving, self._pipeline.slo.latency_s
        state["counts"][at.MORE] = 1
        state["clock"][at.TICK] = at.TICK_S
        option_i, option_f = state["option_i"], state["option_f"]
        option_i[at.RULE] = _RULES[serving.rule]
        option_i[at.WAITS] = serving.rule == "proteus" or serving.max_wait_s > 0.0
        option_i[at.QUEUE_LIMIT] = serving.queue_limit or 0
        option_i[at.EXPONENTIAL] = serving.draw == "exponential"
        option_i[at.VARIED] = self._delays is not None and serving.rule == "trimtab"
        option_f[at.SLO_S] = slo_s
        option_f[at.MAX_WAIT_S], option_f[at.HOP_S] = serving.max_wait_s, serving.hop_s
        option_f[at.DROP_AFTER_S] = math.inf if serving.drop_after_s is None else serving.drop_after_s
        state["upstream"][...] = upstream_flags(self._pipeline)
        state["enter"][:] = True
        state["group_i"][:, at.TASK] = np.repeat(np.arange(len(self._tasks)), width)
        names = list(self._pipeline.tasks)
        for t, task in enumerate(self._tasks):
            state["accuracy"][t, : len(task.variants)] = [variant.accuracy for variant in task.by_accuracy()]
            for edge in task.after:
                variants = self._pipeline.tasks[edge.upstream].by_accuracy()
                fan = [edge.fan_out_of(variant.name) for variant in variants]
                state["fan"][t, names.index(edge.upstream), : len(fan)] = fan
        state.fit()

    # --- plan → replicas --------------------------------------------------------------------------------------------

    def _check(self, plan: Plan) -> None:
        """Refuse, before anything is changed, a plan that this plant cannot follow."""
        if list(plan.tasks) != list(self._pipeline.tasks):
            raise PlantError(
                "the plan is for other tasks", got=", ".join(plan.tasks), wanted=", ".join(self._pipeline.tasks)
            )
        most = self._capabilities.max_allocations_per_task
        for task in plan.tasks.values():
            where = f"task {task.task}"
            if not 1 <= len(task.allocations) <= most:
                got = f"{len(task.allocations)} allocations"
                raise PlantError("the plant cannot split a task so", where=where, got=got, wanted=f"1 to {most}")
            known = self._pipeline.tasks[task.task].variants
            for variant in (*(a.variant for a in task.allocations), *task.resident, *task.may_use):
                if variant not in known:
                    raise PlantError("no such variant", where=where, got=variant, wanted=", ".join(known))
            if not math.isclose(sum(a.share for a in task.allocations), 1.0, abs_tol=1e-6):
                got = ", ".join(f"{a.share:g}" for a in task.allocations)
                raise PlantError("a task's shares do not sum to 1", where=where, got=got)
            if any(a.replicas < 1 or a.batch < 1 or a.cores < a.threads for a in task.allocations):
                raise PlantError("an allocation without a replica, a batch or a slot", where=where)
            self._groups.check(task)
        if plan.cores > self._capabilities.cores:
            raise PlantError(
                "the plan holds too many cores", got=f"{plan.cores}", wanted=f"at most {self._capabilities.cores}"
            )

    def _turn(self, task: TaskPlan, *, warm: bool) -> None:
        """Set a task on its way to a new plan: keep what fits, start what is missing, then wait or switch."""
        now_s, following = self.now_s, self._groups.of(task.task)
        self._changes.pop(task.task, None)
        assigned, spare = self._assign(task, warm=warm)
        for replica in spare:
            if not replica.ready:
                self._fleet.release(replica, now_s)
        known = {self._fleet.template(a) for a in following.plan.allocations} if following else set()
        pairs = [(a, r) for a, group in zip(task.allocations, assigned, strict=True) for r in group]
        waits = {r.row for a, r in pairs if not r.ready and following and self._fleet.template(a) not in known}
        not_before_s = now_s
        for allocation, replica in [] if warm else pairs:
            done_s = self._fleet.message(replica, task, allocation, now_s)
            if replica.ready:
                not_before_s = max(not_before_s, done_s)
            else:
                self._at(done_s, partial(self._is_ready, replica))
        change = _Change(task, assigned, waits, not_before_s)
        self._changes[task.task] = change
        if not_before_s > now_s:
            self._at(not_before_s, partial(self._try_switch, change))
        self._try_switch(change)

    def _assign(self, task: TaskPlan, *, warm: bool) -> tuple[tuple[tuple[Replica, ...], ...], list[Replica]]:
        """Replicas for each allocation, those that serve it already first, and those that are left over."""
        following = self._groups.of(task.task)
        before = following.assigned if following else ()
        in_use = {r.row for group in before for r in group}
        free = [r for r in self._fleet.of(task.task) if not r.draining]
        assigned: list[tuple[Replica, ...]] = []
        for k, allocation in enumerate(task.allocations):
            here = {r.row for r in before[k]} if k < len(before) else set[int]()
            template = self._fleet.template(allocation)
            fitting = sorted(
                (r for r in free if r.template == template),
                key=lambda r: (not r.ready, r.row not in here, r.row not in in_use, r.row),
            )
            kept = fitting[: allocation.replicas]
            free = [r for r in free if r not in kept]
            new = []
            for _ in range(allocation.replicas - len(kept)):
                replica = self._fleet.start(task, allocation, self.now_s, ready=warm)
                if not warm:
                    self._boot(replica)
                new.append(replica)
            assigned.append((*kept, *new))
        return tuple(assigned), free

    def _boot(self, replica: Replica) -> None:
        self._at(self._fleet.boot(replica, self.now_s), partial(self._is_ready, replica))

    def _is_ready(self, replica: Replica) -> None:
        if replica not in self._fleet or replica.ready or replica.draining or self.now_s < replica.ready_s:
            return
        replica.ready = True
        change = self._changes.get(replica.task)
        if change is not None:
            change.waits.discard(replica.row)
            self._try_switch(change)
        following = self._groups.of(replica.task)
        if following and any(replica in group for group in following.assigned):
            self._groups.attach(replica.task)

    def _try_switch(self, change: _Change) -> None:
        """A task follows its new plan from now on, unless it has to wait or has been overtaken by another one."""
        task, now_s = change.plan, self.now_s
        if self._changes.get(task.task) is not change or change.waits or now_s < change.not_before_s:
            return
        del self._changes[task.task]
        staying = {r.row for group in change.assigned for r in group}
        for replica in self._fleet.of(task.task):
            if replica.row not in staying and not replica.draining:
                self._fleet.retire(replica, now_s)
        for allocation, group in zip(task.allocations, change.assigned, strict=True):
            for replica in group:
                self._fleet.become(replica, task, allocation, now_s)
        self._groups.follow(task, change.assigned)

    # --- faults -----------------------------------------------------------------------------------------------------

    def _fail(self, fault: Fault) -> None:
        """Let something go wrong in the first replica of a task that serves."""
        serving = [r for r in self._fleet.of(fault.task) if r.ready and not r.draining]
        if not serving:
            return
        replica = min(serving, key=lambda r: r.row)
        if fault.kind == "slow":
            self.state["replica_f"][replica.row, at.FACTOR] = fault.factor
            replica.slow_until_s = self.now_s + fault.for_s
            self._at(replica.slow_until_s, partial(self._recover, replica))
            return
        self._lose_batches(replica)
        self._fleet.crash(replica)
        self._groups.attach(fault.task)
        self._boot(replica)

    def _recover(self, replica: Replica) -> None:
        if replica in self._fleet and self.now_s >= replica.slow_until_s:
            self.state["replica_f"][replica.row, at.FACTOR] = 1.0

    def _lose_batches(self, replica: Replica) -> None:
        """Items of a lost replica are tried once more; those tried already fail their request."""
        state = self.state
        for batch in state["end_batch"][: state["counts"][at.IN_FLIGHT], 1].tolist():
            row = state["batch_i"][batch]
            if row[at.B_REPLICA] != replica.row or row[at.B_LOST]:
                continue
            row[at.B_LOST] = 1
            t, size = int(state["group_i"][row[at.B_GROUP], at.TASK]), int(row[at.B_SIZE])
            state["task_i"][at.IN_SERVICE, t] -= size
            for item in state["batch_item"][batch, :size].tolist():
                if not engine.living(state.arrays, item >> 1):
                    continue
                if item & 1 >= RETRIES:
                    engine.leave(state.arrays, (item >> 1) & (state.sizes.N - 1), at.FAILED)
                else:
                    self._groups.queue(t, item + 1, self.now_s)
