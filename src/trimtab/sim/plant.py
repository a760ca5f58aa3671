"""The simulated plant: replicas that start, serve, change and drain as a plant model says, around the event loop.

`SimPlant` is a `Plant` like any other; its time moves only when `advance` is called. What a plan asks for is brought
about as `PlantModel` states: templates that are missing are started, and a task follows its new plan once they are
ready; everything else reaches running replicas by message.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trimtab import rng
from trimtab.control.protocols import Capabilities, Decision
from trimtab.dispatch import kernels, rules
from trimtab.dispatch.pipeline import split_deadline, upstream_flags
from trimtab.dispatch.task import least_times, service_rows
from trimtab.errors import PlantError
from trimtab.observe.model import Observation, Outcomes, TaskObservation
from trimtab.observe.window import RESPONSE_QUANTILES
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile
from trimtab.sim import engine
from trimtab.sim import layout as at
from trimtab.sim.draws import draw_table, known_at
from trimtab.sim.model import Fault, PlantModel, Serving
from trimtab.sim.state import Sizes, State
from trimtab.spec.model import Pipeline
from trimtab.workload.arrivals import Moments

_RULES = {
    "trimtab": rules.TRIMTAB,
    "fifo": rules.FIFO,
    "clipper": rules.CLIPPER,
    "nexus": rules.NEXUS,
    "proteus": rules.PROTEUS,
}
RETRIES = 1
"""Times an item is tried again when the replica that had it was lost; as in the live data plane."""


class Window(NamedTuple):
    """What happened since the last window, as counts."""

    start_s: float
    end_s: float
    arrivals: tuple[int, ...]
    """By whole second, complete seconds only."""
    outcomes: NDArray[np.int64]
    """In the order of `observe.model.Outcomes`."""
    worth: float
    """Sum of the accuracies of what was answered."""
    response_s: float
    """Sum of the response times of what was answered."""
    responses: NDArray[np.int64]
    """Answers by bucket of response time."""
    served: NDArray[np.int64]
    """Items by task and variant, most accurate first; shape (T, V)."""
    by_task: NDArray[np.float64]
    """Batches, measured, expected seconds and busy core-seconds by task; shape (T, 4)."""
    core_seconds: float


@dataclass(eq=False, slots=True)
class _Replica:
    row: int
    task: str
    template: tuple[object, ...]
    cores: int
    threads: int
    resident: set[str]
    ready: bool = False
    draining: bool = False
    since_s: float = 0.0
    """From when its cores are not yet in the sum."""


@dataclass(slots=True)
class _Change:
    """A task on its way to a new plan."""

    plan: TaskPlan
    assigned: list[list[_Replica]]
    """Replicas of each allocation, those that start included."""
    waits: set[int]
    """Rows of replicas that have to be ready first."""
    not_before_s: float


@dataclass(slots=True)
class _Following:
    """What a task does now."""

    plan: TaskPlan
    assigned: list[list[_Replica]]
    slots: list[int]
    """Group of each allocation."""


@dataclass(slots=True)
class _Cost:
    """Core-seconds held."""

    total: float = 0.0
    reported: float = 0.0
    peak: int = 0


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
        serving: Serving | None = None,
        truth: Profile | None = None,
        faults: Sequence[Fault] = (),
        memory_bytes: int | None = None,
        records: int = 0,
    ) -> None:
        """`arrivals` gives moments in blocks of whole seconds, ascending; see `simulate` for the rest."""
        self._pipeline, self._profile, self._truth = pipeline, profile, truth or profile
        self._model, self._serving = model, serving or Serving()
        self._capabilities = model.capabilities(cores, memory_bytes)
        self._names = list(pipeline.tasks)
        self._variants = {name: pipeline.tasks[name].by_accuracy() for name in self._names}
        self._width = model.max_allocations_per_task
        draws = rng.generator(seed, "service")
        widest = max(len(v) for v in self._variants.values())
        sizes = Sizes(T=len(self._names), G=len(self._names) * self._width, V=widest, B=2)
        self.state = State(sizes, draws.random, records)
        self._arrivals, self._per_second, self._first_second = arrivals, list[int](), 0
        self._events: list[_Event] = []
        self._sequence = 0
        self._replicas: list[_Replica] = []
        self._free_rows: list[int] = []
        self._rows = 0
        self._changes: dict[str, _Change] = {}
        self._following: dict[str, _Following] = {}
        self._plan: Plan | None = None
        self._cost = _Cost()
        self._opened_s = 0.0
        self._set_up()
        for fault in faults:
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
        return self._cost.peak

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
        self._settle()
        self._plan = plan
        for task in plan.tasks.values():
            self._turn(task, warm=warm)
        self._count_peak()

    def advance(self, to_s: float) -> None:
        """Let time pass up to `to_s`."""
        while self._events and self._events[0].at_s <= to_s:
            event = heapq.heappop(self._events)
            self._run(event.at_s)
            self._settle()
            event.act()
            self._count_peak()
        self._run(to_s)

    def take_window(self) -> Window:
        """Everything since the last window, which ends now."""
        self._settle()
        state, now_s = self.state, self.now_s
        complete = math.floor(now_s)
        seconds = max(0, complete - self._first_second)
        arrivals = tuple(self._per_second[:seconds]) + (0,) * max(0, seconds - len(self._per_second))
        del self._per_second[:seconds]
        self._first_second += seconds
        core_s = self._core_seconds(now_s)
        window = Window(
            self._opened_s,
            now_s,
            arrivals,
            state["outcomes"].copy(),
            float(state["window_f"][at.WORTH]),
            float(state["window_f"][at.RESPONSE_S]),
            state["responses"].copy(),
            state["served"].copy(),
            state["window_t"].copy(),
            core_s - self._cost.reported,
        )
        for name in ("outcomes", "window_f", "window_t", "served", "responses"):
            state[name][...] = 0
        self._opened_s, self._cost.reported = now_s, core_s
        self._split_deadlines()
        return window

    def observation(self, window: Window) -> Observation:
        """A window as the controller sees it, with the plant's levels now."""
        return Observation(
            now_s=window.end_s,
            window_s=window.end_s - window.start_s,
            arrivals=window.arrivals,
            outcomes=Outcomes(*(int(n) for n in window.outcomes)),
            tasks={name: self._task_observation(t, name, window) for t, name in enumerate(self._names)},
            response_s=response_quantiles(window.responses, RESPONSE_QUANTILES),
            core_seconds=window.core_seconds,
            plan_id=self._plan.id if self._plan else None,
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
            self._feed(next(self._arrivals, None))

    def _feed(self, block: Moments | None) -> None:
        count = self.state["counts"]
        count[at.NEXT_ARRIVAL] = 0
        count[at.MORE] = block is not None
        self.state.replace("arrivals", np.empty(0) if block is None else block)
        if block is not None and len(block):
            first = self._first_second + len(self._per_second)
            self._per_second += np.bincount(block.astype(np.int64) - first).tolist()

    def _at(self, at_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, _Event(at_s, self._sequence, act))
        self._sequence += 1

    def _set_up(self) -> None:
        state, serving = self.state, self._serving
        count, option_i, option_f = state["counts"], state["option_i"], state["option_f"]
        count[at.MORE] = 1
        option_i[at.RULE] = _RULES[serving.rule]
        option_i[at.WAITS] = serving.rule == "proteus" or serving.max_wait_s > 0.0
        option_i[at.QUEUE_LIMIT] = serving.queue_limit or 0
        option_i[at.EXPONENTIAL] = serving.draw == "exponential"
        slo_s = self._pipeline.slo.latency_s
        option_f[at.SLO_S] = slo_s
        option_f[at.DEADLINE_S] = (1.0 - kernels.ANSWER_SHARE) * slo_s
        option_f[at.MAX_WAIT_S] = serving.max_wait_s
        option_f[at.DROP_AFTER_S] = math.inf if serving.drop_after_s is None else serving.drop_after_s
        option_f[at.HOP_S] = serving.hop_s
        state["upstream"][...] = upstream_flags(self._pipeline)
        state["enter"][:] = True
        state["group_i"][:, at.TASK] = np.repeat(np.arange(len(self._names)), self._width)
        for t, name in enumerate(self._names):
            for v, variant in enumerate(self._variants[name]):
                state["accuracy"][t, v] = variant.accuracy
            for edge in self._pipeline.tasks[name].after:
                u = self._names.index(edge.upstream)
                for v, variant in enumerate(self._variants[edge.upstream]):
                    state["fan"][t, u, v] = edge.fan_out_of(variant.name)
        state.fit()

    # --- plan → replicas --------------------------------------------------------------------------------------------

    def _check(self, plan: Plan) -> None:
        """Refuse, before anything is changed, a plan that this plant cannot follow."""
        if list(plan.tasks) != self._names:
            raise PlantError("the plan is for other tasks", got=", ".join(plan.tasks), wanted=", ".join(self._names))
        for task in plan.tasks.values():
            where = f"task {task.task}"
            if not 1 <= len(task.allocations) <= self._width:
                raise PlantError(
                    "the plant gives a task so many allocations", where=where, got=len(task.allocations),
                    wanted=f"1 to {self._width}",
                )  # fmt: skip
            known = self._pipeline.tasks[task.task].variants
            for variant in (*(a.variant for a in task.allocations), *task.resident, *task.may_use):
                if variant not in known:
                    raise PlantError("no such variant", where=where, got=variant, wanted=", ".join(known))
            for allocation in task.allocations:
                if allocation.replicas < 1 or allocation.batch < 1 or allocation.cores < allocation.threads:
                    raise PlantError("an allocation without a replica, a batch or a slot", where=where)
        if plan.cores > self._capabilities.cores:
            raise PlantError(
                "the plan holds too many cores", got=f"{plan.cores}", wanted=f"at most {self._capabilities.cores}"
            )

    def _template(self, allocation: Allocation) -> tuple[object, ...]:
        """What of an allocation cannot change while a replica runs."""
        variant = () if self._model.in_place_variants else (allocation.variant,)
        shape = () if self._model.in_place_cores else (allocation.cores, allocation.threads)
        return (*variant, *shape)

    def _turn(self, task: TaskPlan, *, warm: bool) -> None:
        """Set a task on its way to a new plan: keep what fits, start what is missing, then wait or switch."""
        name, now_s = task.task, self.now_s
        before = self._changes.pop(name, None)
        free = [r for r in self._replicas if r.task == name and not r.draining]
        following = self._following.get(name)
        in_use = {r.row for group in (following.assigned if following else []) for r in group}
        assigned: list[list[_Replica]] = []
        for k, allocation in enumerate(task.allocations):
            template = self._template(allocation)
            here = set[int]()
            if following and k < len(following.assigned):
                here = {r.row for r in following.assigned[k]}
            fitting = sorted(
                (r for r in free if r.template == template),
                key=lambda r: (not r.ready, r.row not in here, r.row not in in_use, r.row),
            )
            kept = fitting[: allocation.replicas]
            free = [r for r in free if r not in kept]
            new = [self._start(task, allocation, warm=warm) for _ in range(allocation.replicas - len(kept))]
            assigned.append(kept + new)
        for replica in free:
            if not replica.ready:
                self._release(replica, now_s)
        known = {self._template(a) for a in following.plan.allocations} if following else set()
        waits = {
            r.row
            for allocation, group in zip(task.allocations, assigned, strict=True)
            for r in group
            if not r.ready and self._template(allocation) not in known and following is not None
        }
        delay_s = 0.0 if warm else self._message_s(task, assigned)
        change = _Change(task, assigned, waits, now_s + delay_s)
        if before is None and not waits and delay_s == 0.0:
            self._switch(change)
            return
        self._changes[name] = change
        if delay_s > 0.0 or not waits:
            self._at(change.not_before_s, lambda: self._try_switch(change))

    def _message_s(self, task: TaskPlan, assigned: list[list[_Replica]]) -> float:
        """How long running replicas take to be as the plan says: loading what is not resident, changing cores."""
        longest_s = 0.0
        for allocation, group in zip(task.allocations, assigned, strict=True):
            for replica in group:
                if replica.ready:
                    missing = set(task.resident) - replica.resident if self._model.in_place_variants else set[str]()
                    delay_s = sum(self._load_s(task.task, variant) for variant in sorted(missing))
                    if (replica.cores, replica.threads) != (allocation.cores, allocation.threads):
                        delay_s += self._model.resize_s
                    longest_s = max(longest_s, delay_s)
        return longest_s

    def _load_s(self, task: str, variant: str) -> float:
        if self._model.load_s is not None:
            return self._model.load_s
        return self._truth.variants[task][variant].load_time_s or 0.0

    def _start(self, task: TaskPlan, allocation: Allocation, *, warm: bool) -> _Replica:
        resident = set(task.resident) if self._model.in_place_variants else {allocation.variant}
        if self._free_rows:
            row = heapq.heappop(self._free_rows)
        else:
            row, self._rows = self._rows, self._rows + 1
            self.state.fit(replicas=self._rows)
        self.state["replica_i"][row] = (-1, 0, 0)
        self.state["replica_f"][row] = (1.0, 0.0)
        replica = _Replica(
            row, task.task, self._template(allocation), allocation.cores, allocation.threads, resident,
            ready=warm, since_s=self.now_s,
        )  # fmt: skip
        self._replicas.append(replica)
        if not warm:
            self._boot(replica)
        return replica

    def _boot(self, replica: _Replica) -> None:
        took_s = self._model.start_s + sum(self._load_s(replica.task, v) for v in sorted(replica.resident))
        self._at(self.now_s + took_s, lambda: self._is_ready(replica))

    def _is_ready(self, replica: _Replica) -> None:
        if replica not in self._replicas or replica.draining:
            return
        replica.ready = True
        change = self._changes.get(replica.task)
        if change is not None:
            change.waits.discard(replica.row)
            self._try_switch(change)
        following = self._following.get(replica.task)
        if following and any(replica in group for group in following.assigned):
            self._attach(replica.task)

    def _try_switch(self, change: _Change) -> None:
        if self._changes.get(change.plan.task) is not change or change.waits or self.now_s < change.not_before_s:
            return
        del self._changes[change.plan.task]
        self._switch(change)

    def _switch(self, change: _Change) -> None:
        """A task follows its new plan from now on."""
        task, now_s = change.plan, self.now_s
        following = self._following.get(task.task)
        staying = {r.row for group in change.assigned for r in group}
        for replica in [r for r in self._replicas if r.task == task.task and r.row not in staying and not r.draining]:
            self._retire(replica, now_s)
        for allocation, group in zip(task.allocations, change.assigned, strict=True):
            for replica in group:
                self._bill(replica, now_s)
                replica.cores, replica.threads = allocation.cores, allocation.threads
                if self._model.in_place_variants:
                    replica.resident = set(task.resident)
        slots = self._place(task, following)
        self._following[task.task] = _Following(task, change.assigned, slots)
        self._open_groups(task, slots, following)
        self._attach(task.task)

    # --- replicas → groups ------------------------------------------------------------------------------------------

    def _place(self, task: TaskPlan, following: _Following | None) -> list[int]:
        """A group for each allocation: a single one is the first, others stay with their variant where they can."""
        first = self._names.index(task.task) * self._width
        if len(task.allocations) == 1:
            return [first]
        held = (
            {a.variant: slot for a, slot in zip(following.plan.allocations, following.slots, strict=True)}
            if following
            else {}
        )
        wanted = [held.get(a.variant) for a in task.allocations]
        slots: list[int] = []
        for k, slot in enumerate(wanted):
            taken = {*slots, *(s for s in wanted[k + 1 :] if s is not None)}
            if slot is None or slot in slots:
                slot = next(s for s in range(first, first + self._width) if s not in taken)
            slots.append(slot)
        return slots

    def _open_groups(self, task: TaskPlan, slots: list[int], following: _Following | None) -> None:
        """Fill in the groups' tables, close the others and move what waits in those."""
        state, t = self.state, self._names.index(task.task)
        state.fit(batch=max(a.batch for a in task.allocations))
        learned = state["ratio"][following.slots[0]].copy() if following else None
        first = t * self._width
        variants = self._variants[task.task]
        index = {variant.name: v for v, variant in enumerate(variants)}
        for allocation, g in zip(task.allocations, slots, strict=True):
            shape = (allocation.cores, allocation.threads)
            mixed = len(task.allocations) > 1
            usable = {allocation.variant, *task.may_use}
            beliefs, truths = dict[str, Any](), list[Any]()
            for variant in variants:
                if variant.name in usable:
                    believed = self._profile.variants[task.task][variant.name]
                    true = self._truth.variants[task.task][variant.name]
                    beliefs[variant.name] = known_at(believed, true, *shape)
                    truths.append(known_at(true, believed, *shape))
                else:
                    truths.append(None)
            service_s, mean_s = service_rows(variants, beliefs, usable, allocation)
            rows, columns = service_s.shape
            state["service_s"][g] = state["mean_s"][g] = np.inf
            state["service_s"][g, :rows, :columns], state["mean_s"][g, :rows, :columns] = service_s, mean_s
            state["least_s"][g, :, :rows] = least_times(service_s)
            state["draws_s"][g, :rows, :columns] = draw_table(truths, allocation.batch, *shape, self._serving.draw)
            state["allowed"][g] = False
            for name in usable:
                state["allowed"][g, index[name]] = True
            if learned is not None and not state["group_i"][g, at.OPEN]:
                state["ratio"][g] = learned
            state["group_i"][g, at.OPEN] = 1
            state["group_i"][g, at.VARIANT] = index[allocation.variant]
            state["group_i"][g, at.MAX_BATCH] = allocation.batch
            state["group_i"][g, at.THREADS] = allocation.threads
            state["share"][g], state["credit"][g] = (allocation.share if mixed else 1.0), 0.0
        for g in range(first, first + self._width):
            if g not in slots:
                state["group_i"][g, at.OPEN] = 0
                state["group_i"][g, at.MEMBERS] = 0
                state["share"][g] = 0.0
                self._move_items(t, g)
        if len(slots) > 1:
            state["share"][slots] /= state["share"][slots].sum()

    def _move_items(self, t: int, g: int) -> None:
        """What waits at a closed group goes to those that are open, in its order."""
        state = self.state
        entries = int(state["group_i"][g, at.ENTRIES])
        if entries == 0:
            return
        order = sorted(range(entries), key=lambda i: (state["queue_key"][g, i], state["queue_item"][g, i, 0]))
        waiting = [(float(state["queue_key"][g, i]), int(state["queue_item"][g, i, 1])) for i in order]
        queued = int(state["group_i"][g, at.QUEUED])
        state["group_i"][g, (at.ENTRIES, at.QUEUED)] = 0
        state["group_f"][g, at.WAKE_S] = math.inf
        state["task_i"][at.WAITING, t] -= queued
        for key, item in waiting:
            slot = self._living(item)
            if slot is not None:
                state["waits"][slot, g] -= 1
                self._queue(t, slot, item, key)

    def _queue(self, t: int, slot: int, item: int, now_s: float) -> None:
        state = self.state
        while state["counts"][at.HIGHEST] + 1 >= state.sizes.Q:
            state.grow_queue()
        engine.enqueue(state.arrays, t, slot, item, now_s)

    def _living(self, item: int) -> int | None:
        """Where the request of an item lives; None when it has ended."""
        slot = (item >> 1) & (self.state.sizes.N - 1)
        row = self.state["request_i"][slot]
        return slot if row[at.ALIVE] and row[at.SERIAL] == item >> 1 else None

    def _attach(self, task: str) -> None:
        """Give every ready replica of a task to its group, and count anew."""
        state, following = self.state, self._following[task]
        for g, group in zip(following.slots, following.assigned, strict=True):
            ready = [r for r in group if r.ready and not r.draining]
            for replica in ready:
                state["replica_i"][replica.row, at.GROUP] = g
                state["replica_i"][replica.row, at.CONCURRENCY] = replica.cores // replica.threads
            rows = [r.row for r in ready]
            state["members"][g, : len(rows)] = rows
            busy = state["replica_i"][rows, at.BUSY]
            concurrency = state["replica_i"][rows, at.CONCURRENCY]
            state["group_i"][g, at.MEMBERS] = len(rows)
            state["group_i"][g, at.SLOTS] = concurrency.sum()
            state["group_i"][g, at.FREE] = np.maximum(concurrency - busy, 0).sum()
        every = state["replica_i"]
        state.fit(batches=int(every[:, at.CONCURRENCY].sum() + every[:, at.BUSY].sum()) + 1)
        self._refresh(following)
        self._split_deadlines()
        state["counts"][at.PUMP_ALL] = 1

    def _refresh(self, following: _Following) -> None:
        for g in following.slots:
            engine.refresh(self.state.arrays, g)

    def _split_deadlines(self) -> None:
        """Share deadlines over the tasks as the live dispatcher does, with the times measured since."""
        if len(self._following) < len(self._names):
            return
        state, own_s, alone_s = self.state, dict[str, float](), dict[str, float]()
        for t, name in enumerate(self._names):
            slots = self._following[name].slots
            own_s[name] = max(
                float(state["service_s"][g, v, 1] * state["ratio"][g, v])
                for g in slots
                for v in (state["group_i"][g, at.VARIANT],)
            )
            alone_s[name] = float(state["task_f"][at.T_ALONE_S, t])
        for name, part in split_deadline(self._pipeline, own_s, alone_s).items():
            for g in self._following[name].slots:
                state["group_f"][g, : at.PRESSURE_S + 1] = (part.slack_share, part.reserve_s, part.pressure_s)

    # --- leaving ----------------------------------------------------------------------------------------------------

    def _retire(self, replica: _Replica, now_s: float) -> None:
        """No new batch for a replica; its cores are given back once its last batches are done."""
        if not replica.ready:
            self._release(replica, now_s)
            return
        replica.draining = True
        self.state["replica_i"][replica.row, at.GROUP] = -1
        if self.state["replica_i"][replica.row, at.BUSY] == 0:
            self.state["replica_f"][replica.row, at.IDLE_AT_S] = now_s

    def _settle(self) -> None:
        """Give back what drained replicas held, as of when they were done."""
        now_s = self.now_s
        for replica in [r for r in self._replicas if r.draining]:
            if self.state["replica_i"][replica.row, at.BUSY] == 0:
                done_s = float(self.state["replica_f"][replica.row, at.IDLE_AT_S]) + self._model.drain_s
                if done_s <= now_s:
                    self._release(replica, done_s)

    def _release(self, replica: _Replica, at_s: float) -> None:
        self._bill(replica, at_s)
        self._replicas.remove(replica)
        self.state["replica_i"][replica.row] = (-1, 0, 0)
        heapq.heappush(self._free_rows, replica.row)

    def _bill(self, replica: _Replica, until_s: float) -> None:
        self._cost.total += replica.cores * (until_s - replica.since_s)
        replica.since_s = until_s

    def _core_seconds(self, now_s: float) -> float:
        return self._cost.total + sum(r.cores * (now_s - r.since_s) for r in self._replicas)

    def _count_peak(self) -> None:
        self._cost.peak = max(self._cost.peak, sum(r.cores for r in self._replicas))

    # --- faults -----------------------------------------------------------------------------------------------------

    def _fail(self, fault: Fault) -> None:
        """Let something go wrong in the first replica of a task that serves."""
        serving = [r for r in self._replicas if r.task == fault.task and r.ready and not r.draining]
        if not serving:
            return
        replica = min(serving, key=lambda r: r.row)
        if fault.kind == "slow":
            self.state["replica_f"][replica.row, at.FACTOR] = fault.factor
            self._at(self.now_s + fault.for_s, lambda: self._recover(replica))
            return
        replica.ready = False
        self._lose_batches(replica)
        self.state["replica_i"][replica.row] = (-1, 0, 0)
        self._attach(fault.task)
        self._boot(replica)

    def _recover(self, replica: _Replica) -> None:
        if replica in self._replicas:
            self.state["replica_f"][replica.row, at.FACTOR] = 1.0

    def _lose_batches(self, replica: _Replica) -> None:
        """Items of a lost replica are tried once more; those tried already fail their request."""
        state = self.state
        for i in range(int(state["counts"][at.IN_FLIGHT])):
            batch = int(state["end_batch"][i, 1])
            row = state["batch_i"][batch]
            if row[at.B_REPLICA] != replica.row or row[at.B_LOST]:
                continue
            row[at.B_LOST] = 1
            t, size = int(state["group_i"][row[at.B_GROUP], at.TASK]), int(row[at.B_SIZE])
            state["task_i"][at.IN_SERVICE, t] -= size
            for item in state["batch_item"][batch, :size].tolist():
                slot = self._living(item)
                if slot is None:
                    continue
                if item & 1 >= RETRIES:
                    engine.leave(state.arrays, slot, at.FAILED)
                else:
                    key = state["request_f"][slot, at.END_S if self._serving.rule == "trimtab" else at.ARRIVED_S]
                    self._queue(t, slot, item + 1, float(key))

    # --- seeing -----------------------------------------------------------------------------------------------------

    def _task_observation(self, t: int, name: str, window: Window) -> TaskObservation:
        members = [r for r in self._replicas if r.task == name]
        batches, measured_s, expected_s, busy_core_s = window.by_task[t].tolist()
        served = window.served[t]
        return TaskObservation(
            queued=int(self.state["task_i"][at.WAITING, t]),
            in_service=int(self.state["task_i"][at.IN_SERVICE, t]),
            replicas_ready=sum(r.ready and not r.draining for r in members),
            replicas_starting=sum(not r.ready for r in members),
            cores=sum(r.cores for r in members),
            served={variant.name: int(served[v]) for v, variant in enumerate(self._variants[name]) if served[v]},
            batches=int(batches),
            service_ratio=measured_s / expected_s if expected_s > 0 else None,
            busy_core_s=busy_core_s,
        )


def response_quantiles(responses: NDArray[np.int64], quantiles: Sequence[float]) -> Mapping[float, float]:
    """Quantiles of response times that were counted by bucket, to within a quarter of a percent; empty without any."""
    total = np.cumsum(responses)
    if total[-1] == 0:
        return {}
    ranks = [q * (int(total[-1]) - 1) + 0.5 for q in quantiles]
    buckets = np.searchsorted(total, ranks, side="left")
    return {
        q: at.LEAST_RESPONSE_S * math.exp((int(bucket) + 0.5) * at.RESPONSE_STEP)
        for q, bucket in zip(quantiles, buckets, strict=True)
    }
