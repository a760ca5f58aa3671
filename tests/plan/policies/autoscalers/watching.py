"""A plant of the simplest kind for policies that observe: what is planned is there at once, and demand is in cores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from trimtab.observe.model import Observation, Outcomes, TaskObservation
from trimtab.plan.model import Plan, PlanRequest
from trimtab.plan.policies.base import ObservingPolicy, Rhythm


def seen(
    now_s: float,
    busy_core_s: Mapping[str, float],
    ready: Mapping[str, int],
    *,
    window_s: float = 1.0,
    arrivals: tuple[int | None, ...] = (1,),
    starting: int = 0,
) -> Observation:
    """An observation of so many core-seconds of work."""
    tasks = {
        name: TaskObservation(0, 0, ready[name], starting, ready[name], busy_core_s=busy)
        for name, busy in busy_core_s.items()
    }
    return Observation(now_s, window_s, arrivals, Outcomes(), tasks)


def watch(
    policy: ObservingPolicy,
    request: PlanRequest,
    seconds: int,
    demand_cores: Callable[[int], Mapping[str, float]],
    *,
    plan: Plan | None = None,
    rate_rps: Callable[[int], float] | None = None,
    start_s: float = 0.0,
) -> list[tuple[int, Plan]]:
    """Run a policy at its own rhythm, one observation a second.

    Args:
        policy: a fresh one.
        request: what is asked at every turn, with the plan in force.
        seconds: how long.
        demand_cores: second → task → cores that it would use if it had them.
        plan: in force at the start; None: the policy's own.
        rate_rps: second → the rate asked for, and what arrives; None: the request's.
        start_s: where the plant's clock starts.

    Returns:
        (second, plan) of the start and of every turn.
    """
    rhythm: Rhythm = policy.rhythm  # type: ignore[attr-defined]  # every one here has one
    in_force = plan or policy.propose(request).plan
    turns = [(0, in_force)]
    for second in range(1, seconds + 1):
        rate = request.rate_rps if rate_rps is None else rate_rps(second)
        busy = {name: min(cores, in_force.tasks[name].cores) for name, cores in demand_cores(second).items()}
        ready = {name: sum(a.replicas for a in task.allocations) for name, task in in_force.tasks.items()}
        policy.observe(seen(start_s + second, busy, ready, arrivals=(round(rate),)), in_force)
        if second % rhythm.every_s == 0:
            asked = replace(request, current=in_force, rate_rps=rate)
            answer = policy.propose(asked)
            assert policy.propose(asked) == answer, "asking changed the state"
            in_force = answer.plan
            turns.append((second, in_force))
    return turns
