"""What is wanted: the pipeline as frozen values. `spec.load` makes them from a file; nothing downstream parses.

Everything is in base units (seconds, bytes, cores, requests per second) and refers to tasks and variants by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

REQUEST = "request"
"""The name under which a task's inputs refer to the tensors of the request itself (`request.scene`)."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One model that does a task."""

    name: str
    model: Path | None
    """Absolute path of the model, a file or a folder; None where the pipeline is only planned, never served."""
    accuracy: float
    """Fraction in [0, 1], as measured on `measured_on`."""
    measured_on: str | None = None
    runtime: str | None = None
    """What loads the model; None: what its form shows."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the runtime is told."""
    entry: str | None = None
    """The class in a file of Python."""


@dataclass(frozen=True, slots=True)
class Edge:
    """`task` runs after `upstream`; each answer of `upstream` gives `fan_out` items of work on average."""

    upstream: str
    fan_out: float = 1.0
    fan_out_by: Mapping[str, float] = field(default_factory=dict)
    """Variant of `upstream` → the fan-out of its answers, where it differs from `fan_out` (Loki, HPDC 2024)."""

    def fan_out_of(self, variant: str) -> float:
        """Items of work that an answer of this variant of `upstream` gives on average."""
        return self.fan_out_by.get(variant, self.fan_out)


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
    replicas: int | None = None
    """Replicas of all tasks together."""
    cost_per_hour: float | None = None
    """Money, in the currency of the prices."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What is maximised.

    kind:
        `accurate-under-budget` (default): hold the SLO first, then the highest accuracy within the budget, then the
        least cost, then the smallest batches. Needs no weights.
        `cheapest`: hold the SLO first, then the least cost at an accuracy of at least `accuracy_floor`, then the
        highest accuracy, then the smallest batches.
        `weighted`: `alpha`·accuracy - `beta`·cost - `gamma`·load time - `delta`·Σ batch. With `gamma` 0 it is the
        objective of IPA (JSys 2024), with `delta` 0 that of InfAdapter (EuroMLSys 2023). `exchange` makes one from what
        accuracy is worth.

    Load time is what a change of plan waits for: the longest load of a task's new replicas or variants, seconds, summed
    over the tasks.
    """

    kind: Literal["accurate-under-budget", "cheapest", "weighted"] = "accurate-under-budget"
    alpha: float = 1.0
    beta: float = 0.0
    gamma: float = 0.0
    delta: float = 1e-6
    accuracy_floor: float | None = None
    """Of the pipeline, by its accuracy model. Set just for `cheapest`."""
    cost: Literal["cores", "money"] = "cores"
    """What cost means: cores held, or money per hour by the pipeline's prices."""
    point_worth: float | None = None
    """What one point of accuracy (0.01) is worth, in what `cost` counts, where the objective was stated so; the weights
    follow from it. None: it was not. Nothing decides by it, but people are told in its words."""

    @classmethod
    def exchange(cls, point_worth: float, cost: Literal["cores", "money"] = "cores") -> Objective:
        """The weights with which one point of accuracy (0.01) is worth `point_worth` (above 0) cores, or money an hour.

        Cores are then held as long as so many of them bring one more point. Batches decide between plans that are
        worth the same: one more in a batch costs a hundred-thousandth of a core, or of a unit of money an hour.
        """
        beta = 0.01 / point_worth
        return cls("weighted", 1.0, beta, 0.0, 1e-5 * beta, cost=cost, point_worth=point_worth)


@dataclass(frozen=True, slots=True)
class AccuracyModel:
    """How accurate a pipeline is, given its tasks' variants. For a mix, a task's accuracy is its traffic-weighted mean.

    kind:
        `product` (default): the product of the tasks' accuracies, IPA's PAS as a fraction (JSys 2024, §3).
        `rank-sum`: the sum over the tasks of the variant's rank by accuracy ÷ (variants - 1), 1 for a single variant
        (IPA's first version, arXiv 2308.12871v1).
        `measured`: looked up in `table`, the accuracy of the whole pipeline as measured for each combination; a mix is
        routed independently at each task.
    """

    kind: Literal["product", "rank-sum", "measured"] = "product"
    table: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    """Variants of the tasks, in the pipeline's order → accuracy. Every combination is there where `measured`."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A machine that can be rented: a whole number of replicas of one group of a task runs on one such machine."""

    name: str
    cores: int
    per_second: float
    """Price of one second, whether it is busy or not."""
    memory_bytes: int | None = None
    """None: not what limits."""


@dataclass(frozen=True, slots=True)
class Serverless:
    """Capacity that is paid for by use and scales to zero: no traffic, no cost."""

    core_second: float
    """Price of one core for one second of service."""
    request: float = 0.0
    """Price of one call."""
    cores: int = 1
    """Largest replica that it runs."""
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """What is paid for what is held. Either a price of a core, or a list of what can be rented."""

    core_hour: float | None = None
    currency: str = "USD"
    instances: Mapping[str, Instance] = field(default_factory=dict)
    serverless: Serverless | None = None

    @property
    def known(self) -> bool:
        """Whether anything has a price."""
        return self.core_hour is not None or bool(self.instances) or self.serverless is not None


@dataclass(frozen=True, slots=True)
class Planning:
    """What a plan may choose from, and how its latency is predicted; published policies have their own rules."""

    mix: int = 1
    """Most variants that share a task's traffic, 1 or 2. More than two are seldom worth much: shares have to meet one
    sum, and a linear programme with one more constraint than that has an optimum of two."""
    share_steps: int = 10
    """A mix shares traffic in multiples of one over this."""
    cores: Mapping[str, int] = field(default_factory=dict)
    """Task → cores of one replica; tasks that are not named choose among the profile's."""
    max_batch: int | None = None
    """Largest batch size; None: the largest that was measured."""
    latency: Literal["tail", "paper"] = "tail"
    """How latency is predicted; `plan.latency` states both."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A DAG of tasks with its SLO, budget and objective. Tasks are in topological order."""

    name: str
    tasks: Mapping[str, Task]
    slo: Slo
    budget: Budget = Budget()
    objective: Objective = Objective()
    prices: Prices = Prices()
    accuracy: AccuracyModel = AccuracyModel()
    planning: Planning = Planning()
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Policy → its settings, where they differ from its defaults."""
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

    def visits(self, shares: Mapping[str, Mapping[str, float]] | None = None) -> dict[str, float]:
        """Mean number of items of work each task gets per request: fan-outs multiplied along the edges.

        A task after several upstream tasks joins their items; its visits are those of the edge that brings most.

        Args:
            shares: task → variant → share of its traffic, for fan-outs that depend on the variant; a task that is not
                named counts with the edge's `fan_out`.
        """
        visits: dict[str, float] = {}
        for task in self.tasks.values():
            visits[task.name] = max(
                (visits[e.upstream] * _fan_out(e, (shares or {}).get(e.upstream)) for e in task.after), default=1.0
            )
        return visits


def _fan_out(edge: Edge, shares: Mapping[str, float] | None) -> float:
    if not shares or not edge.fan_out_by:
        return edge.fan_out
    return sum(share * edge.fan_out_of(variant) for variant, share in shares.items())
