"""A chain and its profile from a few numbers, for tests and experiments: no files, no measuring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.spec.model import Budget, Edge, Objective, Pipeline, Slo, Task, Variant


def make_chain(
    tasks: Mapping[str, Mapping[str, tuple[float, float]]],
    *,
    slo_s: float = 0.4,
    quantile: float = 0.99,
    cores: float | None = None,
    memory_bytes: int | None = None,
    objective: Objective | None = None,
    shapes: Sequence[tuple[int, int]] = ((1, 1),),
    batches: Sequence[int] = (1, 2, 4, 8),
    batch_gain: float = 0.9,
    variant_bytes: int | None = None,
    fan_out: float = 1.0,
) -> tuple[Pipeline, Profile]:
    """A pipeline that runs `tasks` one after another, and the profile of its variants.

    Args:
        tasks: task → variant → (accuracy, mean service time in seconds of one request on one core).
        slo_s: bound of the SLO.
        quantile: quantile of the SLO.
        cores: core budget.
        memory_bytes: memory budget.
        objective: the pipeline's objective; the default one when None.
        shapes: measured (cores, threads). t threads make one inference √t times as fast.
        batches: measured batch sizes.
        batch_gain: a batch of b takes 1 - gain + gain·b times what one request takes.
        variant_bytes: memory of each variant.
        fan_out: items that each answer of a task gives the next one.
    """
    specs: dict[str, Task] = {}
    profiles: dict[str, dict[str, VariantProfile]] = {}
    before: str | None = None
    for name, variants in tasks.items():
        specs[name] = Task(
            name=name,
            variants={v: Variant(v, Path(f"{v}.onnx"), accuracy) for v, (accuracy, _) in variants.items()},
            after=() if before is None else (Edge(before, fan_out),),
        )
        profiles[name] = {
            variant: VariantProfile(
                task=name,
                variant=variant,
                points=tuple(
                    _point(seconds / threads**0.5, cores, threads, batch, batch_gain)
                    for cores, threads in shapes
                    for batch in batches
                ),
                memory_bytes=variant_bytes,
            )
            for variant, (_, seconds) in variants.items()
        }
        before = name
    pipeline = Pipeline(
        name="chain",
        tasks=specs,
        slo=Slo(slo_s, quantile),
        budget=Budget(cores=cores, memory_bytes=memory_bytes),
        objective=objective or Objective(),
    )
    return pipeline, Profile(profiles)


def _point(seconds: float, cores: int, threads: int, batch: int, gain: float) -> ServicePoint:
    mean_s = seconds * (1.0 - gain + gain * batch)
    quantiles_s = {0.5: mean_s, 0.9: 1.05 * mean_s, 0.95: 1.1 * mean_s, 0.99: 1.2 * mean_s}
    return ServicePoint(cores, threads, batch, mean_s, quantiles_s, samples=100)
