"""InfAdapter's published measurements as profiles: what its planner believed, and how long service really takes.

Source: capacities, saturation rates and readiness times published with Salmani et al., EuroMLSys 2023.

*Capacity tables*, what the published planners read: the highest rate within the SLO for each number of cores. They are
overstated where they exceed what a replica serves at overload (38 of 100 rows at 750 ms): the client that measured
them fell behind its schedule. The planners' factor of 0.8 makes up for that.

*Service times*, how the simulator serves: a request takes one core for cores ÷ saturation rate seconds, the saturation
rate being what a replica of so many cores was seen to serve at overload, and a replica of n cores serves n at once. A
queueing system with these times has the measured ceiling at every size. How service times spread was not published.
"""

from __future__ import annotations

from pathlib import Path

from experiments.data import number, rows

from trimtab.profile.model import CapacityPoint, Profile, ServicePoint, VariantProfile
from trimtab.spec.load import load_pipeline
from trimtab.spec.model import Pipeline

TASK = "classify"
PIPELINE = Path(__file__).with_name("pipeline.yaml")
_MEASURED = "infadapter/capacity_profile_2023-02-21"


def pipeline() -> Pipeline:
    """The service, as its file says."""
    return load_pipeline(PIPELINE)


def capacity_profile(data: Path) -> Profile:
    """The capacity tables within the SLO, with readiness as load time.

    Rows on which no rate was within the SLO have no p99. They enter the planner's line with the SLO in its place, as
    published.
    """
    slo_s = pipeline().slo.latency_s
    points: dict[str, list[CapacityPoint]] = {}
    for row in rows(data, _MEASURED):
        if number(row, "slo_ms") == 1000.0 * slo_s:
            latency_s = number(row, "p99_ms") / 1000.0 if row["p99_ms"] else slo_s
            point = CapacityPoint(int(row["cpu_cores"]), number(row, "capacity_rps"), latency_s)
            points.setdefault(_name(row["variant"]), []).append(point)
    return Profile(
        {TASK: {v: VariantProfile(TASK, v, (), _ready_s(data)[v], capacity=tuple(p)) for v, p in points.items()}}
    )


def service_profile(data: Path, slower: float = 1.0) -> Profile:
    """Service times from the saturation rates, all × `slower`; one thread a request, no batches, means only."""
    slo_ms = 1000.0 * pipeline().slo.latency_s
    points: dict[str, list[ServicePoint]] = {}
    for row in rows(data, _MEASURED):
        if number(row, "slo_ms") == slo_ms:
            cores = int(row["cpu_cores"])
            mean_s = slower * cores / number(row, "saturation_rps")
            points.setdefault(_name(row["variant"]), []).append(ServicePoint(cores, 1, 1, mean_s, {}, samples=0))
    return Profile({TASK: {v: VariantProfile(TASK, v, tuple(p), _ready_s(data)[v]) for v, p in points.items()}})


def _ready_s(data: Path) -> dict[str, float]:
    """Variant → seconds from the creation of a pod until it is ready."""
    return {_name(row["variant"]): number(row, "readiness_s") for row in rows(data, "infadapter/variants")}


def _name(depth: str) -> str:
    return f"resnet{depth}"
