"""Why this plan and no other: constraints without slack, and the best plan of other variants.

Both come from asking the same policy again, with one limit loosened or one variant taken away, so they hold for any
policy. That takes several times as long as planning: it is for people who ask, not for the control loop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import estimate
from trimtab.plan.latency import known_shapes
from trimtab.plan.model import LatencyModel, Plan, PlanEstimate, PlanRequest, PlanResult, RunnerUp, TaskPlan
from trimtab.plan.objective import cost_words, criteria, net_worth, rank
from trimtab.plan.policies.base import Policy
from trimtab.plan.words import latency_words
from trimtab.profile.model import Profile
from trimtab.units import format_duration, format_size

_LOOSER = 1.25
"""Factor by which a bound is loosened to see whether it binds; cores and replicas get one more."""
_LOWER_FLOOR = 0.01
"""Accuracy by which a floor is lowered to see whether it binds."""
_SAME = 1e-9
_SAME_HELD = 0.005
"""Shares of the rate closer than this are equal; they come from a search of limited width."""


def explain(policy: Policy, request: PlanRequest, result: PlanResult) -> PlanResult:
    """`result`, which `policy` gave for `request`, with its binding constraints and its runner-up filled in."""
    return replace(result, binding=_binding(policy, request, result), runner_up=_runner_up(policy, request, result))


def task_accuracies(request: PlanRequest, result: Plan, model: LatencyModel) -> dict[str, float]:
    """What each task is expected to bring to a product of accuracies at the plan's rate: of those that step down, that
    of the mix they serve with; of the others, the traffic-weighted mean.

    A mix is what the pipeline's accuracy falls by where that task alone may step down.
    """
    variants = {name: request.pipeline.tasks[name].variants for name in result.tasks}
    own = {
        name: math.fsum(a.share * variants[name][a.variant].accuracy for a in task.allocations)
        for name, task in result.tasks.items()
    }
    fixed = {name: replace(task, may_use=()) for name, task in result.tasks.items()}

    def whole(tasks: Mapping[str, TaskPlan]) -> float:
        return estimate(
            Plan(tasks, result.rate_rps),
            request.pipeline,
            request.profile,
            result.rate_rps,
            latency_model=model,
            arrival_scv=request.arrival_scv,
            service_ratio=request.service_ratio,
        ).accuracy

    dearest = whole(fixed)
    return {
        name: own[name] * whole({**fixed, name: task}) / dearest if task.may_use and dearest > 0.0 else own[name]
        for name, task in result.tasks.items()
    }


def _binding(policy: Policy, request: PlanRequest, result: PlanResult) -> tuple[str, ...]:
    """Constraints whose loosening improves the objective, and by how much."""
    found = []
    for what, question in _looser(request, result):
        gain = _gain(request, result, policy.propose(question))
        if gain:
            found.append(f"{what}, {gain}")
    return tuple(found) + (_steps_up(request, result) if "variant" in policy.decides else ())


def _looser(request: PlanRequest, result: PlanResult) -> list[tuple[str, PlanRequest]]:
    """The same question with one bound loosened each, and which, in words."""
    limits, pipeline = request.limits, request.pipeline
    slo, floor = pipeline.slo, pipeline.objective.accuracy_floor
    found = []
    if limits.cores < math.inf:
        words = f"cores: with {limits.cores + 1:g} instead of {limits.cores:g}"
        found.append((words, replace(request, limits=replace(limits, cores=limits.cores + 1))))
    later_s = slo.latency_s * _LOOSER
    words = f"SLO: with {format_duration(later_s)} instead of {format_duration(slo.latency_s)}"
    found.append((words, replace(request, pipeline=replace(pipeline, slo=replace(slo, latency_s=later_s)))))
    words = f"replicas per task: with {limits.replicas_per_task + 1} instead of {limits.replicas_per_task}"
    found.append((words, replace(request, limits=replace(limits, replicas_per_task=limits.replicas_per_task + 1))))
    if limits.replicas is not None:
        words = f"replicas of all tasks: with {limits.replicas + 1} instead of {limits.replicas}"
        found.append((words, replace(request, limits=replace(limits, replicas=limits.replicas + 1))))
    if result.feasible:
        words = f"rate: at {request.rate_rps / _LOOSER:.4g}/s instead of {request.rate_rps:.4g}/s"
        scenarios = tuple(replace(s, rate_rps=s.rate_rps / _LOOSER) for s in request.scenarios)
        if scenarios:
            words = f"rate: at {100 / _LOOSER:.3g} % of every scenario's"
        found.append((words, replace(request, rate_rps=request.rate_rps / _LOOSER, scenarios=scenarios)))
    if limits.memory_bytes is not None:
        more = int(limits.memory_bytes * _LOOSER)
        words = f"memory: with {format_size(more)} instead of {format_size(limits.memory_bytes)}"
        found.append((words, replace(request, limits=replace(limits, memory_bytes=more))))
    if limits.cost_per_hour is not None:
        dearer = limits.cost_per_hour * _LOOSER
        words = f"cost: with {dearer:.4g} instead of {limits.cost_per_hour:.4g} {pipeline.prices.currency} an hour"
        found.append((words, replace(request, limits=replace(limits, cost_per_hour=dearer))))
    if pipeline.objective.kind == "cheapest" and floor:
        lower = max(0.0, floor - _LOWER_FLOOR)
        words = f"accuracy floor: at {lower:.4f} instead of {floor:.4f}"
        objective = replace(pipeline.objective, accuracy_floor=lower)
        found.append((words, replace(request, pipeline=replace(pipeline, objective=objective))))
    return found


def _steps_up(request: PlanRequest, result: PlanResult) -> tuple[str, ...]:
    """For every task that is no mix: what the next more accurate variant would do in the place of the chosen one; where
    replicas step down, as their dearest one.
    """
    words = []
    for name, task_plan in result.plan.tasks.items():
        better = _next_better(request, name, task_plan)
        if better is None:
            continue
        allocation = task_plan.allocations[0]
        below = (allocation.variant, *task_plan.may_use) if task_plan.may_use else ()
        up = TaskPlan(name, (replace(allocation, variant=better),), resident=(better, *below), may_use=below)
        other = _judge(request, result, Plan({**result.plan.tasks, name: up}, result.plan.rate_rps))
        if other is not None and not other.meets_slo:
            takes = "cannot keep up"
            if other.latency_s < math.inf:
                takes = f"takes {format_duration(other.latency_s)} of {format_duration(request.pipeline.slo.latency_s)}"
            words.append(f"SLO: {name} with {better} on the same cores has accuracy {other.accuracy:.4f} but {takes}")
    return tuple(words)


def _next_better(request: PlanRequest, task: str, plan: TaskPlan) -> str | None:
    """The least accurate of the more accurate variants that are known at the chosen shape; None for a mix."""
    if len(plan.allocations) > 1:
        return None
    allocation, spec, known = plan.allocations[0], request.pipeline.tasks[task], request.profile.variants[task]
    better = [
        v.name
        for v in spec.by_accuracy()
        if v.accuracy > spec.variants[allocation.variant].accuracy
        and v.name in known
        and (allocation.cores, allocation.threads) in known_shapes(known[v.name])
    ]
    return better[-1] if better else None


def _judge(request: PlanRequest, result: PlanResult, plan: Plan) -> PlanEstimate | None:
    """What another plan would do, judged as the result was; None where no instance has the memory for it."""
    try:
        return estimate(
            plan,
            request.pipeline,
            request.profile,
            result.plan.rate_rps,
            latency_model=result.estimate.latency_model,
            arrival_scv=request.arrival_scv,
            service_ratio=request.service_ratio,
            current=request.current,
            in_place_cores=request.limits.in_place_cores,
        )
    except PlanRequestError:
        return None


def _first_difference(one: PlanResult, other: PlanResult) -> tuple[str, bool] | None:
    """The first criterion in which they differ by more than rounding, and whether the first is better; None: none."""
    ours, theirs = criteria(one.objective), criteria(other.objective)
    for name, value in ours.items():
        if abs(value - theirs[name]) > (_SAME_HELD if name == "held" else _SAME * max(1.0, abs(value))):
            return name, value > theirs[name]
    return None


def _gain(request: PlanRequest, result: PlanResult, other: PlanResult) -> str | None:
    """What the other answer has over this one, in the order in which things count; None: nothing."""
    difference = _first_difference(other, result)
    if difference is None or not difference[1]:
        return None
    name, mine, others = difference[0], result.objective.parts, other.objective.parts
    if name == "held":
        return f"{100 * others['held']:.0f} % of the rate would be held instead of {100 * mine['held']:.0f} %"
    if name in ("accuracy", "meets_floor"):
        return f"accuracy would be {others['accuracy']:.4f} instead of {mine['accuracy']:.4f}"
    if name == "cost":
        return f"{_cost(request, others)} would do instead of {_cost(request, mine)}"
    if name == "batches":
        return f"Σ batch would be {others['batches']:g} instead of {mine['batches']:g}"
    paid = f"accuracy {others['accuracy']:.4f}, {_cost(request, others)}"
    worth = _worth(request, other, result)
    if worth is not None:
        return f"the plan would be worth {worth} more ({paid})"
    return f"the objective would be {other.objective.value:.6g} instead of {result.objective.value:.6g} ({paid})"


def _worth(request: PlanRequest, better: PlanResult, worse: PlanResult) -> str | None:
    """How much more the better plan is worth, `1.5 cores`; None where the objective states no worth of accuracy."""
    objective = request.pipeline.objective
    more, less = net_worth(better.objective, objective), net_worth(worse.objective, objective)
    return None if more is None or less is None else cost_words(float(f"{more - less:.3g}"), request.pipeline)


def _cost(request: PlanRequest, parts: Mapping[str, float]) -> str:
    """What a plan costs; cores where some policies count them in units of their own."""
    return cost_words(parts["cost" if request.pipeline.objective.cost == "money" else "cores"], request.pipeline)


def _runner_up(policy: Policy, request: PlanRequest, result: PlanResult) -> RunnerUp | None:
    """The best plan that does without one of the variants that this one uses at some task.

    None when there is no other, or the policy leaves no choice.
    """
    best: PlanResult | None = None
    for task, used in result.plan.variants().items():
        for variant in used:
            try:
                other = policy.propose(replace(request, profile=_without(request.profile, task, variant)))
            except PlanRequestError:
                continue
            if best is None or rank(other.objective) > rank(best.objective):
                best = other
    if best is None:
        return None
    held = request.limits.in_place_cores and "adjust" in policy.decides and request.pipeline.objective.cost == "cores"
    return RunnerUp(best.plan, (_held_more(result, best) if held else None) or _why_lost(request, result, best))


def _held_more(result: PlanResult, other: PlanResult) -> str | None:
    """Why a plan of fewer cores may lose where cores follow the load: what its replicas hold too much on average
    (`plan.options`); None where that is not why.
    """
    difference = _first_difference(other, result)
    few, many = result.estimate, other.estimate
    if difference is None or not difference[1] or many.cores >= few.cores or many.replicas <= few.replicas:
        return None
    return (
        f"it takes fewer cores now, but has {many.replicas} replicas instead of {few.replicas}, whose cores follow the "
        "load in larger steps"
    )


def _without(profile: Profile, task: str, variant: str) -> Profile:
    """The profile as if the variant had not been measured. The pipeline keeps it, and so its accuracies their scale."""
    left = {name: known for name, known in profile.variants[task].items() if name != variant}
    return Profile({**profile.variants, task: left}, profile.provenance)


def _why_lost(request: PlanRequest, result: PlanResult, other: PlanResult) -> str:
    """The first thing in the objective's order in which the other plan is worse."""
    mine, others = result.objective.parts, other.objective.parts
    difference = _first_difference(other, result)
    if difference is None:
        return "it is no better in anything that counts"
    name, is_better = difference
    if is_better:
        return "by the objective it is better, but the policy does not choose by it"
    if name == "held":
        late = latency_words(other.estimate.latency_s)
        return f"it would miss the SLO ({late}) and hold {100 * others['held']:.0f} % of the rate"
    if name == "meets_floor":
        return f"its accuracy is {others['accuracy']:.4f}, below the floor of {others['floor']:.4f}"
    if name == "accuracy":
        less = 100 * (mine["accuracy"] - others["accuracy"])
        return f"its accuracy is {others['accuracy']:.4f}, {less:.2f} points less"
    if name == "cost":
        return f"it takes {_cost(request, others)} instead of {_cost(request, mine)}"
    if name == "batches" or (others["accuracy"], others["cost"]) == (mine["accuracy"], mine["cost"]):
        return f"its batches sum to {others['batches']:g} instead of {mine['batches']:g}"
    paid = f"accuracy {others['accuracy']:.4f}, {_cost(request, others)}"
    worth = _worth(request, result, other)
    if worth is not None:
        return f"it is worth {worth} less ({paid})"
    return f"its objective is {other.objective.value:.6g} instead of {result.objective.value:.6g} ({paid})"
