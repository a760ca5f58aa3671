"""The dispatchers of a whole pipeline: how an end-to-end deadline is shared over the tasks, and who is let in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from trimtab.dispatch import kernels
from trimtab.dispatch.task import DeadlinePart, TaskDispatcher
from trimtab.plan.model import Plan
from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline

T = TypeVar("T", bound=Hashable)

LEAST_URGENT = 1 << 30
"""A level of priority behind every other."""


def upstream_flags(pipeline: Pipeline) -> NDArray[np.bool_]:
    """Which task runs directly before which, shape (T, T): [t, u] when u runs directly before t."""
    positions = {name: i for i, name in enumerate(pipeline.tasks)}
    flags = np.zeros((len(positions), len(positions)), dtype=np.bool_)
    for task in pipeline.tasks.values():
        for edge in task.after:
            flags[positions[task.name], positions[edge.upstream]] = True
    return flags


class PipelineDispatcher(Generic[T]):
    """One `TaskDispatcher` a task, and what they must agree on."""

    def __init__(self, pipeline: Pipeline, profile: Profile) -> None:
        self._pipeline = pipeline
        self.tasks: dict[str, TaskDispatcher[T]] = {
            task.name: TaskDispatcher(task, profile.variants[task.name]) for task in pipeline.tasks.values()
        }
        self._slo_s = pipeline.slo.latency_s
        self._upstream = upstream_flags(pipeline)
        self._plan: Plan | None = None
        count = len(self.tasks)
        ints, floats = np.zeros((3, count), dtype=np.int64), np.zeros((3, count))
        self._room = (*ints, *floats)
        """Room for what admission counts on, so that a request allocates nothing."""
        self._entered: dict[frozenset[str] | None, NDArray[np.bool_]] = {}

    def follow(self, plan: Plan) -> None:
        """Follow a plan from the next batch on."""
        self._plan = plan
        for name, dispatcher in self.tasks.items():
            dispatcher.follow(plan.tasks[name])
        self.split_deadlines()

    def split_deadlines(self) -> None:
        """Share the end-to-end time over the tasks anew; called now and then, for times are corrected as measured."""
        if self._plan is None:
            return
        dispatchers = self.tasks.values()
        own_s = np.array(
            [max(d.planned_s(a.variant) for a in self._plan.tasks[name].allocations) for name, d in self.tasks.items()]
        )
        alone_s = np.array([d.alone_s for d in dispatchers])
        parts = np.empty((3, len(own_s)))
        room = np.empty((2, len(own_s)))
        kernels.split_deadline(own_s, alone_s, self._upstream, self._slo_s, room[0], room[1], parts)
        for dispatcher, part in zip(dispatchers, parts.T.tolist(), strict=True):
            dispatcher.take(DeadlinePart(*part))

    def predicted_response_s(
        self,
        in_service: Mapping[str, int],
        slots: Mapping[str, int],
        enter: frozenset[str] | None = None,
        level: int = LEAST_URGENT,
    ) -> float:
        """Least response time that a request arriving now can hope for, in seconds; see the kernel of that name.

        Args:
            in_service: task → items in service.
            slots: task → batches that its ready replicas serve at once.
            enter: tasks that the request visits; None: all.
            level: its level of priority; it waits for nobody who is less urgent.
        """
        queued, serving, free, per_item_s, alone_s, done_s = self._room
        for i, (name, dispatcher) in enumerate(self.tasks.items()):
            queued[i] = dispatcher.ahead(level)
            serving[i] = in_service[name]
            free[i] = slots[name]
            per_item_s[i] = dispatcher.per_item_s
            alone_s[i] = dispatcher.alone_s
        return kernels.predicted_response_s(
            queued, serving, free, per_item_s, alone_s, self._upstream, self._flags(enter), done_s
        )

    def _flags(self, enter: frozenset[str] | None) -> NDArray[np.bool_]:
        flags = self._entered.get(enter)
        if flags is None:
            flags = np.array([enter is None or name in enter for name in self.tasks])
            self._entered[enter] = flags
        return flags
