"""What policies have in common that hold one replica of every task and decide its cores.

Cores are those that were measured: what a policy wants is rounded up to the next of them, or down to the largest. The
variant and the batch are fixed (`policies.fixed`). Until something was seen a replica gets the fewest cores on which it
serves the rate with the policy's margin to spare, unless the settings say which.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from trimtab.errors import PlanRequestError
from trimtab.observe.model import Observation
from trimtab.plan.estimate import check_rate
from trimtab.plan.latency import is_within
from trimtab.plan.model import Plan, PlanRequest, PlanResult
from trimtab.plan.policies.base import result
from trimtab.plan.policies.fixed import Fixed, FixedSettings, fixed_choice, fixed_sizes, replica_rate
from trimtab.plan.policies.fixed_limits import cut_words, ladder_plan
from trimtab.plan.policies.settings import override
from trimtab.units import format_duration


@dataclass(frozen=True, slots=True)
class VerticalSettings(FixedSettings):
    """What is held fixed, within which bounds cores are decided, and what is known of the time before.

    `cores` are those that a task starts with.
    """

    margin: float = 0.15
    """What is recommended is the statistic × (1 + this)."""
    min_cores: int | None = None
    """Fewest cores of a replica; None: the smallest measured."""
    max_cores: int | None = None
    """Most cores of a replica; None: as many as the limits leave."""
    history_s: float = 0.0
    """How long the policy has watched its tasks before it begins; said with every plan."""
    history_usage_cores: Mapping[str, float] = field(default_factory=dict)
    """Task → cores that it used all that time."""

    def __post_init__(self) -> None:
        FixedSettings.__post_init__(self)
        least = 1 if self.min_cores is None else self.min_cores
        if not 1 <= least <= (math.inf if self.max_cores is None else self.max_cores):
            raise ValueError(f"min_cores {self.min_cores} and max_cores {self.max_cores} bound no number of cores")
        for name, value in (("margin", self.margin), ("history_s", self.history_s)):
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} is {value}, wanted a finite number of at least 0")
        for task, cores in self.history_usage_cores.items():
            if not 0.0 <= cores < math.inf:
                raise ValueError(f"history_usage_cores of {task} are {cores}, wanted a finite number of at least 0")


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a replica of one task may be."""

    cores: tuple[int, ...]
    """Those that were measured, ascending."""
    settings: VerticalSettings

    def round(self, cores: float) -> int:
        """The next measured size that is enough, within the settings' bounds; the largest of those where none is."""
        allowed = [size for size in self.cores if size <= (self.settings.max_cores or math.inf)] or self.cores[:1]
        least = max(cores, self.settings.min_cores or 0.0)
        return next((size for size in allowed if is_within(least, size)), allowed[-1])


S = TypeVar("S", bound=VerticalSettings)


class VerticalPolicy(ABC, Generic[S]):
    """One replica of every task, of so many cores as `_wanted` says."""

    name = "vertical"
    decides = frozenset({"cores"})
    defaults: S

    def __init__(self, settings: S | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        self._settings: S = settings or self.defaults

    @abstractmethod
    def observe(self, observation: Observation, plan: Plan) -> None:
        """Take in what was seen while `plan` was in force."""

    @abstractmethod
    def _wanted(self, task: str, settings: S, sizes: Sizes, current: int | None) -> tuple[float | None, str]:
        """Cores that `task` should have, and why; None: those that it has, or starts with.

        `current` are those in force; None where nothing of the kind is.
        """

    def propose(self, request: PlanRequest) -> PlanResult:
        """One replica of every task; where limits cut cores, each gets about the same share of what it wants.

        Raises:
            PlanRequestError: the rate has no meaning, the settings do not fit the pipeline, nothing was measured that
                may be used, or the limits leave no room for the smallest replica of every task.
        """
        check_rate(request.rate_rps)
        settings = override(self._settings, request.pipeline, self.name)
        _check_history(request, settings)
        ladders, wanted, reasons = {}, {}, []
        for task in request.pipeline.tasks:
            sizes = fixed_sizes(request, task, settings)
            current = _current_cores(request, task, sizes)
            known = Sizes(tuple(size.cores for size in sizes), settings)
            cores, reason = self._wanted(task, settings, known, current)
            if cores is None:
                cores = _start_cores(request, task, sizes, settings) if current is None else current
            else:
                cores = known.round(cores)
            rung = next(i for i, size in enumerate(sizes) if size.cores == cores)
            ladders[task] = [(size, 1) for size in sizes[: rung + 1]]
            wanted[task] = (sizes[rung], 1)
            reasons.append(f"{task}: {reason}")
        plans = ladder_plan(request, ladders)
        return result(
            self.name,
            request,
            plans,
            feasible=True,
            reason="one replica of each task, of the cores that its use asks for",
            latency_model="tail",
            objective=request.pipeline.objective,
            notes=(*reasons, *cut_words(wanted, plans), *_history_words(settings)),
        )


def _current_cores(request: PlanRequest, task: str, sizes: tuple[Fixed, ...]) -> int | None:
    """Cores of the replica in force, where it is one that the policy could have chosen."""
    plan = None if request.current is None else request.current.tasks.get(task)
    if plan is None or len(plan.allocations) != 1:
        return None
    held = plan.allocations[0]
    known = held.variant == sizes[0].variant and held.cores in {size.cores for size in sizes}
    return held.cores if known else None


def _start_cores(request: PlanRequest, task: str, sizes: tuple[Fixed, ...], settings: VerticalSettings) -> int:
    """Cores of the first plan: those of the settings, or the fewest that serve the rate with the margin to spare."""
    if task in settings.cores:
        return fixed_choice(request, task, settings).cores
    items = request.rate_rps * request.pipeline.visits()[task] * (1.0 + settings.margin)
    enough = (size.cores for size in sizes if is_within(items, replica_rate(request, task, size)))
    return Sizes(tuple(size.cores for size in sizes), settings).round(next(enough, math.inf))


def _check_history(request: PlanRequest, settings: VerticalSettings) -> None:
    """Raise PlanRequestError where the history lacks a task, or names one that the pipeline lacks."""
    tasks = request.pipeline.tasks
    strange = [task for task in settings.history_usage_cores if task not in tasks]
    if strange:
        raise PlanRequestError(
            "the policy's settings name a task that the pipeline lacks",
            where="history_usage_cores",
            got=strange[0],
            wanted=f"one of {', '.join(tasks)}",
        )
    lacking = [task for task in tasks if task not in settings.history_usage_cores]
    if settings.history_s > 0.0 and lacking:
        raise PlanRequestError(
            "the policy is given a history, and not what was used in it",
            where="history_usage_cores",
            got=f"nothing of {', '.join(lacking)}",
            wanted="the cores that each task used",
        )


def _history_words(settings: VerticalSettings) -> tuple[str, ...]:
    """The history given, which decides how fast such a policy is."""
    if settings.history_s == 0.0:
        return ("history given: none",)
    used = ", ".join(f"{task} {cores:g} cores" for task, cores in settings.history_usage_cores.items())
    return (f"history given: {format_duration(settings.history_s)} of {used}",)
