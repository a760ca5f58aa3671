"""The dispatcher of one task: its queue, what its variants cost here and now, and what to start next.

Synchronous and clock-free: whoever drives it (data plane or simulator) says what time it is and runs the batches.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from trimtab.dispatch import kernels
from trimtab.dispatch.edf import EdfQueue
from trimtab.plan.model import Allocation, TaskPlan
from trimtab.profile.model import VariantProfile
from trimtab.spec.model import Task, Variant

T = TypeVar("T", bound=Hashable)

SERVICE_QUANTILE = 0.95
"""The quantile of profiled service time that a deadline decision counts on."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """What to start now."""

    variant: str
    items: tuple[T, ...]
    expected_s: float
    """Service time that the decision counted on."""


@dataclass(frozen=True, slots=True)
class DeadlinePart:
    """How much of a request's remaining time is a task's."""

    slack_share: float = 1.0
    """The task's share of the time left, by plan."""
    reserve_s: float = 0.0
    """Least time that the tasks after it need."""
    pressure_s: float = math.inf
    """Bound on draining the backlog before a cheaper variant is used."""


def service_rows(
    variants: Sequence[Variant], profiles: Mapping[str, VariantProfile], usable: Collection[str], allocation: Allocation
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a dispatcher counts on for replicas of an allocation's shape, seconds, and the profile's means.

    Both have shape (V, B + 1), V `variants` and batches of 1 … B; what is not usable is infinite, and may not even have
    been profiled at this shape. The first is the `SERVICE_QUANTILE`, made non-decreasing in the batch.
    """
    shape = (len(variants), allocation.batch_limit + 1)
    service_s, mean_s = np.full(shape, np.inf), np.full(shape, np.inf)
    for i, variant in enumerate(variants):
        if variant.name not in usable:
            continue
        profile = profiles[variant.name]
        for batch in range(1, allocation.batch_limit + 1):
            args = (batch, allocation.cores, allocation.threads)
            service_s[i, batch] = profile.service_time(*args, SERVICE_QUANTILE).seconds
            mean_s[i, batch] = profile.service_time(*args).seconds
    np.maximum.accumulate(service_s[:, 1:], axis=1, out=service_s[:, 1:])
    return service_s, mean_s


def least_times(service_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each variant takes at least, seconds: a lone item, and an item in the best batch; shape (2, V)."""
    batches = np.arange(1, service_s.shape[1])
    return np.stack((service_s[:, 1], (service_s[:, 1:] / batches).min(axis=1)))


class _Group(Generic[T]):
    """One allocation of a task: replicas of one shape, the queue before them, and what variants take there."""

    def __init__(self, count: int) -> None:
        self.queue: EdfQueue[T] = EdfQueue()
        self.allowed = np.zeros(count, dtype=np.bool_)
        self.service_s = np.full((count, 2), np.inf)
        self.mean_s = np.full((count, 2), np.inf)
        self.least_s = least_times(self.service_s)
        self.max_batch = 1
        self.slots = 0
        self.alone_s = np.inf
        self.per_item_s = np.inf


class TaskDispatcher(Generic[T]):
    """Decides for one task. `follow` a plan first; then `push` items and ask for the `next_batch`.

    A plan of several allocations gives as many groups, numbered as they stand there; each has its queue, and items are
    routed to them by the plan's shares. Say with `serve_with` what each can serve at once.
    """

    def __init__(self, task: Task, profiles: Mapping[str, VariantProfile]) -> None:
        self.task = task
        self._profiles = profiles
        self._variants = task.by_accuracy()
        self._index = {variant.name: i for i, variant in enumerate(self._variants)}
        self._ratio = np.ones(len(self._variants))
        self._groups: list[_Group[T]] = [_Group(len(self._variants))]
        self._planned: tuple[float, ...] = (1.0,)
        self._share = np.ones(1)
        self._credit = np.zeros(1)
        self._part = DeadlinePart()
        self.alone_s = np.inf
        self.per_item_s = np.inf

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self._groups)

    @property
    def queued(self) -> int:
        """Items that wait."""
        return sum(len(group.queue) for group in self._groups)

    def ahead(self, level: int) -> int:
        """Items that wait and are at least as urgent as one of `level`."""
        return sum(group.queue.ahead(level) for group in self._groups)

    def waiting(self, group: int) -> int:
        """Items that wait at a group."""
        return len(self._groups[group].queue)

    def follow(self, plan: TaskPlan) -> None:
        """Follow a plan from the next batch on; correction ratios that were learned stay, and so does what waits."""
        before = self._groups
        count = len(self._variants)
        self._groups = [*before[: len(plan.allocations)]]
        self._groups += [_Group(count) for _ in range(len(plan.allocations) - len(before))]
        for group, allocation in zip(self._groups, plan.allocations, strict=True):
            usable = {allocation.variant, *plan.may_use}
            group.max_batch = allocation.batch_limit
            group.service_s, group.mean_s = service_rows(self._variants, self._profiles, usable, allocation)
            group.least_s = least_times(group.service_s)
            for name, i in self._index.items():
                group.allowed[i] = name in usable
        self._planned = tuple(a.share for a in plan.allocations)
        self._credit = np.zeros(len(self._groups))
        self._share_traffic(before[len(plan.allocations) :])
        self._refresh()

    def serve_with(self, slots: Sequence[int]) -> None:
        """Batches that the ready replicas of each group serve at once, by group."""
        for group, count in zip(self._groups, slots, strict=True):
            group.slots = count
        self._share_traffic(())
        self._refresh()

    def take(self, part: DeadlinePart) -> None:
        """Take this task's part of a request's remaining time."""
        self._part = part

    def planned_s(self, variant: str) -> float:
        """Service time of one item alone at `variant`, as expected here and now; the slowest group's."""
        i = self._index[variant]
        known = [float(g.service_s[i, 1]) for g in self._groups if g.allowed[i]]
        return max(known, default=math.inf) * float(self._ratio[i])

    def push(self, item: T, deadline_s: float, level: int = 0) -> int:
        """Queue an item; returns the group that it was routed to."""
        group = 0 if len(self._groups) == 1 else max(kernels.route(self._share, self._credit), 0)
        self._groups[group].queue.push(item, deadline_s, level)
        return group

    def discard(self, item: T) -> bool:
        """Take an item out of turn; False when it is not waiting."""
        return any(group.queue.discard(item) for group in self._groups)

    def next_batch(
        self, now_s: float, free_slots: int, slots: int, group: int = 0
    ) -> tuple[Batch[T] | None, tuple[T, ...]]:
        """The batch to start now, if any, and the items to give up because nothing can save them any more.

        A batch holds items of one level: the time that it may take is that of its head, the most urgent of the level.
        """
        here = self._groups[group]
        queue = here.queue
        lost: list[T] = []
        while free_slots > 0 and len(queue) > 0:
            variant, size = kernels.next_batch(
                queue.head_deadline_s(),
                now_s,
                self._part.slack_share,
                self._part.reserve_s,
                len(queue),
                free_slots,
                slots,
                here.service_s,
                self._ratio,
                here.allowed,
                here.max_batch,
                self._part.pressure_s,
            )
            if size == 0:
                lost.append(queue.pop())
                continue
            level = queue.head_level()
            items = [queue.pop()]
            while len(items) < size and queue.head_level() == level:
                items.append(queue.pop())
            expected_s = float(here.service_s[variant, len(items)] * self._ratio[variant])
            return Batch(self._variants[variant].name, tuple(items), expected_s), tuple(lost)
        return None, tuple(lost)

    def record(self, variant: str, batch: int, measured_s: float, group: int = 0) -> float:
        """Learn from a served batch; returns the profile's mean for it, in seconds."""
        if group >= len(self._groups):  # the plan changed meanwhile
            return math.inf
        here = self._groups[group]
        i = self._index[variant]
        expected_s = float(here.mean_s[i, min(batch, here.max_batch)])
        if math.isfinite(expected_s) and batch <= here.max_batch:
            self._ratio[i] = kernels.corrected_ratio(float(self._ratio[i]), measured_s, expected_s)
            self._refresh()
        return expected_s

    def _share_traffic(self, closed: Sequence[_Group[T]]) -> None:
        """Route by the plan's shares to the groups that can serve; what waits at others, or at closed ones, goes there.

        Where no group can serve, all keep their shares: the first that becomes ready gets what waits.
        """
        able = [g.slots > 0 for g in self._groups]
        if not any(able):
            able = [True] * len(able)
        shares = np.array([share if can else 0.0 for share, can in zip(self._planned, able, strict=True)])
        if shares.sum() == 0.0:  # the groups with a share cannot serve: better the others than none
            shares = np.array(able, dtype=np.float64)
        self._share = shares / shares.sum()
        stranded = [*closed, *(g for g, can in zip(self._groups, able, strict=True) if not can)]
        for group in stranded:
            while len(group.queue) > 0:
                deadline_s, level = group.queue.head_deadline_s(), group.queue.head_level()
                self.push(group.queue.pop(), deadline_s, level)

    def _refresh(self) -> None:
        """Least times of the groups, and of the task over all of them (as in `sim.engine.refresh`)."""
        for group in self._groups:
            group.alone_s, group.per_item_s = kernels.fastest(
                group.least_s[0], group.least_s[1], self._ratio, group.allowed
            )
        if len(self._groups) == 1:
            self.alone_s, self.per_item_s = self._groups[0].alone_s, self._groups[0].per_item_s
            return
        slots = sum(g.slots for g in self._groups)
        drains = sum(g.slots / g.per_item_s for g in self._groups)
        self.alone_s = min(g.alone_s for g in self._groups)
        self.per_item_s = slots / drains if drains > 0.0 else math.inf
