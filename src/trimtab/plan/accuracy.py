"""How accurate a pipeline is, given how its tasks' traffic is shared out over their variants; see `AccuracyModel`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

from trimtab.plan.model import Plan
from trimtab.spec.model import Pipeline

Shares = Mapping[str, Mapping[str, float]]
"""Task → variant → share of the task's traffic; the shares of a task sum to 1."""


def shares_of(plan: Plan) -> dict[str, dict[str, float]]:
    """Task → variant → share, of a plan; groups of the same variant add up."""
    shares: dict[str, dict[str, float]] = {name: {} for name in plan.tasks}
    for name, task in plan.tasks.items():
        for a in task.allocations:
            shares[name][a.variant] = shares[name].get(a.variant, 0.0) + a.share
    return shares


def pipeline_accuracy(pipeline: Pipeline, shares: Shares) -> float:
    """The pipeline's accuracy by its own model; a task's accuracy is the traffic-weighted mean over its variants.

    `product`: the product of the tasks' accuracies (PAS as a fraction; IPA, JSys 2024, §3). `rank-sum`: the sum of the
    tasks' ranks ÷ (variants - 1), between 0 and the number of tasks (IPA's first version, arXiv 2308.12871v1).
    `measured`: the table's value, weighted over all combinations by the product of their shares, since each task routes
    for itself.
    """
    if pipeline.accuracy.kind == "measured":
        return _measured(pipeline, shares)
    means = []
    for task in pipeline.tasks:
        scores = variant_scores(pipeline, task)
        means.append(math.fsum(share * scores[variant] for variant, share in shares[task].items()))
    return math.prod(means) if pipeline.accuracy.kind == "product" else math.fsum(means)


def variant_scores(pipeline: Pipeline, task: str) -> dict[str, float]:
    """Variant → what it gives the pipeline's accuracy: a factor for `product`, a summand for `rank-sum`.

    For `rank-sum` it is the rank by accuracy, equal ones by name, ÷ (variants - 1): 0 for the least accurate variant, 1
    for the most accurate and for a single one.

    Raises:
        ValueError: the accuracy is `measured`, which has no parts by task.
    """
    variants = pipeline.tasks[task].variants
    if pipeline.accuracy.kind == "measured":
        raise ValueError("an accuracy measured for whole pipelines has no parts by task")
    if pipeline.accuracy.kind == "product":
        return {name: variant.accuracy for name, variant in variants.items()}
    ranked = sorted(variants, key=lambda name: (variants[name].accuracy, name))
    last = len(ranked) - 1
    return {name: rank / last if last else 1.0 for rank, name in enumerate(ranked)}


def highest_accuracy(pipeline: Pipeline) -> float:
    """The accuracy of the most accurate variants together, by the pipeline's own model."""
    if pipeline.accuracy.kind == "measured":
        return max(pipeline.accuracy.table.values())
    best = (max(variant_scores(pipeline, task).values()) for task in pipeline.tasks)
    return math.prod(best) if pipeline.accuracy.kind == "product" else math.fsum(best)


def coupled_tasks(pipeline: Pipeline) -> tuple[str, ...]:
    """Tasks whose variants reach beyond themselves: into the rate of another task, or into a measured accuracy."""
    if pipeline.accuracy.kind == "measured":
        return tuple(pipeline.tasks)
    return tuple(
        name
        for name, task in pipeline.tasks.items()
        if any(
            edge.upstream == name and any(edge.fan_out_of(v) != edge.fan_out for v in task.variants)
            for other in pipeline.tasks.values()
            for edge in other.after
        )
    )


def _measured(pipeline: Pipeline, shares: Shares) -> float:
    combinations = itertools.product(*(shares[task].items() for task in pipeline.tasks))
    return math.fsum(
        pipeline.accuracy.table[tuple(variant for variant, _ in combination)]
        * math.prod(share for _, share in combination)
        for combination in combinations
    )
