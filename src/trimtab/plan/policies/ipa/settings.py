"""Settings of IPA and of the baselines that its authors built from it.

Source: IPA, Journal of Systems Research 4(1), 2024, and the settings of its published runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class IpaSettings:
    """What can be set; the published values are stated with each field."""

    form: Literal["paper", "as-coded"] = "paper"
    """`paper`: the formulas of the paper. `as-coded`: those that the published program evaluates, see `policy`
    and `base_allocation`."""
    threshold_rps: float = 1.0
    """th: what a replica has to serve to be a base allocation, items per second. Published: 1, 4 or 5."""
    sla_factor: float | None = None
    """A task's SLA is this × the mean, over its variants, of the latency of a batch of 1 on the largest measured
    replica. Published: 5 in the paper, 25 as coded. None: the SLO of the whole pipeline bounds each task."""
    batching_cap: int | None = None
    """Largest batch. Published: 8 for video, 1 else. None: the largest measured."""
    scaling_cap: int = 100
    """Most replicas of a task."""
    alpha: float | None = None
    """None: that of the pipeline's objective, as for `beta` and `delta`. Published: 2 to 100."""
    beta: float | None = None
    """Published: 1 for video, 0.5 else."""
    delta: float | None = None
    """Published: 1e-6."""
    latency_margin: float = 0.0
    """Profiled latencies are multiplied by 1 + this. Published: 1 for audio, 0 else."""
    throughput_margin: float = 0.0
    """Profiled throughputs are multiplied by 1 + this. Published: 0 for video, -0.5 or -0.57 else."""
    accuracy: Literal["product", "rank-product", "rank-sum"] = "product"
    """What α weighs: the product of the accuracies, or the product or sum of ranks ÷ (variants - 1). Published: the
    product for video, the product of ranks else, the sum of ranks in the first version."""
    rank_floor: float = 0.0
    """Ranks below it count as this much, so that a worst variant does not make a product 0. Published: 0.05."""
    pin: Literal["least-accurate", "most-accurate"] | None = None
    """Which variant a task has to take, where `variants` says nothing of it; None: any."""
    variants: Mapping[str, str] = field(default_factory=dict)
    """Task → the variant that it has to take."""
    replicas: int | Mapping[str, int] | None = None
    """Replicas that every task, or each one named, has to have; None: as many as needed."""
    base_cores: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Task → variant → cores of a replica, in the place of the base allocation."""

    def __post_init__(self) -> None:
        numbers = {
            "threshold_rps": self.threshold_rps,
            "sla_factor": self.sla_factor,
            "alpha": self.alpha,
            "beta": self.beta,
            "delta": self.delta,
            "rank_floor": self.rank_floor,
        }
        for name, value in numbers.items():
            if value is not None and not 0.0 <= value < math.inf:
                raise ValueError(f"{name} is {value}, wanted a finite number of at least 0")
        for name, value in (("latency_margin", self.latency_margin), ("throughput_margin", self.throughput_margin)):
            if not -1.0 < value < math.inf:
                raise ValueError(f"{name} is {value}, wanted a finite number above -1")
        pinned = self.replicas.values() if isinstance(self.replicas, Mapping) else (self.replicas,)
        cores = (c for variants in self.base_cores.values() for c in variants.values())
        for name, counts in (
            ("batching_cap", (self.batching_cap,)),
            ("scaling_cap", (self.scaling_cap,)),
            ("replicas", pinned),
            ("base_cores", cores),
        ):
            if any(count is not None and count < 1 for count in counts):
                raise ValueError(f"{name} has to be at least 1")

    def replicas_of(self, task: str) -> int | None:
        """Replicas that the task has to have; None: as many as needed."""
        return self.replicas.get(task) if isinstance(self.replicas, Mapping) else self.replicas
