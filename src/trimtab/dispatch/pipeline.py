"""The dispatchers of a whole pipeline: how an end-to-end deadline is shared over the tasks, and who is let in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

import numpy as np

from trimtab.dispatch import kernels
from trimtab.dispatch.task import TaskDispatcher
from trimtab.plan.model import Plan
from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline

T = TypeVar("T", bound=Hashable)


class PipelineDispatcher(Generic[T]):
    """One `TaskDispatcher` a task, and what they must agree on."""

    def __init__(self, pipeline: Pipeline, profile: Profile) -> None:
        self._pipeline = pipeline
        self.tasks: dict[str, TaskDispatcher[T]] = {
            task.name: TaskDispatcher(task, profile.variants[task.name]) for task in pipeline.tasks.values()
        }
        self._downstream = {name: pipeline.downstream(name) for name in pipeline.tasks}
        self._positions = {name: i for i, name in enumerate(pipeline.tasks)}
        count = len(self.tasks)
        self._upstream = np.zeros((count, count), dtype=np.bool_)
        for task in pipeline.tasks.values():
            for edge in task.after:
                self._upstream[self._positions[task.name], self._positions[edge.upstream]] = True
        self._plan: Plan | None = None

    def follow(self, plan: Plan) -> None:
        """Follow a plan from the next batch on."""
        self._plan = plan
        for name, dispatcher in self.tasks.items():
            dispatcher.follow(plan.tasks[name])
        self.split_deadlines()

    def split_deadlines(self) -> None:
        """Share the end-to-end time over the tasks, in proportion to what their planned variants take here and now.

        A task's share of the time *left* is its own planned time over that of itself and the longest way after it, so
        a request that is behind schedule is hurried by every task that is still to come, and one ahead is not. Call it
        again now and then: the times are corrected by what is measured.
        """
        if self._plan is None:
            return
        own_s = {
            name: max(self.tasks[name].planned_s(a.variant) for a in self._plan.tasks[name].allocations)
            for name in self._pipeline.tasks
        }
        planned_s = self._longest_way_s(own_s)
        fastest_s = self._longest_way_s({name: dispatcher.alone_s for name, dispatcher in self.tasks.items()})
        end_to_end_s = max(planned_s[root] for root in self._pipeline.roots())
        for name, dispatcher in self.tasks.items():
            dispatcher.split_deadline(
                slack_share=own_s[name] / planned_s[name],
                reserve_s=fastest_s[name] - dispatcher.alone_s,
                pressure_s=kernels.PRESSURE * self._pipeline.slo.latency_s * own_s[name] / end_to_end_s,
            )

    def _longest_way_s(self, own_s: Mapping[str, float]) -> dict[str, float]:
        """Task → its own seconds and those of the longest way after it."""
        way_s: dict[str, float] = {}
        for name in reversed(list(self._pipeline.tasks)):
            way_s[name] = own_s[name] + max((way_s[d] for d in self._downstream[name]), default=0.0)
        return way_s

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
        )
