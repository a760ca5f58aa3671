"""Plans and their parts in words, for steps, tables and journals."""

from __future__ import annotations

import math

from trimtab.plan.model import Allocation, Plan, PlanEstimate
from trimtab.spec.model import Pipeline
from trimtab.units import format_duration


def allocation_words(allocation: Allocation) -> str:
    """`medium, 2 × 1 core, batch 4`; with its share where it is not all, and with what it is rented as.

    `batch 1–8` is planned with 1 and may grow to 8.
    """
    share = f" ({100 * allocation.share:.3g} %)" if allocation.share < 1.0 else ""
    rented = f" on {allocation.instance}" if allocation.instance else ""
    threads = f" ({allocation.threads} threads)" if allocation.threads > 1 else ""
    cores = f"{allocation.cores} core{'' if allocation.cores == 1 else 's'}"
    batch = batch_words(allocation)
    return f"{allocation.variant}{share}, {allocation.replicas} × {cores}{threads}{rented}, batch {batch}"


def batch_words(allocation: Allocation) -> str:
    """`4`; `1–8` where the dispatcher may form larger batches than was planned for."""
    planned, most = allocation.batch, allocation.batch_limit
    return f"{planned}–{most}" if most > planned else f"{planned}"


def plan_words(plan: Plan) -> str:
    """`locate: small, 1 × 1 core, batch 1; read: large, 1 × 1 core, batch 1`."""
    return "; ".join(
        f"{name}: {' + '.join(allocation_words(a) for a in task.allocations)}" for name, task in plan.tasks.items()
    )


def latency_words(latency_s: float) -> str:
    """`310 ms`; `unbounded` where some task cannot keep up."""
    return "unbounded" if math.isinf(latency_s) else format_duration(latency_s)


def estimate_words(estimate: PlanEstimate, pipeline: Pipeline, rate_rps: float) -> str:
    """`at 12/s p99 310 ms of 400 ms (tail model), accuracy 0.9312, 2 cores`; with cost and load time where known."""
    slo = pipeline.slo
    cost, load = "", ""
    if estimate.cost_per_hour is not None:
        cost = f", {estimate.cost_per_hour:.4g} {pipeline.prices.currency} an hour"
    if estimate.load_s > 0.0:
        load = f", {format_duration(estimate.load_s)} to load"
    return (
        f"at {rate_rps:.4g}/s p{100 * slo.quantile:g} {latency_words(estimate.latency_s)} of "
        f"{format_duration(slo.latency_s)} ({estimate.latency_model} model), accuracy {estimate.accuracy:.4f}, "
        f"{estimate.cores} core{'' if estimate.cores == 1 else 's'}{cost}{load}"
    )
