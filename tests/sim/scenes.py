"""Queueing networks as pipelines, for the simulator's tests: one variant a task, one core a replica, and a full run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.sim import PLANTS, Serving
from trimtab.sim import layout as at
from trimtab.sim.plant import SimPlant
from trimtab.spec.model import Edge, Pipeline, Slo, Task, Variant
from trimtab.workload.arrivals import send_blocks

Floats = NDArray[np.float64]
FOREVER_S = 1e9


@dataclass(frozen=True)
class Station:
    """A task with one variant and `servers` replicas of a core."""

    name: str
    seconds: float | Mapping[int, float] = 1.0
    """Mean service time; by batch size where it depends on that."""
    servers: int = 1
    batch: int = 1
    after: tuple[Edge, ...] = ()
    quantiles: Mapping[float, float] = field(default_factory=dict)
    """Quantile → multiple of the mean."""

    def points(self) -> tuple[ServicePoint, ...]:
        """The profile's points."""
        by_batch = {1: self.seconds} if isinstance(self.seconds, float) else self.seconds
        return tuple(
            ServicePoint(1, 1, b, mean_s, {q: part * mean_s for q, part in self.quantiles.items()}, samples=9)
            for b, mean_s in by_batch.items()
        )


@dataclass(frozen=True)
class Scene:
    """What a plant is made of."""

    pipeline: Pipeline
    profile: Profile
    plan: Plan


def scene(stations: Iterable[Station], *, slo_s: float = FOREVER_S) -> Scene:
    """The network of these stations."""
    stations = tuple(stations)
    tasks = {s.name: Task(s.name, {"only": Variant("only", None, 0.9)}, s.after) for s in stations}
    profiles = {s.name: {"only": VariantProfile(s.name, "only", s.points())} for s in stations}
    plans = {s.name: TaskPlan(s.name, (Allocation("only", s.servers, 1, 1, s.batch),), ("only",)) for s in stations}
    return Scene(Pipeline("network", tasks, Slo(slo_s)), Profile(profiles), Plan(plans, 1.0))


@dataclass(frozen=True)
class Run:
    """Every request of a run, in order of arrival."""

    arrived_s: Floats
    response_s: Floats
    """Not a number where it was not answered."""
    outcome: NDArray[np.int64]
    busy_core_s: float
    batches: int
    core_seconds: float
    end_s: float

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Who was answered."""
        return ~np.isnan(self.response_s)

    def found(self) -> NDArray[np.int64]:
        """How many requests each arrival found in the network, from moments of arrival and departure alone."""
        gone_s = np.sort(self.arrived_s[self.answered] + self.response_s[self.answered])
        let_in: NDArray[np.int64] = np.cumsum(self.answered) - self.answered
        return let_in - np.searchsorted(gone_s, self.arrived_s, side="right")

    def inside(self, moments: Floats) -> NDArray[np.int64]:
        """How many requests were in the network at these moments."""
        arrived_s = self.arrived_s[self.answered]
        gone_s = np.sort(arrived_s + self.response_s[self.answered])
        return np.searchsorted(arrived_s, moments, "right") - np.searchsorted(gone_s, moments, "right")


def a_plant(built: Scene, moments: Floats, serving: Serving, seed: int = 0) -> SimPlant:
    """A plant that follows the scene's plan and keeps a record of every request."""
    cores = built.plan.cores
    plant = SimPlant(
        built.pipeline,
        built.profile,
        PLANTS["free"],
        cores,
        iter([moments]),
        seed,
        serving=serving,
        records=len(moments),
    )
    plant.apply_now(built.plan, warm=True)
    return plant


def run(built: Scene, moments: Floats, serving: Serving, *, seed: int = 0, looks: int = 20) -> Run:
    """Let all requests end. What the plant says of its queues is held against the records at `looks` moments.

    That is Little's law on the path itself: the area under the number inside is the sum of the response times. It holds
    where whoever is let in is answered.
    """
    plant = a_plant(built, moments, serving, seed)
    step_s = max(float(moments[-1]), 1.0) / (looks - 0.4321)  # looks at no round moment, where a batch may end
    seen_s, inside, busy_core_s, batches, core_seconds = list[float](), list[int](), 0.0, 0, 0.0
    while True:
        plant.advance(plant.now_s + step_s)
        seen = plant.observation(plant.take_window())
        seen_s.append(seen.now_s)
        inside.append(plant.under_way)
        waiting = sum(task.queued + task.in_service for task in seen.tasks.values())
        if built.pipeline.is_chain() and all(e.fan_out == 1.0 for t in built.pipeline.tasks.values() for e in t.after):
            assert waiting == inside[-1]
        busy_core_s += sum(task.busy_core_s for task in seen.tasks.values())
        batches += sum(task.batches for task in seen.tasks.values())
        core_seconds += seen.core_seconds
        if seen.now_s >= moments[-1] and inside[-1] == 0:
            break
    state = plant.state
    done = Run(
        moments,
        state["record_s"].copy(),
        state["record_outcome"].copy(),
        busy_core_s,
        batches,
        core_seconds,
        seen_s[-1],
    )
    if serving.rule == "fifo" and serving.drop_after_s is None and at.DROPPED not in done.outcome:
        assert done.inside(np.array(seen_s)).tolist() == inside
    assert (done.outcome >= 0).all()
    assert (done.answered == (done.outcome <= at.LATE)).all()
    return done


def poisson(rate: float, seconds: int, seed: int) -> Floats:
    """Moments of a Poisson process."""
    return np.concatenate(list(send_blocks(np.full(seconds, rate), "poisson", seed, seconds)))


def chain_of(*stations: Station) -> Sequence[Station]:
    """The same stations, each after the one before."""
    return [
        Station(s.name, s.seconds, s.servers, s.batch, (Edge(stations[i - 1].name),) if i else (), s.quantiles)
        for i, s in enumerate(stations)
    ]
