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


class DeadlineSplit:
    """Shares the end-to-end time over the tasks, in proportion to what their planned variants take here and now.

    A task's share of the time *left* is its own planned time over that of itself and the longest way after it, so a
    request that is behind schedule is hurried by every task that is still to come, and one ahead is not.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._slo_s = pipeline.slo.latency_s
        self._roots = pipeline.roots()
        self._downstream = {name: pipeline.downstream(name) for name in reversed(list(pipeline.tasks))}

    def parts(self, own_s: Mapping[str, float], alone_s: Mapping[str, float]) -> dict[str, DeadlinePart]:
        """Task → its part.

        Args:
            own_s: task → service time of a lone item at its slowest planned variant, seconds.
            alone_s: task → service time of a lone item at its fastest allowed variant, seconds.
        """
        planned_s, fastest_s = self._longest_way_s(own_s), self._longest_way_s(alone_s)
        end_to_end_s = max(planned_s[root] for root in self._roots)
        return {
            name: DeadlinePart(
                slack_share=own_s[name] / planned_s[name],
                reserve_s=fastest_s[name] - alone_s[name],
                pressure_s=kernels.PRESSURE * self._slo_s * own_s[name] / end_to_end_s,
            )
            for name in own_s
        }

    def _longest_way_s(self, own_s: Mapping[str, float]) -> dict[str, float]:
        """Task → its own seconds and those of the longest way after it."""
        way_s: dict[str, float] = {}
        for name, downstream in self._downstream.items():
            way_s[name] = own_s[name] + max([way_s[d] for d in downstream], default=0.0)
        return way_s


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
        self._split = DeadlineSplit(pipeline)
        self._upstream = upstream_flags(pipeline)
        self._plan: Plan | None = None

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
        own_s = {
            name: max(self.tasks[name].planned_s(a.variant) for a in self._plan.tasks[name].allocations)
            for name in self._pipeline.tasks
        }
        alone_s = {name: dispatcher.alone_s for name, dispatcher in self.tasks.items()}
        for name, part in self._split.parts(own_s, alone_s).items():
            self.tasks[name].take(part)

    def predicted_response_s(
        self, in_service: Mapping[str, int], slots: Mapping[str, int], enter: frozenset[str] | None = None
    ) -> float:
        """Least response time that a request arriving now can hope for, in seconds; see the kernel of that name.

        Args:
            in_service: task → items in service.
            slots: task → batches that its ready replicas serve at once.
            enter: tasks that the request visits; None: all.
        """
        names = list(self.tasks)
        dispatchers = list(self.tasks.values())
        return kernels.predicted_response_s(
            np.array([len(d.queue) for d in dispatchers]),
            np.array([in_service[name] for name in names]),
            np.array([slots[name] for name in names]),
            np.array([d.per_item_s for d in dispatchers]),
            np.array([d.alone_s for d in dispatchers]),
            self._upstream,
            np.array([enter is None or name in enter for name in names]),
            np.zeros(len(names)),
        )
