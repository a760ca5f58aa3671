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
    shape = (len(variants), allocation.batch + 1)
    service_s, mean_s = np.full(shape, np.inf), np.full(shape, np.inf)
    for i, variant in enumerate(variants):
        if variant.name not in usable:
            continue
        profile = profiles[variant.name]
        for batch in range(1, allocation.batch + 1):
            args = (batch, allocation.cores, allocation.threads)
            service_s[i, batch] = profile.service_time(*args, SERVICE_QUANTILE).seconds
            mean_s[i, batch] = profile.service_time(*args).seconds
    np.maximum.accumulate(service_s[:, 1:], axis=1, out=service_s[:, 1:])
    return service_s, mean_s


def least_times(service_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each variant takes at least, seconds: a lone item, and an item in the best batch; shape (2, V)."""
    batches = np.arange(1, service_s.shape[1])
    return np.stack((service_s[:, 1], (service_s[:, 1:] / batches).min(axis=1)))


class TaskDispatcher(Generic[T]):
    """Decides for one task. `follow` a plan first; then `push` items and ask for the `next_batch`."""

    def __init__(self, task: Task, profiles: Mapping[str, VariantProfile]) -> None:
        self.task = task
        self.queue: EdfQueue[T] = EdfQueue()
        self._profiles = profiles
        self._variants = task.by_accuracy()
        self._index = {variant.name: i for i, variant in enumerate(self._variants)}
        count = len(self._variants)
        self._ratio = np.ones(count)
        self._allowed = np.zeros(count, dtype=np.bool_)
        self._service_s = np.full((count, 2), np.inf)
        self._mean_s = np.full((count, 2), np.inf)
        self._least_s = least_times(self._service_s)
        self._max_batch = 1
        self._part = DeadlinePart()
        self.alone_s = np.inf
        self.per_item_s = np.inf

    def follow(self, plan: TaskPlan) -> None:
        """Follow a plan from the next batch on; correction ratios that were learned stay."""
        allocation = plan.allocations[0]
        usable = {a.variant for a in plan.allocations} | set(plan.may_use)
        self._max_batch = allocation.batch
        self._service_s, self._mean_s = service_rows(self._variants, self._profiles, usable, allocation)
        self._least_s = least_times(self._service_s)
        for name, i in self._index.items():
            self._allowed[i] = name in usable
        self._refresh()

    def take(self, part: DeadlinePart) -> None:
        """Take this task's part of a request's remaining time."""
        self._part = part

    def planned_s(self, variant: str) -> float:
        """Service time of one item alone at `variant`, as expected here and now."""
        i = self._index[variant]
        return float(self._service_s[i, 1] * self._ratio[i])

    def push(self, item: T, deadline_s: float) -> None:
        """Queue an item."""
        self.queue.push(item, deadline_s)

    def next_batch(self, now_s: float, free_slots: int, slots: int) -> tuple[Batch[T] | None, tuple[T, ...]]:
        """The batch to start now, if any, and the items to give up because nothing can save them any more."""
        lost: list[T] = []
        while free_slots > 0 and len(self.queue) > 0:
            variant, size = kernels.next_batch(
                self.queue.head_deadline_s(),
                now_s,
                self._part.slack_share,
                self._part.reserve_s,
                len(self.queue),
                free_slots,
                slots,
                self._service_s,
                self._ratio,
                self._allowed,
                self._max_batch,
                self._part.pressure_s,
            )
            if size == 0:
                lost.append(self.queue.pop())
                continue
            items = tuple(self.queue.pop() for _ in range(size))
            expected_s = float(self._service_s[variant, size] * self._ratio[variant])
            return Batch(self._variants[variant].name, items, expected_s), tuple(lost)
        return None, tuple(lost)

    def record(self, variant: str, batch: int, measured_s: float) -> float:
        """Learn from a served batch; returns the profile's mean for it, in seconds."""
        i = self._index[variant]
        expected_s = float(self._mean_s[i, min(batch, self._max_batch)])
        if np.isfinite(expected_s) and batch <= self._max_batch:
            self._ratio[i] = kernels.corrected_ratio(float(self._ratio[i]), measured_s, expected_s)
            self._refresh()
        return expected_s

    def _refresh(self) -> None:
        self.alone_s, self.per_item_s = kernels.fastest(self._least_s[0], self._least_s[1], self._ratio, self._allowed)
