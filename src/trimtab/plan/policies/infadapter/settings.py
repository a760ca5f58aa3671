"""Settings of InfAdapter and of its baseline MS+.

Source: Salmani et al., "Reconciling High Accuracy, Cost-Efficiency, and Low Latency of Inference Serving Systems",
EuroMLSys 2023, and the constants of the program published with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class InfAdapterSettings:
    """What can be set; the defaults are the published values."""

    alpha: float = 1.0
    """Weight of the accuracy, a fraction."""
    beta: float = 0.05
    """Weight of the cores, as a share of the budget. The paper also shows 0.0125 and 0.2."""
    gamma: float = 0.001
    """Weight of the load time, as a share of the longest of all variants."""
    capacity_factor: float = 0.8
    """Share of a replica's capacity that is planned with."""
    capacity: Literal["fitted", "measured"] = "fitted"
    """What the factor multiplies: a line fitted to each variant's capacities, or each capacity as measured."""
    fit_cores: tuple[int, ...] = (1, 2, 4, 8, 16)
    """The numbers of cores that the line is fitted on; where a variant has fewer than two of them, all that it has."""
    min_cores: int = 2
    """Fewest cores of a replica: two of the published variants met no rate on one."""

    def __post_init__(self) -> None:
        numbers = {"alpha": self.alpha, "beta": self.beta, "gamma": self.gamma}
        for name, value in numbers.items():
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} is {value}, wanted a finite number of at least 0")
        if not 0.0 < self.capacity_factor < math.inf:
            raise ValueError(f"capacity_factor is {self.capacity_factor}, wanted a finite number above 0")
        if self.min_cores < 1 or any(cores < 1 for cores in self.fit_cores):
            raise ValueError("min_cores and fit_cores are numbers of cores, at least 1")
