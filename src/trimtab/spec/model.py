"""What is wanted: the pipeline as frozen values. `spec.load` makes them from a file; nothing downstream parses.

Everything is in base units (seconds, bytes, cores, requests per second) and refers to tasks and variants by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

REQUEST = "request"
"""The name under which a task's inputs refer to the tensors of the request itself (`request.scene`)."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One model that does a task."""

    name: str
    model: Path | None
    """Absolute path of the model file; None where the pipeline is only planned, never served."""
    accuracy: float
    """Fraction in [0, 1], as measured on `measured_on`."""
    measured_on: str | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """`task` runs after `upstream`; each answer of `upstream` gives `fan_out` items of work on average."""

    upstream: str
    fan_out: float = 1.0


@dataclass(frozen=True, slots=True)
class Task:
    """One logical step of the pipeline, done by any one of its variants."""

    name: str
    variants: Mapping[str, Variant]
    """By name, in the file's order."""
    after: tuple[Edge, ...] = ()
    """Empty for a task that reads the request."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Model input → source: `request.<tensor>` or `<task>.<output>`. Inputs not named here are matched by name."""

    def by_accuracy(self) -> tuple[Variant, ...]:
        """The variants, most accurate first; equal accuracies by name, so that the order is total."""
        return tuple(sorted(self.variants.values(), key=lambda v: (-v.accuracy, v.name)))


@dataclass(frozen=True, slots=True)
class Slo:
    """`quantile` of the requests offered are answered within `latency_s`, end to end."""

    latency_s: float
    quantile: float = 0.99


@dataclass(frozen=True, slots=True)
class Budget:
    """What the pipeline may hold at once. None: no limit from the file; the plant's own capacity still binds."""

    cores: float | None = None
    memory_bytes: int | None = None
    replicas_per_task: int = 100


@dataclass(frozen=True, slots=True)
class Objective:
    """What is maximised.

    kind:
        `accurate-under-budget` (default): hold the SLO first, then the highest accuracy within the budget, then the
        fewest cores, then the smallest batches. Needs no weights.
        `weighted`: `alpha`·PAS - `beta`·cores - `delta`·Σ batch (IPA, JSys 2024, its objective).
    """

    kind: Literal["accurate-under-budget", "weighted"] = "accurate-under-budget"
    alpha: float = 1.0
    beta: float = 0.0
    delta: float = 1e-6


@dataclass(frozen=True, slots=True)
class Prices:
    """What is paid for what is held."""

    core_hour: float | None = None
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A DAG of tasks with its SLO, budget and objective. Tasks are in topological order."""

    name: str
    tasks: Mapping[str, Task]
    slo: Slo
    budget: Budget = Budget()
    objective: Objective = Objective()
    prices: Prices = Prices()
    source: Path | None = None
    """The file this was read from; None when it was built in code."""

    def downstream(self, task: str) -> tuple[str, ...]:
        """Names of the tasks that run directly after `task`, in topological order."""
        return tuple(t.name for t in self.tasks.values() if any(e.upstream == task for e in t.after))

    def roots(self) -> tuple[str, ...]:
        """Names of the tasks that read the request."""
        return tuple(t.name for t in self.tasks.values() if not t.after)

    def leaves(self) -> tuple[str, ...]:
        """Names of the tasks whose outputs are the pipeline's answer."""
        return tuple(name for name in self.tasks if not self.downstream(name))

    def is_chain(self) -> bool:
        """Whether the tasks form one line."""
        return len(self.roots()) == 1 and all(
            len(t.after) <= 1 and len(self.downstream(t.name)) <= 1 for t in self.tasks.values()
        )

    def visits(self) -> dict[str, float]:
        """Mean number of items of work each task gets per request: fan-outs multiplied along the edges.

        A task after several upstream tasks joins their items; its visits are those of the edge that brings most.
        """
        visits: dict[str, float] = {}
        for task in self.tasks.values():
            visits[task.name] = max((visits[e.upstream] * e.fan_out for e in task.after), default=1.0)
        return visits
