"""The dispatcher of one task: its queue, what its variants cost here and now, and what to start next.

Synchronous and clock-free: whoever drives it (data plane or simulator) says what time it is and runs the batches.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from trimtab.dispatch import kernels
from trimtab.dispatch.edf import EdfQueue
from trimtab.plan.model import TaskPlan
from trimtab.profile.model import VariantProfile
from trimtab.spec.model import Task

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
        self._max_batch = 1
        self._slack_share = 1.0
        self._reserve_s = 0.0
        self._pressure_s = np.inf
        self.alone_s = np.inf
        self.per_item_s = np.inf

    def follow(self, plan: TaskPlan) -> None:
        """Follow a plan from the next batch on; correction ratios that were learned stay."""
        allocation = plan.allocations[0]
        usable = {a.variant for a in plan.allocations} | set(plan.may_use)
        self._max_batch = allocation.batch
        shape = (len(self._variants), allocation.batch + 1)
        self._service_s = np.full(shape, np.inf)
        self._mean_s = np.full(shape, np.inf)
        for name, i in self._index.items():
            profile = self._profiles[name]
            self._allowed[i] = name in usable
            if name not in usable:  # it may not even have been profiled at this shape
                continue
            for batch in range(1, allocation.batch + 1):
                args = (batch, allocation.cores, allocation.threads)
                self._service_s[i, batch] = profile.service_time(*args, SERVICE_QUANTILE).seconds
                self._mean_s[i, batch] = profile.service_time(*args).seconds
        np.maximum.accumulate(self._service_s[:, 1:], axis=1, out=self._service_s[:, 1:])
        self._refresh()

    def split_deadline(self, slack_share: float, reserve_s: float, pressure_s: float) -> None:
        """Say how much of a request's remaining time is this task's.

        Args:
            slack_share: this task's share of the time left, by plan.
            reserve_s: least time that the tasks after this one need.
            pressure_s: bound on draining the backlog before a cheaper variant is used.
        """
        self._slack_share, self._reserve_s, self._pressure_s = slack_share, reserve_s, pressure_s

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
            left_s = self.queue.head_deadline_s() - now_s
            variant, size = kernels.choose(
                left_s * self._slack_share,
                left_s - self._reserve_s,
                len(self.queue),
                free_slots,
                slots,
                self._service_s,
                self._ratio,
                self._allowed,
                self._max_batch,
                self._pressure_s,
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
        self.alone_s, self.per_item_s = kernels.fastest(self._service_s, self._ratio, self._allowed, self._max_batch)
