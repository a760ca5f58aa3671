"""The contracts of a forecaster and of a plant as functions that raise AssertionError with a sentence."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from trimtab.control.diff import diff
from trimtab.control.protocols import Decision, Plant
from trimtab.errors import PlantError
from trimtab.forecast.model import Forecaster, RateForecast
from trimtab.plan.model import Plan


def check_forecaster(make: Callable[[], Forecaster]) -> None:
    """See that a forecaster knows nothing at first, takes missing data, orders its quantiles and replays.

    Its forecasts must stay finite and not negative, change no state, follow a steady rate to within a half, and see a
    fivefold burst within three seconds.
    """
    assert make().forecast(5.0) is None, "a forecaster that saw nothing must say None"
    blind = make()
    blind.observe([None] * 30)
    assert blind.forecast(5.0) is None, "a forecaster that saw only gaps must say None"
    counts = [*([20, 19, 22, 18, 21] * 8), None, None, 20, *([0] * 10), *([20] * 20)]
    one, other = make(), make()
    for i, count in enumerate(counts):
        one.observe([count])
        _check_forecast(one.forecast(5.0), i)
    other.observe(counts)
    assert one.forecast(5.0) == other.forecast(5.0), "the same counts in other portions give another forecast"
    assert one.forecast(5.0) == one.forecast(5.0), "asking for a forecast changes the state"
    steady, burst = make(), make()
    steady.observe([20] * 60)
    burst.observe([20] * 60 + [100] * 3)
    calm, high = steady.forecast(5.0), burst.forecast(5.0)
    assert calm is not None, "a minute of data gives a forecast"
    assert high is not None, "a minute of data gives a forecast"
    assert 10.0 <= calm.level_rps <= 30.0, f"a steady 20/s is taken for {calm.level_rps:g}/s"
    assert high.level_rps >= 60.0, f"three seconds of 100/s after 20/s are taken for {high.level_rps:g}/s"


def _check_forecast(forecast: RateForecast | None, second: int) -> None:
    if forecast is None:
        return
    values = [rate for _, rate in sorted(forecast.quantiles_rps.items())]
    assert values, f"second {second}: a forecast has quantiles"
    assert values == sorted(values), f"second {second}: quantiles must not fall"
    assert all(0.0 <= v < math.inf for v in (*values, forecast.level_rps, forecast.burstiness)), (
        f"second {second}: {forecast} holds a value that is negative or not finite"
    )


async def check_plant(
    make: Callable[[], AbstractAsyncContextManager[Plant]],
    plans: Sequence[Plan],
    *,
    send: Callable[[Plant, int], Awaitable[None]] | None = None,
) -> None:
    """Drive a plant through its contract.

    A new plant reports no plan. Applying is idempotent and its plan is the one reported; a plan that asks for too much
    is refused with PlantError and the one before stays; capabilities do not change; time does not go back and windows
    follow each other; what was offered is what ended, with every request counted once.

    Args:
        make: opens a plant that has no plan yet; it is closed at the end.
        plans: two or more plans that differ and that the plant can carry out.
        send: sends so many requests to the plant and returns when all are answered or refused; None: no traffic.
    """
    assert len({plan.id for plan in plans}) >= 2, "check_plant needs at least two different plans"
    async with make() as plant:
        assert isinstance(plant, Plant), "a plant has capabilities, observe and apply"
        capabilities = plant.capabilities
        seen = await plant.observe()
        assert seen.plan_id is None, "a plant that was given no plan reports one"
        before: Plan | None = None
        for sequence, plan in enumerate([*plans, plans[0]]):
            decision = _decision(sequence, before, plan, seen.now_s)
            await plant.apply(decision)
            await plant.apply(replace(decision, changed=False, actions=()))
            last, seen = seen, await plant.observe()
            assert seen.now_s >= last.now_s, "the plant's clock went back"
            assert seen.plan_id == plan.id, f"plan {plan.id} was applied and {seen.plan_id} is reported"
            assert set(seen.tasks) <= set(plan.tasks), "a task is reported that the plan does not have"
            for name, task in seen.tasks.items():
                assert task.replicas_ready + task.replicas_starting >= 0, f"{name}: replicas are negative"
                assert min(task.queued, task.in_service) >= 0, f"{name}: items are negative"
            before = plan
        await _check_refusal(plant, plans[0])
        if send is not None:
            await _check_counts(plant, send)
        assert plant.capabilities == capabilities, "capabilities changed while the plant ran"


async def _check_refusal(plant: Plant, plan: Plan) -> None:
    name, task = next(iter(plan.tasks.items()))
    greedy = replace(task.allocations[0], replicas=plant.capabilities.cores + 1)
    tasks = {**plan.tasks, name: replace(task, allocations=(greedy, *task.allocations[1:]))}
    too_much = Plan(tasks, plan.rate_rps)
    now_s = (await plant.observe()).now_s
    try:
        await plant.apply(_decision(999, plan, too_much, now_s))
    except PlantError:
        assert (await plant.observe()).plan_id == plan.id, "after a refusal, the plan before is no longer reported"
        return
    raise AssertionError(f"a plan of {too_much.cores} cores was accepted by {plant.capabilities.cores} cores")


async def _check_counts(plant: Plant, send: Callable[[Plant, int], Awaitable[None]]) -> None:
    await plant.observe()
    await send(plant, 20)
    ended, waiting = 0, 1
    for _ in range(20):
        seen = await plant.observe()
        ended += seen.outcomes.ended
        waiting = sum(task.queued + task.in_service for task in seen.tasks.values())
        if waiting == 0:
            break
    assert waiting == 0, "every request was answered and items are still waiting"
    assert ended == 20, f"20 requests were sent and {ended} ended"


def _decision(sequence: int, before: Plan | None, plan: Plan, now_s: float) -> Decision:
    return Decision(
        sequence=sequence,
        now_s=now_s,
        plan=plan,
        feasible=True,
        changed=before is None or before.id != plan.id,
        actions=diff(before, plan),
        steps=(),
    )
