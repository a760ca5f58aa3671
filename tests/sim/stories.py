"""Random small worlds for the simulator's tests: any pipeline, plant, rule, plans that change, and faults."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
from hypothesis import strategies as st
from tests.sim.scenes import Floats

from trimtab import rng
from trimtab.observe.model import Outcomes
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.sim import Fault, PlantModel, Serving
from trimtab.sim import plant as plant_module
from trimtab.sim.model import DRAWS, RULES
from trimtab.sim.plant import SimPlant
from trimtab.sim.state import Sizes
from trimtab.spec.model import Edge, Pipeline, Slo, Task, Variant
from trimtab.workload.delays import Delays

SHAPES = ((1, 1), (2, 1), (2, 2))
CORES = 200
SECONDS = 4.0
"""Requests arrive, plans change and faults happen within so many seconds."""
TINY = {"N": 1, "Q": 4, "R": 1, "K": 1, "U": 8}
"""Room for next to nothing: everything has to grow, again and again."""


@dataclass(frozen=True)
class Story:
    """A world and what happens in it."""

    pipeline: Pipeline
    profile: Profile
    truth: Profile
    model: PlantModel
    serving: Serving
    moments: tuple[float, ...]
    delays: Delays | None
    plans: tuple[tuple[float, Plan], ...]
    faults: tuple[Fault, ...]
    warm: bool
    seed: int

    def left_s(self) -> Floats:
        """What each request has left when it comes."""
        slo_s, moments = self.pipeline.slo.latency_s, np.array(self.moments, dtype=np.float64)
        if self.delays is None:
            return np.full(len(moments), slo_s)
        return self.delays.left_s(slo_s, rng.generator(self.seed, "delays"), moments)


@dataclass(frozen=True)
class Told:
    """How a story went."""

    plant: SimPlant
    outcomes: Outcomes
    offered: int
    response_s: Floats
    outcome: tuple[int, ...]
    answers: int
    worth: float
    sum_response_s: float
    served: Mapping[str, Mapping[str, int]]
    busy_core_s: float
    core_seconds: float
    peak_cores: int

    def figures(self) -> tuple[object, ...]:
        """All that has to be the same when a story is told again."""
        return (
            self.outcomes, self.offered, self.response_s.tobytes(), self.outcome, self.answers, self.worth,
            self.sum_response_s, self.served, self.busy_core_s, self.core_seconds, self.peak_cores,
        )  # fmt: skip


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[Pipeline, Profile]:
    """One to four tasks with any edges forwards, several roots included."""
    tasks, profiles = dict[str, Task](), dict[str, dict[str, VariantProfile]]()
    fan_outs = st.sampled_from([1.0, 1.0, 1.0, 2.0, 3.0, 0.4, 1.6, 0.9])
    for i in range(draw(st.integers(1, 4))):
        name = f"t{i}"
        names = [f"v{k}" for k in range(draw(st.integers(1, 3)))]
        accuracies = draw(st.lists(st.floats(0.5, 1.0), min_size=len(names), max_size=len(names)))
        upstream = draw(st.lists(st.sampled_from(sorted(tasks)), max_size=2, unique=True)) if tasks else []
        edges = []
        for u in upstream:
            by = {v: draw(fan_outs) for v in tasks[u].variants} if draw(st.booleans()) else {}
            edges.append(Edge(u, draw(fan_outs), by))
        tasks[name] = Task(name, {v: Variant(v, None, a) for v, a in zip(names, accuracies, strict=True)}, tuple(edges))
        profiles[name] = {v: draw(variant_profiles(name, v)) for v in names}
    slo = Slo(draw(st.sampled_from([0.02, 0.1, 0.5, 3.0])))
    return Pipeline("story", tasks, slo), Profile(profiles)


@st.composite
def variant_profiles(draw: st.DrawFn, task: str, variant: str) -> VariantProfile:
    """Service times of batches of 1 and 4, which may or may not be worth it, with or without quantiles."""
    alone_s, gain = draw(st.sampled_from([0.003, 0.02, 0.1, 0.4])), draw(st.sampled_from([0.0, 0.5, 1.0]))
    spread = draw(st.sampled_from([{}, {0.5: 0.9, 0.9: 1.3, 0.95: 1.5, 0.99: 2.0}, {0.5: 0.4, 0.99: 5.0}]))
    points = tuple(
        ServicePoint(c, t, b, mean_s, {q: k * mean_s for q, k in spread.items()}, samples=9)
        for c, t in SHAPES
        for b in (1, 4)
        for mean_s in (alone_s * (1.0 + gain * (b - 1)) / math.sqrt(t),)
    )
    return VariantProfile(task, variant, points, load_time_s=draw(st.sampled_from([None, 0.0, 0.4])))


@st.composite
def plans(draw: st.DrawFn, pipeline: Pipeline, most: int) -> Plan:
    """Any plan of up to `most` allocations a task."""
    made = {}
    for task in pipeline.tasks.values():
        names = st.sampled_from(list(task.variants))
        count = draw(st.integers(1, most))
        weights = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count).filter(lambda some: sum(some) > 0))
        groups = []
        for weight in weights:
            cores, threads = draw(st.sampled_from(SHAPES))
            replicas, batch = draw(st.integers(1, 3)), draw(st.integers(1, 5))
            groups.append(Allocation(draw(names), replicas, cores, threads, batch, weight / sum(weights)))
        extra = draw(st.lists(names, max_size=2, unique=True))
        resident = tuple(dict.fromkeys([*(g.variant for g in groups), *extra]))
        made[task.name] = TaskPlan(task.name, tuple(groups), resident, tuple(extra))
    return Plan(made, 1.0)


plant_models = st.builds(
    PlantModel,
    name=st.just("any"),
    in_place_variants=st.booleans(),
    in_place_cores=st.booleans(),
    start_s=st.sampled_from([0.0, 0.0, 0.3, 1.1]),
    load_s=st.sampled_from([None, 0.0, 0.25]),
    resize_s=st.sampled_from([0.0, 0.05]),
    drain_s=st.sampled_from([0.0, 0.5]),
    max_allocations_per_task=st.just(3),
)

servings = st.builds(
    Serving,
    rule=st.sampled_from(RULES),
    max_wait_s=st.sampled_from([0.0, 0.0, 0.05, 0.4]),
    drop_after_s=st.sampled_from([None, None, 0.1, 1.0]),
    queue_limit=st.sampled_from([None, None, 1, 4, 20]),
    draw=st.sampled_from(DRAWS),
    hop_s=st.sampled_from([0.0, 0.001]),
)

a_moment = st.one_of(st.integers(0, 79).map(lambda i: i / 20.0), st.floats(0.0, SECONDS, exclude_max=True))
"""At the moment of another event, or at any."""
moments = st.integers(0, 60).flatmap(lambda n: st.lists(a_moment, min_size=n, max_size=n)).map(sorted).map(tuple)


delays = st.builds(
    Delays,
    st.lists(st.sampled_from([0.0, 0.01, 0.3, 5.0]), min_size=4, max_size=4).map(tuple),
    st.sampled_from([0.0, 0.5]),
)


@st.composite
def trouble(draw: st.DrawFn, tasks: list[str]) -> tuple[Fault, ...]:
    """Faults anywhere, or one loss upon another at the same task."""
    if draw(st.booleans()):
        task, first = draw(st.sampled_from(tasks)), draw(st.integers(1, 20))
        return tuple(Fault((first + k) / 10.0, task) for k in range(draw(st.integers(2, 6))))
    one = st.builds(
        Fault,
        at_s=st.integers(0, 40).map(lambda i: i / 10.0),
        task=st.sampled_from(tasks),
        kind=st.sampled_from(["lose", "slow"]),
        factor=st.sampled_from([0.5, 3.0]),
        for_s=st.sampled_from([0.0, 0.7]),
    )
    return tuple(draw(st.lists(one, max_size=3)))


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Anything that can happen."""
    pipeline, profile = draw(pipelines())
    truth = profile
    if draw(st.booleans()):
        truth = Profile({t: {v: draw(variant_profiles(t, v)) for v in some} for t, some in profile.variants.items()})
    changes = sorted(draw(st.lists(st.integers(1, 15).map(lambda i: i / 4.0), max_size=3)))
    return Story(
        pipeline,
        profile,
        truth,
        draw(plant_models),
        draw(servings),
        draw(moments),
        draw(st.none() | delays),
        tuple((at_s, draw(plans(pipeline, 3))) for at_s in (0.0, *changes)),
        draw(trouble(list(pipeline.tasks))),
        draw(st.booleans()),
        draw(st.integers(0, 5)),
    )


def tell(story: Story, room: Mapping[str, int] | None = None) -> Told:
    """Play a story to its end: until no request is under way and no replica starts or drains."""
    make: type[Sizes] = Sizes
    with patch.object(plant_module, "Sizes", lambda **given: make(**given, **(room or {}))):
        plant = SimPlant(
            story.pipeline,
            story.profile,
            story.model,
            CORES,
            blocks(story.moments),
            story.seed,
            delays=story.delays,
            serving=story.serving,
            truth=story.truth,
            faults=story.faults,
            records=len(story.moments),
        )
    total, offered, answers, worth, sum_response_s = Outcomes(), 0, 0, 0.0, 0.0
    served = {name: dict.fromkeys(task.variants, 0) for name, task in story.pipeline.tasks.items()}
    busy_core_s = core_seconds = 0.0
    coming = list(story.plans)
    step = 0
    while True:
        while coming and coming[0][0] <= plant.now_s:
            plant.apply_now(coming.pop(0)[1], warm=story.warm and step == 0)
        step += 1
        plant.advance(step / 4.0)
        window = plant.take_window()
        seen = plant.observation(window)
        total += seen.outcomes
        offered += sum(n or 0 for n in seen.arrivals)
        answers += int(window.responses.sum())
        worth += window.worth
        sum_response_s += window.response_s
        core_seconds += seen.core_seconds
        busy_core_s += sum(task.busy_core_s for task in seen.tasks.values())
        for name, task in seen.tasks.items():
            for variant, count in task.served.items():
                served[name][variant] += count
        starting = sum(task.replicas_starting for task in seen.tasks.values())
        if plant.now_s > SECONDS + 3.0 and plant.now_s.is_integer() and not starting and not plant.under_way:
            break
        assert plant.now_s < 4000.0, "the story does not end"
    state = plant.state
    return Told(
        plant, total, offered, state["record_s"].copy(), tuple(state["record_outcome"].tolist()), answers, worth,
        sum_response_s, served, busy_core_s, core_seconds, plant.peak_cores,
    )  # fmt: skip


def blocks(some: Sequence[float]) -> Iterator[Floats]:
    """Arrivals second by second."""
    every = np.array(some, dtype=np.float64)
    for second in range(math.ceil(SECONDS)):
        yield every[(every >= second) & (every < second + 1)]
