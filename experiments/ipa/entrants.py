"""Who is judged on IPA's pipelines, and under what: published policies, Trimtab as it is asked, and the bound.

Everyone gets the same load, true service times and no limit on cores.

- IPA's family runs as in `contenders`: IPA's plant, dispatcher, settings and profile.
- Policies that IPA was not compared with run as their authors state, on IPA's plant: a variant or core count is changed
  by new replicas, ready after 8 s, the old ones drain. Themis alone has cores that change in place, for that is its
  idea. They know all sizes that Trimtab knows. InferLine, FA2 and Themis hold variants fixed: once all the cheapest,
  once all the most accurate. InferLine plans on the first quarter of the load, as its authors do. Loki and Proteus are
  made for a cluster: once there is no limit, so both host the most accurate; once it is as large as what IPA held there
  on average. Proteus, made for one task, has the tasks as its model types, each with its part of the SLO; it holds
  no more cores than its optimum needs.
- Trimtab runs on its own plant, in its own rhythm, and knows either all sizes (EXTRAPOLATED: `scaling`) or just those
  that IPA may choose in that run: the base cores of each variant, and batches up to its cap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from experiments.data import Row, number
from experiments.ipa import contenders, measurements, published, scaling, workloads
from experiments.ipa.contenders import CORES, DRAIN_S, LOAD_S, OURS, READY_S, USUAL_DRAIN_S
from experiments.ipa.measurements import Timings

from trimtab.plan.policies import make_policy
from trimtab.profile.model import Profile
from trimtab.sim import PLANTS, PlantModel, Serving, SimResult, simulate
from trimtab.sim.model import Draw, Rule
from trimtab.sim.run import Load
from trimtab.spec.model import Objective, Pipeline
from trimtab.workload.trace import Trace

REFERENCES = ("ipa", "ipa-as-coded")
"""Both forms of IPA; Trimtab has to beat each."""
FAMILY = (*REFERENCES, "fa2-low", "fa2-high", "rim")
RULE: dict[str, Rule] = {"loki": "nexus", "proteus": "proteus"}
"""How batches are formed by those who say so: early drop, and waiting while there is time. Others serve what waits,
first come, first served, and drop at IPA's drop limit."""
RESIZE_S = 0.1
"""A change of cores in place on Kubernetes."""

Sizes = Literal["all", "ipa"]
SIZES: tuple[Sizes, ...] = ("all", "ipa")
"""What Trimtab may choose from: all sizes, or IPA's alone."""
TRUE_FUTURE, FREE_CHANGES, ORACLE = ", true future", ", free changes", ", oracle"
"""What is added to the label of Trimtab's on the way to the oracle."""
Pin = Literal["least-accurate", "most-accurate"]


@dataclass(frozen=True, slots=True)
class Entrant:
    """A policy with what it is given."""

    label: str
    policy: str
    role: Literal["family", "stated", "ours", "bound"]
    pin: Pin | None = None
    """For those that hold variants fixed."""
    cluster_cores: int | None = None
    """For those that fill a cluster; None: no limit."""
    sizes: Sizes = "all"
    floor: float | None = None
    """Ours and the bound: the least cores at this PAS, a fraction; None: IPA's weights decide."""
    foresees: bool = False
    """Ours: knows the load to come."""
    free: bool = False
    """Ours: on a plant where nothing takes time."""


def stated(clusters: bool, cores: float) -> list[Entrant]:
    """The policies that IPA was not compared with.

    Args:
        clusters: whether those on a cluster are wanted, or those without.
        cores: size of the cluster; rounded up.
    """
    filling = ("loki", "proteus")
    if clusters:
        size = math.ceil(cores)
        return [Entrant(f"{name}, IPA's cores", name, "stated", cluster_cores=size) for name in filling]
    pins: tuple[tuple[str, Pin], ...] = (("cheapest", "least-accurate"), ("best", "most-accurate"))
    fixed = [
        Entrant(f"{name}, {word}", name, "stated", pin=pin)
        for name in ("inferline", "fa2", "themis")
        for word, pin in pins
    ]
    return fixed + [Entrant(name, name, "stated") for name in filling]


def family() -> list[Entrant]:
    """IPA and what its authors compare it with."""
    return [Entrant(name, name, "family") for name in FAMILY]


def weighted(sizes: Sizes) -> Entrant:
    """Trimtab with IPA's weights."""
    return Entrant(f"{OURS} {sizes}, IPA's weights", OURS, "ours", sizes=sizes)


def rung(sizes: Sizes, floor: float) -> Entrant:
    """Trimtab with the least cores at a PAS, a fraction, which is rounded down to five digits.

    So what differs by rounding errors alone is the same question.
    """
    floor = math.floor(floor * 1e5 + 1e-6) / 1e5
    return Entrant(f"{OURS} {sizes} ≥ {100.0 * floor:.3f}", OURS, "ours", sizes=sizes, floor=floor)


def towards_oracle(base: Entrant) -> list[Entrant]:
    """From Trimtab as it is to the oracle: own forecast, true future, free changes too, every second anew."""
    return [
        base,
        replace(base, label=base.label + TRUE_FUTURE, role="bound", foresees=True),
        replace(base, label=base.label + FREE_CHANGES, role="bound", foresees=True, free=True),
        replace(base, label=base.label + ORACLE, policy="oracle", role="bound"),
    ]


def play(
    data: Path, pipeline: str, workload: str, entrant: Entrant, seed: int, draw: Draw, slower: float, seconds: int
) -> SimResult:
    """Simulate the first `seconds` of a load pattern; `slower` is a factor on the true times that nobody knows of.

    Raises:
        DataError: the measurements are not there.
        MissingExtraError: Loki and Proteus need the extra `milp`.
    """
    whole = workloads.load(data, workload, seed)
    load = replace(whole, trace=Trace(whole.trace.counts[:seconds], workload))
    if entrant.role == "family":
        made = contenders.scenario(contenders.Case(data, pipeline, workload, entrant.policy, draw=draw, slower=slower))
        return simulate(
            made.pipeline, made.profile, load, made.policy, made.plant, cores=CORES, forecaster=made.forecaster,
            settings=made.settings, serving=made.serving, truth=made.truth, window_s=published.INTERVAL_S,
            notes=made.notes,
        )  # fmt: skip
    row = published.settings_row(data, pipeline, workload, "IPA")
    of, known = measurements.pipeline(pipeline), sizes_of(data, pipeline, workload, entrant.sizes)
    believed = measurements.profile(of, known, seen_as="truth", load_s=READY_S)
    return simulate(
        replace(of, **_asked(entrant, row, load)), believed, load, make_policy(entrant.policy), _plant(entrant, of),
        cores=entrant.cluster_cores or CORES, forecaster="oracle" if entrant.foresees else None,
        serving=_serving(entrant, row, draw), window_s=published.INTERVAL_S,
        truth=measurements.profile(of, known, seen_as="truth", load_s=READY_S, slower=slower),
        notes=("EXTRAPOLATED: other cores and batches by a fitted model",) if entrant.sizes == "all" else (),
    )  # fmt: skip


def sizes_of(data: Path, pipeline: str, workload: str, sizes: Sizes) -> Timings:
    """The sizes of replicas and batches that may be chosen, with their times."""
    of, row = measurements.pipeline(pipeline), published.settings_row(data, pipeline, workload, "IPA")
    base = published.base_cores(data, of, row)
    if sizes == "all":
        return scaling.with_model(data, of, base)
    known, cap = measurements.timings(data), int(number(row, "batching_cap"))
    return {
        (task, variant): {size: t for size, t in known[task, variant].items() if size[0] == cores and size[1] <= cap}
        for task, own in base.items()
        for variant, cores in own.items()
    }


def true_profile(data: Path, pipeline: str, workload: str, sizes: Sizes, slower: float) -> Profile:
    """How long service takes."""
    of = measurements.pipeline(pipeline)
    known = sizes_of(data, pipeline, workload, sizes)
    return measurements.profile(of, known, seen_as="truth", load_s=READY_S, slower=slower)


def weights(data: Path, pipeline: str, workload: str) -> Objective:
    """IPA's weighted objective, as published for a run."""
    row = published.settings_row(data, pipeline, workload, "IPA")
    return Objective("weighted", number(row, "alpha"), number(row, "beta"), delta=number(row, "delta"))


def _asked(entrant: Entrant, row: Row, load: Load) -> dict[str, Any]:
    """The fields of a pipeline that say what is wanted."""
    if entrant.role == "stated":
        given: dict[str, Any] = {} if entrant.pin is None else {"pin": entrant.pin}
        if entrant.policy == "inferline":
            counts = load.trace.counts
            given["sample_counts"] = tuple(count or 0 for count in counts[: max(1, len(counts) // 4)])
        if entrant.policy == "proteus":
            given["whole_cluster"] = False
        return {"policies": {entrant.policy: given}, "objective": Objective()}
    if entrant.floor is not None:
        return {"objective": Objective("cheapest", accuracy_floor=entrant.floor)}
    alpha, beta, delta = (number(row, name) for name in ("alpha", "beta", "delta"))
    return {"objective": Objective("weighted", alpha, beta, delta=delta)}


def _plant(entrant: Entrant, of: Pipeline) -> PlantModel:
    """Where it runs. The oracle's plant is the simulator's business."""
    if entrant.role != "stated":
        own = replace(PLANTS["instant-resident"], name=OURS, load_s=LOAD_S)
        return PLANTS["free"] if entrant.free else own
    plant = replace(PLANTS["kubernetes-restart"], name="ipa", drain_s=DRAIN_S.get(of.name, USUAL_DRAIN_S))
    if entrant.policy == "themis":
        return replace(plant, name="ipa, cores in place", in_place_cores=True, resize_s=RESIZE_S)
    return plant


def _serving(entrant: Entrant, row: Row, draw: Draw) -> Serving:
    if entrant.role != "stated":
        return Serving(draw=draw)
    rule = RULE.get(entrant.policy, "fifo")
    return Serving(rule, drop_after_s=published.drop_limit_s(row) if rule == "fifo" else None, draw=draw)
