"""What is simulated: how long changes take on a plant, how batches are formed and drawn, what goes wrong."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from trimtab.control.protocols import Capabilities
from trimtab.errors import SimulationError

Rule = Literal["trimtab", "fifo", "clipper", "nexus", "proteus"]
RULES: tuple[Rule, ...] = get_args(Rule)
Draw = Literal["profile", "mean", "exponential"]
DRAWS: tuple[Draw, ...] = get_args(Draw)


@dataclass(frozen=True, slots=True)
class PlantModel:
    """How long a plant takes to change. All delays in seconds.

    A replica's *template* is what cannot change while it runs: its variant where `in_place_variants` is false, its
    cores where `in_place_cores` is. A change of template starts new replicas and removes the old ones once the new are
    ready (make before break); everything else reaches running replicas within `resize_s` and `load_s`.
    """

    name: str
    in_place_variants: bool
    """A replica holds several variants; changing between those resident is a message."""
    in_place_cores: bool
    """The cores of a running replica change without a restart."""
    start_s: float
    """From asking for a replica to its process being up; loading its variants comes on top."""
    load_s: float | None
    """Loading one variant; None: the profile's load time of it, and where that is unknown, nothing."""
    resize_s: float = 0.0
    """From asking for other cores to having them."""
    drain_s: float = 0.0
    """How long a removed replica still holds its cores after its last batch (a grace period)."""
    max_allocations_per_task: int = 8

    def __post_init__(self) -> None:
        for name in ("start_s", "load_s", "resize_s", "drain_s"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < math.inf:
                raise SimulationError(
                    "a delay has no meaning", where=f"plant {self.name}, {name}", got=value, wanted="0 or more seconds"
                )

    def capabilities(self, cores: int, memory_bytes: int | None = None) -> Capabilities:
        """What such a plant can do with so many cores."""
        return Capabilities(
            cores=cores,
            memory_bytes=memory_bytes,
            in_place_variants=self.in_place_variants,
            in_place_cores=self.in_place_cores,
            fractional_cores=False,
            max_allocations_per_task=self.max_allocations_per_task,
            start_s=self.start_s,
        )


PLANTS: Mapping[str, PlantModel] = MappingProxyType(
    {
        "instant-resident": PlantModel(
            "instant-resident", in_place_variants=True, in_place_cores=True, start_s=0.5, load_s=None, resize_s=0.001
        ),
        "kubernetes-restart": PlantModel(
            "kubernetes-restart", in_place_variants=False, in_place_cores=False, start_s=0.0, load_s=None
        ),
        "kubernetes": PlantModel(
            "kubernetes", in_place_variants=False, in_place_cores=False, start_s=6.0, load_s=None, drain_s=1.0
        ),
        "kubernetes-in-place": PlantModel(
            "kubernetes-in-place", in_place_variants=False, in_place_cores=True, start_s=0.0, load_s=None, resize_s=0.1
        ),
        "free": PlantModel("free", in_place_variants=True, in_place_cores=True, start_s=0.0, load_s=0.0),
    }
)
"""Ready-made plants.

`instant-resident`: Trimtab's own; a worker process is up in half a second, a change of cores takes a millisecond
(`benchmarks/switch_time.py`). `kubernetes`: a change of variant or cores is a new pod, up after six seconds, about what
InfAdapter's readiness times are beyond what differs by model. `kubernetes-restart`: the same for published profiles,
whose load time is the whole *readiness time*, from creation to ready (InfAdapter, EuroMLSys 2023: 6.4 to 8.5 s).
`kubernetes-in-place`: with cores that change in place (Kubernetes 1.33 and later) in about 0.1 s.
`free`: nothing takes time, the bound that no plant can beat.
"""


def plant_model(name: str) -> PlantModel:
    """The ready-made plant called `name`.

    Raises:
        SimulationError: there is none.
    """
    if name not in PLANTS:
        close = difflib.get_close_matches(name, PLANTS, n=1)
        raise SimulationError(
            "no such plant",
            got=name,
            wanted=f"one of {', '.join(PLANTS)}",
            next_step=f"did you mean '{close[0]}'?" if close else None,
        )
    return PLANTS[name]


@dataclass(frozen=True, slots=True)
class Serving:
    """How requests are queued, batched and served. The default is what `trimtab serve` does."""

    rule: Rule = "trimtab"
    """How batches are formed; `dispatch.rules` states each. All but `trimtab` serve the allocated variant alone."""
    max_wait_s: float = 0.0
    """`fifo`: longest time that a batch waits to fill (MLServer's `max_batch_time`)."""
    drop_after_s: float | None = None
    """`fifo`: a request older than this when its turn comes is dropped (IPA's drop limit); None: never."""
    queue_limit: int | None = None
    """Requests that may wait or be in service at a task; one more is refused. None: no limit."""
    draw: Draw = "profile"
    """Service times: from the profile's quantiles, always the mean, or exponential with that mean."""
    hop_s: float = 0.0
    """What the way to a task and back adds to each of its batches, beside service."""

    def __post_init__(self) -> None:
        checks = {"max_wait_s": self.max_wait_s, "drop_after_s": self.drop_after_s, "hop_s": self.hop_s}
        for name, value in checks.items():
            if value is not None and not 0.0 <= value < math.inf:
                raise SimulationError("a time has no meaning", where=name, got=value, wanted="0 or more seconds")
        if self.rule not in RULES or self.draw not in DRAWS:
            raise SimulationError(
                "no such rule or draw",
                got=f"{self.rule}, {self.draw}",
                wanted=f"one of {', '.join(RULES)} and one of {', '.join(DRAWS)}",
            )
        if self.queue_limit is not None and self.queue_limit < 1:
            raise SimulationError("a queue limit has no meaning", got=self.queue_limit, wanted="at least 1")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong at `at_s`, in one replica of a task."""

    at_s: float
    task: str
    kind: Literal["lose", "slow"] = "lose"
    """`lose`: its process dies and is started again; batches in it are tried once more elsewhere. `slow`: its batches
    take `factor` times as long for `for_s` seconds."""
    factor: float = 1.0
    for_s: float = 0.0
