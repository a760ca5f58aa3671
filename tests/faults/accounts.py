"""The accounting that every fault is checked by: each request that is offered ends once, and every level says the same.

Four counts are compared, to the request: the client's own, the metrics of the gateway, the sum of all observations of
the plant, and the items that each task served.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, get_args

from trimtab.observe.model import Observation
from trimtab.runtime.metrics import Metrics

Ending = Literal["answered", "refused", "dropped", "failed", "rejected", "gone", "hung"]
"""What a client saw. `answered`: in time or late, which is the gateway's to say; `rejected`:
turned away before it was offered; `gone`: the client left before its answer; `hung`: nothing came, which may not be."""
OF_STATUS: dict[int, Ending] = {200: "answered", 429: "refused", 503: "refused", 504: "dropped", 500: "failed"}


@dataclass(slots=True)
class Accounts:
    """Counts of one run at every level."""

    metrics: Metrics
    client: Counter[Ending] = field(default_factory=Counter)
    """What clients saw."""
    plant: Counter[str] = field(default_factory=Counter)
    """Outcomes, summed over the observations."""
    arrivals: int = 0
    served: Counter[str] = field(default_factory=Counter)
    """Task → items served, summed over the observations."""

    def observed(self, seen: Observation) -> None:
        """Take in one observation."""
        self.arrivals += sum(count or 0 for count in seen.arrivals)
        out = seen.outcomes
        for name in ("in_time", "late", "refused", "dropped", "failed"):
            self.plant[name] += getattr(out, name)
        for task, level in seen.tasks.items():
            self.served[task] += sum(level.served.values())

    def metric(self, name: str, **labels: str) -> int:
        """A counter, summed over all labels that are not named."""
        total = 0.0
        for family in self.metrics.registry.collect():
            for sample in family.samples:
                if sample.name == f"trimtab_{name}_total" and labels.items() <= sample.labels.items():
                    total += sample.value
        return round(total)

    def problems(self) -> list[str]:
        """Every way in which the levels disagree; call it once all is answered and observed for the last time."""
        ended = {name: self.metric("requests", outcome=name) for name in self.plant}
        offered = self.metric("requests_offered")
        left = self.client["gone"]
        checks = [
            ("hung clients", self.client["hung"], 0),
            ("offered (metrics) = ended (metrics)", offered, sum(ended.values())),
            ("offered (metrics) = ended (plant)", offered, self.plant.total()),
            ("offered (metrics) = arrivals (plant)", offered, self.arrivals),
            ("offered (metrics) = asked (clients)", offered, self.client.total() - self.client["rejected"]),
            ("answered (clients) = in time + late", self.client["answered"], ended["in_time"] + ended["late"]),
            ("refused (clients) = refused", self.client["refused"], ended["refused"]),
            ("dropped and gone (clients) = dropped", self.client["dropped"] + left, ended["dropped"]),
            ("failed (clients) = failed", self.client["failed"], ended["failed"]),
            *((f"{name} (metrics) = {name} (plant)", ended[name], count) for name, count in self.plant.items()),
            *((f"items of {t} (metrics, plant)", self.metric("items", task=t), n) for t, n in self.served.items()),
        ]
        lost = [
            f"items of {task}: {n} served < answered" for task, n in self.served.items() if n < self.client["answered"]
        ]
        return [f"{what}: {one} ≠ {other}" for what, one, other in checks if one != other] + lost

    def table(self) -> str:
        """All counts, for people."""
        rows = [f"{name:<12}{self.client[name]:>10}" for name in get_args(Ending)]
        levels = [f"{name:<12}{count:>10}" for name, count in self.plant.items()]
        return "\n".join(["clients", *rows, "plant", *levels, f"offered     {self.metric('requests_offered'):>10}"])
