"""INFaaS's autoscaler of one worker: replicate what runs, or upgrade to the next faster version of it.

A *version* of a task is a variant at least as accurate as the fixed one, on some cores, with some batch. Versions form
a ladder: the fixed replica first, then each that serves more than the one before it and holds no more cores than any
other that serves as much. Every second, with λ the items of the last second, n the replicas of the version in force and
μ what one of them serves,

    up by ⌈(λ - 0.95 · n · μ) ÷ μ⌉ where that is positive,
    down by 1 where λ ≤ (n - 1) · μ, after 10 such seconds in a row.

To go up it may (a) add those replicas or (b) start the next version, ⌈λ ÷ (0.95 · μ')⌉ of it. It takes (b) where

    cost(a) > 1.5 · cost(b),   cost = load time × replicas started, 1000 load times more where (a) exceeds 2 replicas.

A last replica of an upgraded version goes back to the version below, after 10 seconds in a row in which one of that
would have done. It does not trade accuracy when it is overloaded.

Source: Romero et al., "INFaaS", USENIX ATC 2021, and the program published with it at commit 4c5ff7b (worker,
autoscaler): its rules for replicas on CPUs (0.95, 2 replicas, 10 votes) and its comparison of (a) and (b). There
versions differ in hardware and batch, (b) is only for accelerators, and what a new version takes over is the excess,
beside the version that already runs; here one group of replicas serves a task, so the new version takes over all of it.
There machines are added too; here the limits of the request hold, and (b) is not taken where they have no room for it.
Load times that are not known count as one second.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from trimtab.observe.model import Observation
from trimtab.plan.estimate import check_rate
from trimtab.plan.latency import is_within, table_row
from trimtab.plan.model import Plan, PlanRequest, PlanResult
from trimtab.plan.policies.base import Rhythm, result
from trimtab.plan.policies.fixed import (
    Fixed,
    FixedSettings,
    ceil,
    cut_words,
    fixed_choice,
    fixed_plan,
    measured_shapes,
    needed_s,
    remembered,
    replica_rate,
    slo_parts,
)
from trimtab.plan.policies.settings import override

_MOST_VOTES = 600
_BEYOND_CAP = 1000.0
"""Load times that exceeding the cap of replicas costs."""
_UNKNOWN_LOAD_S = 1.0


@dataclass(frozen=True, slots=True)
class InfaasSettings(FixedSettings):
    """The constants of the worker's autoscaler, for CPUs."""

    slack: float = 0.05
    """Share of what the replicas serve that is kept free."""
    down_votes: int = 10
    """Seconds in a row at which fewer would have done, before the one that takes away; up to 600."""
    replica_cap: int = 2
    """Replicas of a version that are cheap; see cost(a)."""
    upgrade_factor: float = 1.5
    """(b) is taken where (a) costs more than so many times as much."""

    def __post_init__(self) -> None:
        FixedSettings.__post_init__(self)
        if not 0.0 <= self.slack < 1.0:
            raise ValueError(f"slack is {self.slack}, wanted a number from 0 to below 1")
        if not 0 <= self.down_votes <= _MOST_VOTES:
            raise ValueError(f"down_votes is {self.down_votes}, wanted a whole number from 0 to {_MOST_VOTES}")
        if self.replica_cap < 1:
            raise ValueError(f"replica_cap is {self.replica_cap}, wanted at least 1")
        if not 0.0 <= self.upgrade_factor < math.inf:
            raise ValueError(f"upgrade_factor is {self.upgrade_factor}, wanted a finite number of at least 0")


@dataclass(frozen=True, slots=True)
class _Second:
    """What one observation says: requests per second, and what served each task."""

    rate_rps: float
    held: dict[str, tuple[Fixed, int]]


class InfaasPolicy:
    """Replicas and versions by the load of the last second."""

    name = "infaas"
    decides = frozenset({"variant", "replicas", "cores", "batch"})
    defaults = InfaasSettings()
    rhythm = Rhythm(every_s=1.0, horizon_s=1.0, forecaster="last")
    """As published: the requests of the last second are the load."""

    def __init__(self, settings: InfaasSettings | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        self._settings = settings or self.defaults
        self._seconds: deque[_Second] = deque(maxlen=_MOST_VOTES + 1)

    def observe(self, observation: Observation, plan: Plan) -> None:
        """Take in what was seen while `plan` was in force; what was not counted is no vote."""
        counts = [count for count in observation.arrivals if count is not None]
        if counts:
            self._seconds.append(_Second(sum(counts) / len(counts), _held(plan)))

    def propose(self, request: PlanRequest) -> PlanResult:
        """The autoscaler's next step from the plan in force, or the fixed version in replicas for the rate.

        Raises:
            PlanRequestError: the rate has no meaning, the settings do not fit the pipeline, nothing was measured that
                may be used, or the limits leave no room for one replica of every task.
        """
        check_rate(request.rate_rps)
        settings = override(self._settings, request.pipeline, self.name)
        held = {} if request.current is None else _held(request.current)
        spare = request.limits.cores - sum(fixed.cores * count for fixed, count in held.values())
        wanted, reasons = {}, []
        for task in request.pipeline.tasks:
            ladder = remembered(request, settings, ("ladder", task), partial(_ladder, request, task, settings))
            scaler = _Scaler(request, task, settings, ladder)
            if task in held and held[task][0] in scaler.ladder:
                votes = [(second.rate_rps, second.held.get(task)) for second in self._seconds]
                chosen, reason = scaler.step(*held[task], votes, spare)
            else:
                chosen, reason = (scaler.ladder[0], scaler.needed(scaler.ladder[0])), "replicas for the rate"
            wanted[task] = chosen
            reasons.append(f"{task}: {reason}")
        plans = fixed_plan(request, wanted)
        return result(
            self.name,
            request,
            plans,
            feasible=True,
            reason="what runs is replicated, or upgraded where that is cheaper",
            latency_model="tail",
            objective=request.pipeline.objective,
            notes=(*reasons, *cut_words(wanted, plans)),
        )


@dataclass(frozen=True, slots=True)
class _Scaler:
    """The rules for one task."""

    request: PlanRequest
    task: str
    settings: InfaasSettings
    ladder: Sequence[Fixed]

    @property
    def items(self) -> float:
        """Items per second."""
        return self._items(self.request.rate_rps)

    def needed(self, version: Fixed) -> int:
        """Replicas of a version for all items, with slack."""
        return max(1, ceil(self.items / ((1.0 - self.settings.slack) * self._serves(version))))

    def step(
        self, version: Fixed, count: int, votes: Sequence[tuple[float, tuple[Fixed, int] | None]], spare: float
    ) -> tuple[tuple[Fixed, int], str]:
        """What follows `count` replicas of `version`, and why.

        Args:
            version: what is in force.
            count: how many of it.
            votes: (requests per second, what was held then), oldest first, the newest of now.
            spare: cores that nothing holds.
        """
        served = self._serves(version)
        up = ceil((self.items - (1.0 - self.settings.slack) * count * served) / served)
        if up > 0:
            return self._up(version, count, up, spare)
        below = self._below(version, count)
        if below is None or not self._suffices(below, self.request.rate_rps):
            return (version, count), f"{count} replicas have no need to change"
        row = 0
        for rate_rps, held in reversed(votes):
            if held != (version, count) or not self._suffices(below, rate_rps):
                break
            row += 1
        if row > self.settings.down_votes:
            return below, f"{below[1]} of {below[0].variant} on {below[0].cores} cores would have done for {row} votes"
        return (version, count), f"{row} of {self.settings.down_votes} votes to take one away"

    def _up(self, version: Fixed, count: int, up: int, spare: float) -> tuple[tuple[Fixed, int], str]:
        """(a) or (b)."""
        replicate = self._load_s(version) * up
        if count + up > self.settings.replica_cap:
            replicate += _BEYOND_CAP * self._load_s(version)
        rung = list(self.ladder).index(version) + 1
        if rung < len(self.ladder):
            faster = self.ladder[rung]
            needed = self.needed(faster)
            upgrade = self._load_s(faster) * needed
            fits = faster.cores * needed - version.cores * count <= spare
            if fits and replicate > self.settings.upgrade_factor * upgrade:
                words = f"upgraded to {faster.variant} on {faster.cores} cores, batch {faster.batch}"
                return (faster, needed), f"{words}: {upgrade:.3g} s to load and not {replicate:.3g} s"
        return (version, count + up), f"{up} replicas more"

    def _below(self, version: Fixed, count: int) -> tuple[Fixed, int] | None:
        """One step down; None where there is none."""
        if count > 1:
            return version, count - 1
        rung = list(self.ladder).index(version)
        return (self.ladder[rung - 1], 1) if rung > 0 else None

    def _suffices(self, holding: tuple[Fixed, int], rate_rps: float) -> bool:
        return is_within(self._items(rate_rps), holding[1] * self._serves(holding[0]))

    def _items(self, rate_rps: float) -> float:
        return rate_rps * self.request.pipeline.visits()[self.task]

    def _serves(self, version: Fixed) -> float:
        return replica_rate(self.request, self.task, version)

    def _load_s(self, version: Fixed) -> float:
        return self.request.profile.variants[self.task][version.variant].load_time_s or _UNKNOWN_LOAD_S


def _held(plan: Plan) -> dict[str, tuple[Fixed, int]]:
    """Task → its one group; tasks of several groups are left out."""
    return {
        name: (Fixed(a.variant, a.cores, a.threads, a.batch), a.replicas)
        for name, task in plan.tasks.items()
        if len(task.allocations) == 1
        for a in task.allocations
    }


def _ladder(request: PlanRequest, task: str, settings: InfaasSettings) -> list[Fixed]:
    """The versions, the fixed one first; each serves more than the one before."""
    fixed = fixed_choice(request, task, settings)
    variants, part_s = request.pipeline.tasks[task].variants, slo_parts(request, settings)[task]
    others: list[Fixed] = []
    for name, variant in variants.items():
        if variant.accuracy < variants[fixed.variant].accuracy or name not in request.profile.variants[task]:
            continue
        profile = request.profile.variants[task][name]
        for cores, threads in measured_shapes(request, task, name):
            batches = (1,) if table_row(profile, cores, threads) else profile.batches(cores, threads)
            versions = [Fixed(name, cores, threads, batch) for batch in batches]
            others.extend(v for v in versions if is_within(needed_s(request, task, v, settings), part_s))
    rates = {version: replica_rate(request, task, version) for version in (fixed, *others)}
    upwards: list[Fixed] = []
    for version in sorted(others, key=lambda v: (-rates[v], v.cores, v.batch, v.threads, v.variant)):
        if rates[version] > rates[fixed] and (not upwards or version.cores < upwards[-1].cores):
            upwards.append(version)
    return [fixed, *reversed(upwards)]
