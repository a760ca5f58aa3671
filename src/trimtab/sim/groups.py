"""What the tasks of a simulated plant follow now: their groups of replicas, as tables of the state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trimtab.dispatch.task import least_times, service_rows
from trimtab.plan.model import Allocation, TaskPlan
from trimtab.profile.model import Profile, VariantProfile
from trimtab.sim import engine
from trimtab.sim import layout as at
from trimtab.sim.draws import draw_table, known_at
from trimtab.sim.fleet import Replica
from trimtab.sim.model import Draw
from trimtab.sim.state import State
from trimtab.spec.model import Pipeline


@dataclass(frozen=True, slots=True)
class Following:
    """What a task does now."""

    plan: TaskPlan
    assigned: tuple[tuple[Replica, ...], ...]
    """Replicas of each allocation, those that start included."""
    groups: tuple[int, ...]
    """Group of each allocation."""


class Groups:
    """The groups of all tasks. A task's allocations take some of its groups; the others are closed and empty."""

    def __init__(
        self, pipeline: Pipeline, profile: Profile, truth: Profile, state: State, width: int, draw: Draw
    ) -> None:
        """`width` is the number of groups that each task has."""
        self._pipeline, self._profile, self._truth = pipeline, profile, truth
        self._state, self._width, self._draw = state, width, draw
        self._positions = {name: t for t, name in enumerate(pipeline.tasks)}
        self._now: dict[str, Following] = {}

    def of(self, task: str) -> Following | None:
        """What a task follows; None before its first plan."""
        return self._now.get(task)

    def follow(self, plan: TaskPlan, assigned: tuple[tuple[Replica, ...], ...]) -> None:
        """A task follows a plan with these replicas from the next batch on."""
        before = self._now.get(plan.task)
        groups = self._place(plan, before)
        self._now[plan.task] = Following(plan, assigned, groups)
        self._state.fit(batch=max(a.batch_limit for a in plan.allocations))
        learned = None if before is None else self._state["ratio"][before.groups[0]].copy()
        for allocation, g in zip(plan.allocations, groups, strict=True):
            if learned is not None and not self._state["group_i"][g, at.OPEN]:
                self._state["ratio"][g] = learned
            self._open(plan, allocation, g)
        first = self._positions[plan.task] * self._width
        closed = [g for g in range(first, first + self._width) if g not in groups]
        for g in closed:
            self._close(g)
        self.attach(plan.task)
        for g in closed:
            self._hand_on(g)

    def attach(self, task: str) -> None:
        """Give every ready replica of a task to its group, count anew, and look at all that waits."""
        state, now = self._state, self._now[task]
        for g, replicas in zip(now.groups, now.assigned, strict=True):
            ready = [r for r in replicas if r.ready and not r.draining]
            rows = [r.row for r in ready]
            state["replica_i"][rows, at.GROUP] = g
            state["replica_i"][rows, at.CONCURRENCY] = [r.cores // r.threads for r in ready]
            state["members"][g, : len(rows)] = rows
            busy, concurrency = state["replica_i"][rows, at.BUSY], state["replica_i"][rows, at.CONCURRENCY]
            state["group_i"][g, at.MEMBERS] = len(rows)
            state["group_i"][g, at.SLOTS] = concurrency.sum()
            state["group_i"][g, at.FREE] = np.maximum(concurrency - busy, 0).sum()
        self._share_traffic(now)
        state.fit(batches=int(state["replica_i"][:, at.CONCURRENCY].sum() + state["counts"][at.IN_FLIGHT]) + 1)
        for g in now.groups:
            engine.refresh(state.arrays, g)
        engine.share_deadlines(state.arrays)
        state["counts"][at.PUMP_ALL] = 1

    def _share_traffic(self, now: Following) -> None:
        """Route by the plan's shares to the groups that can serve; what waits at others goes to those."""
        state = self._state
        shares = {g: a.share for a, g in zip(now.plan.allocations, now.groups, strict=True)}
        able = [g for g in now.groups if state["group_i"][g, at.SLOTS] > 0] or list(now.groups)
        total = sum(shares[g] for g in able)
        if total == 0.0:  # the groups with a share cannot serve: better the others than none
            shares, total = dict.fromkeys(able, 1.0), float(len(able))
        for g in now.groups:
            state["share"][g] = shares[g] / total if g in able else 0.0
        for g in now.groups:
            if g not in able:
                self._hand_on(g)

    def _place(self, plan: TaskPlan, before: Following | None) -> tuple[int, ...]:
        """A group for each allocation: a single one is the first, others stay with their variant where they can."""
        first = self._positions[plan.task] * self._width
        if len(plan.allocations) == 1:
            return (first,)
        held: Mapping[str, int] = {}
        if before is not None:
            held = {a.variant: g for a, g in zip(before.plan.allocations, before.groups, strict=True)}
        wanted = [held.get(a.variant) for a in plan.allocations]
        groups: list[int] = []
        for k, g in enumerate(wanted):
            taken = {*groups, *(w for w in wanted[k + 1 :] if w is not None)}
            if g is None or g in groups:
                g = next(free for free in range(first, first + self._width) if free not in taken)
            groups.append(g)
        return tuple(groups)

    def check(self, plan: TaskPlan) -> None:
        """See that service times are known for all that a plan may use.

        Raises:
            SimulationError: they are not.
        """
        for allocation in plan.allocations:
            self._profiles(plan, allocation)

    def _profiles(
        self, plan: TaskPlan, allocation: Allocation
    ) -> tuple[dict[str, VariantProfile], list[VariantProfile | None]]:
        """What is believed of the variants that may be used, and what is true of all, the most accurate first."""
        shape = (allocation.cores, allocation.threads)
        beliefs, truths = dict[str, VariantProfile](), list[VariantProfile | None]()
        for variant in self._pipeline.tasks[plan.task].by_accuracy():
            believed = self._profile.variants[plan.task].get(variant.name)
            true = self._truth.variants[plan.task].get(variant.name, believed)
            used = variant.name in {allocation.variant, *plan.may_use}
            if not used or believed is None or true is None:
                truths.append(None)
                continue
            beliefs[variant.name] = known_at(believed, true, *shape)
            truths.append(known_at(true, believed, *shape))
        return beliefs, truths

    def _open(self, plan: TaskPlan, allocation: Allocation, g: int) -> None:
        """Fill in a group's tables."""
        state, shape = self._state, (allocation.cores, allocation.threads)
        variants = self._pipeline.tasks[plan.task].by_accuracy()
        usable = {allocation.variant, *plan.may_use}
        beliefs, truths = self._profiles(plan, allocation)
        service_s, mean_s = service_rows(variants, beliefs, usable, allocation)
        rows, columns = service_s.shape
        for name in ("service_s", "mean_s", "least_s"):
            state[name][g] = np.inf
        state["service_s"][g, :rows, :columns], state["mean_s"][g, :rows, :columns] = service_s, mean_s
        state["least_s"][g, :, :rows] = least_times(service_s)
        state["draws_s"][g, :rows, :columns] = draw_table(truths, allocation.batch_limit, *shape, self._draw)
        state["allowed"][g] = False
        state["allowed"][g, :rows] = [variant.name in usable for variant in variants]
        row = state["group_i"][g]
        row[at.OPEN] = 1
        row[at.VARIANT] = [variant.name for variant in variants].index(allocation.variant)
        row[at.MAX_BATCH], row[at.THREADS] = allocation.batch_limit, allocation.threads
        state["credit"][g] = 0.0

    def _close(self, g: int) -> None:
        """A group that no allocation takes."""
        state = self._state
        state["group_i"][g, at.OPEN] = state["group_i"][g, at.MEMBERS] = 0
        state["group_i"][g, at.SLOTS] = state["group_i"][g, at.FREE] = 0
        state["share"][g] = 0.0

    def _hand_on(self, g: int) -> None:
        """What waits at a group goes to those that its task's traffic is shared over, in its order."""
        state = self._state
        state["group_f"][g, at.WAKE_S] = math.inf
        for _ in range(int(state["group_i"][g, at.QUEUED])):
            while not engine.living(state.arrays, int(state["queue_item"][g, 0, 1]) >> 1):
                engine.pop(state["queue_key"][g], state["queue_item"][g], int(state["group_i"][g, at.ENTRIES]))
                state["group_i"][g, at.ENTRIES] -= 1
            moment = float(state["queue_key"][g, 0])
            item = int(engine.take(state.arrays, g))
            self.queue(int(state["group_i"][g, at.TASK]), item, moment)
        state["group_i"][g, at.ENTRIES] = 0

    def queue(self, t: int, item: int, moment: float) -> None:
        """Let an item of a task wait, as one that came at `moment`."""
        while self._state.sizes.Q - self._state["counts"][at.HIGHEST] < 2:
            self._state.grow_queue()
        slot = (item >> 1) & (self._state.sizes.N - 1)
        engine.enqueue(self._state.arrays, t, slot, item, moment)
