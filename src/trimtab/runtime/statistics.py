"""What was done since the start, by variant and for the pipeline: the figures of the protocol's statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trimtab.runtime.service import ModelStatistics, Spent
from trimtab.spec.model import Pipeline


@dataclass(slots=True)
class _Sum:
    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        self.count += count
        self.seconds += seconds

    def spent(self) -> Spent:
        return Spent(self.count, self.seconds)


@dataclass(slots=True)
class _Counts:
    last_s: float | None = None
    items: int = 0
    executions: int = 0
    success: _Sum = field(default_factory=_Sum)
    fail: _Sum = field(default_factory=_Sum)
    queue: _Sum = field(default_factory=_Sum)
    compute: _Sum = field(default_factory=_Sum)
    batches: dict[int, _Sum] = field(default_factory=dict)


class Statistics:
    """Running sums. `wall` tells Unix time; it is asked once an answer."""

    def __init__(self, pipeline: Pipeline, wall: Callable[[], float]) -> None:
        self._name = pipeline.name
        self._wall = wall
        self._pipeline = _Counts()
        self._variants: Mapping[tuple[str, str], _Counts] = {
            (task.name, variant): _Counts() for task in pipeline.tasks.values() for variant in task.variants
        }

    def answered(self, rows: int, response_s: float) -> None:
        """A request of `rows` rows was answered."""
        counts = self._pipeline
        counts.last_s = self._wall()
        counts.items += rows
        counts.executions += 1
        counts.success.add(response_s)

    def unanswered(self, after_s: float) -> None:
        """An offered request ended without an answer."""
        self._pipeline.fail.add(after_s)

    def served(self, task: str, variant: str, items: int, waited_s: float, service_s: float) -> None:
        """A batch was served: `items` of it first here, not by another replica; `waited_s` is the sum over them."""
        counts = self._variants[task, variant]
        counts.last_s = self._wall()
        counts.items += items
        counts.executions += 1
        counts.success.add(waited_s + items * service_s, items)
        counts.queue.add(waited_s, items)
        counts.compute.add(service_s * items, items)
        counts.batches.setdefault(items, _Sum()).add(service_s)

    def failed(self, task: str, variant: str, items: int, after_s: float) -> None:
        """A batch failed."""
        self._variants[task, variant].fail.add(items * after_s, items)

    def all(self) -> tuple[ModelStatistics, ...]:
        """The pipeline first, then every variant."""
        return (
            _figures(self._name, "", self._pipeline),
            *(_figures(task, variant, counts) for (task, variant), counts in self._variants.items()),
        )


def _figures(model: str, version: str, counts: _Counts) -> ModelStatistics:
    return ModelStatistics(
        model=model,
        version=version,
        last_inference_s=counts.last_s,
        items=counts.items,
        executions=counts.executions,
        success=counts.success.spent(),
        fail=counts.fail.spent(),
        queue=counts.queue.spent(),
        compute=counts.compute.spent(),
        batches={size: spent.spent() for size, spent in sorted(counts.batches.items())},
    )
