"""Why this plan and no other: constraints without slack, and the best plan of other variants.

Both come from asking the same policy again, with one limit loosened or one variant taken away, so they hold for any
policy. That takes several times as long as planning: it is for people who ask, not for the control loop.
"""

from __future__ import annotations

import math
from dataclasses import replace

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import estimate
from trimtab.plan.model import ObjectiveValue, Plan, PlanRequest, PlanResult, RunnerUp
from trimtab.plan.objective import rank
from trimtab.plan.policies.base import Policy
from trimtab.plan.words import latency_words
from trimtab.units import format_duration, format_size

_LOOSER = 1.25
"""Factor by which a bound is loosened to see whether it binds; cores and replicas get one more."""
_SAME = 1e-9
_SAME_HELD = 0.005
"""Shares of the rate closer than this are equal; they come from a search of limited width."""


def explain(policy: Policy, request: PlanRequest, result: PlanResult) -> PlanResult:
    """`result`, which `policy` gave for `request`, with its binding constraints and its runner-up filled in."""
    return replace(result, binding=_binding(policy, request, result), runner_up=_runner_up(policy, request, result))


def _binding(policy: Policy, request: PlanRequest, result: PlanResult) -> tuple[str, ...]:
    """Constraints whose loosening improves the objective, and by how much."""
    limits, slo = request.limits, request.pipeline.slo
    looser: list[tuple[str, PlanRequest]] = [
        (
            f"cores: with {limits.cores + 1:g} instead of {limits.cores:g}",
            replace(request, limits=replace(limits, cores=limits.cores + 1)),
        ),
        (
            f"SLO: with {format_duration(slo.latency_s * _LOOSER)} instead of {format_duration(slo.latency_s)}",
            replace(request, pipeline=replace(request.pipeline, slo=replace(slo, latency_s=slo.latency_s * _LOOSER))),
        ),
        (
            f"replicas per task: with {limits.replicas_per_task + 1} instead of {limits.replicas_per_task}",
            replace(request, limits=replace(limits, replicas_per_task=limits.replicas_per_task + 1)),
        ),
    ]
    if result.feasible:
        calmer = request.rate_rps / _LOOSER
        words = f"rate: at {calmer:.4g}/s instead of {request.rate_rps:.4g}/s"
        looser.append((words, replace(request, rate_rps=calmer)))
    if limits.memory_bytes is not None:
        more = int(limits.memory_bytes * _LOOSER)
        looser.append(
            (
                f"memory: with {format_size(more)} instead of {format_size(limits.memory_bytes)}",
                replace(request, limits=replace(limits, memory_bytes=more)),
            )
        )
    found = []
    for what, question in looser:
        gain = _gain(result, policy.propose(question))
        if gain:
            found.append(f"{what}, {gain}")
    return tuple(found) + (_steps_up(request, result) if "variant" in policy.decides else ())


def _steps_up(request: PlanRequest, result: PlanResult) -> tuple[str, ...]:
    """For every task: what the next more accurate variant would do in the place of the chosen one."""
    words = []
    for name, task_plan in result.plan.tasks.items():
        allocation, task = task_plan.allocations[0], request.pipeline.tasks[name]
        shape = (allocation.cores, allocation.threads)
        better = [
            v
            for v in task.by_accuracy()
            if v.accuracy > task.variants[allocation.variant].accuracy
            and v.name in request.profile.variants[name]
            and shape in request.profile.variants[name][v.name].shapes()
        ]
        if not better or len(task_plan.allocations) > 1:
            continue
        up = replace(task_plan, allocations=(replace(allocation, variant=better[-1].name),))
        other = estimate(
            Plan({**result.plan.tasks, name: up}, request.rate_rps),
            request.pipeline,
            request.profile,
            request.rate_rps,
            latency_model=result.estimate.latency_model,
            arrival_scv=request.arrival_scv,
            service_ratio=request.service_ratio,
        )
        if not other.meets_slo:
            takes = "cannot keep up"
            if other.latency_s < math.inf:
                takes = f"takes {format_duration(other.latency_s)} of {format_duration(request.pipeline.slo.latency_s)}"
            words.append(
                f"SLO: {name} with {better[-1].name} on the same cores has accuracy {other.accuracy:.4f} but {takes}"
            )
    return tuple(words)


def _gain(result: PlanResult, other: PlanResult) -> str | None:
    """What the other answer has over this one, in the order in which things count; None: nothing."""
    mine, others = result.objective, other.objective
    if not _is_better(others, mine):
        return None
    if others.parts["held"] > mine.parts["held"] + _SAME_HELD:
        return (
            f"{100 * others.parts['held']:.0f} % of the rate would be held instead of {100 * mine.parts['held']:.0f} %"
        )
    if abs(others.parts["accuracy"] - mine.parts["accuracy"]) > _SAME:
        return f"accuracy would be {others.parts['accuracy']:.4f} instead of {mine.parts['accuracy']:.4f}"
    if others.parts["cores"] < mine.parts["cores"]:
        return f"{others.parts['cores']:g} cores would do instead of {mine.parts['cores']:g}"
    return f"Σ batch would be {others.parts['batches']:g} instead of {mine.parts['batches']:g}"


def _is_better(one: ObjectiveValue, other: ObjectiveValue) -> bool:
    """Whether the first is better than the second by more than rounding."""
    for i, (a, b) in enumerate(zip(rank(one), rank(other), strict=True)):
        if abs(a - b) > (_SAME if i else _SAME_HELD):
            return a > b
    return False


def _runner_up(policy: Policy, request: PlanRequest, result: PlanResult) -> RunnerUp | None:
    """The best plan that differs in some task's variants: the best over tasks of the plan without what it uses there.

    None when there is no other, or the policy leaves no choice.
    """
    best: PlanResult | None = None
    for name, used in result.plan.variants().items():
        task = request.pipeline.tasks[name]
        left = {v: variant for v, variant in task.variants.items() if v not in used}
        if not left:
            continue
        tasks = {**request.pipeline.tasks, name: replace(task, variants=left)}
        try:
            other = policy.propose(replace(request, pipeline=replace(request.pipeline, tasks=tasks)))
        except PlanRequestError:
            continue
        if best is None or rank(other.objective) > rank(best.objective):
            best = other
    return None if best is None else RunnerUp(best.plan, _why_lost(result, best))


def _why_lost(result: PlanResult, other: PlanResult) -> str:
    """The first thing in the objective's order in which the other plan is worse."""
    mine, others = result.objective.parts, other.objective.parts
    if _is_better(other.objective, result.objective):
        return "by the objective it is better, but the policy does not choose by it"
    if others["held"] < mine["held"] - _SAME_HELD:
        late = latency_words(other.estimate.latency_s)
        return f"it would miss the SLO ({late}) and hold {100 * others['held']:.0f} % of the rate"
    if result.objective.kind == "weighted":
        if others["accuracy"] == mine["accuracy"] and others["cores"] == mine["cores"]:
            return f"its batches sum to {others['batches']:g} instead of {mine['batches']:g}"
        return (
            f"its objective is {other.objective.value:.6g} instead of {result.objective.value:.6g} "
            f"(accuracy {others['accuracy']:.4f}, {others['cores']:g} cores)"
        )
    if abs(others["accuracy"] - mine["accuracy"]) > _SAME:
        return (
            f"its accuracy is {others['accuracy']:.4f}, {100 * (mine['accuracy'] - others['accuracy']):.2f} points less"
        )
    if others["cores"] > mine["cores"]:
        return f"it takes {others['cores']:g} cores instead of {mine['cores']:g}"
    return "it is no better in anything that counts"
