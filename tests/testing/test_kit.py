"""The kit accepts what is sound and catches what is not: each check is shown to fail."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from trimtab.control.protocols import Clock, Decision, Plant
from trimtab.errors import PlantError
from trimtab.forecast import QuantileForecaster, RateForecast
from trimtab.observe.model import Observation, Outcomes
from trimtab.plan.model import Limits, Plan, PlanRequest, PlanResult
from trimtab.plan.policies import make_policy
from trimtab.plan.policies.base import NEVER_AGAIN, Rhythm
from trimtab.plan.policies.settings import override
from trimtab.testing import (
    FakePlant,
    ManualClock,
    check_forecaster,
    check_plant,
    check_policy,
    make_chain,
    observation,
    settle,
)

CHAIN = make_chain({"a": {"s": (0.8, 0.004), "l": (0.95, 0.04)}})
PLANS = [
    make_policy(name).propose(PlanRequest(*CHAIN, 1.0, Limits(cores=2.0))).plan for name in ("trimtab", "cheapest")
]


def opener(make: Callable[[], FakePlant]) -> Callable[[], AbstractAsyncContextManager[Plant]]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Plant]:
        yield make()

    return opened


class CountingPlant(FakePlant):
    """Answers what is sent to it; `lost` requests vanish."""

    def __init__(self, lost: int = 0) -> None:
        super().__init__()
        self._pending, self._lost = 0, lost

    async def send(self, count: int) -> None:
        self._pending += count - self._lost

    async def observe(self) -> Observation:
        seen = replace(await super().observe(), outcomes=Outcomes(in_time=self._pending))
        self._pending = 0
        return seen


async def send(plant: Plant, count: int) -> None:
    assert isinstance(plant, CountingPlant)
    await plant.send(count)


def test_a_sound_plant_passes() -> None:
    asyncio.run(check_plant(opener(FakePlant), PLANS))
    asyncio.run(check_plant(opener(CountingPlant), PLANS, send=send))


class Forgetful(FakePlant):
    async def apply(self, decision: Decision) -> None:
        if decision.plan.cores > self.capabilities.cores:
            raise PlantError("too much")


class Greedy(FakePlant):
    async def apply(self, decision: Decision) -> None:
        self.plan = decision.plan


class Shaky(FakePlant):
    async def apply(self, decision: Decision) -> None:
        self.plan = decision.plan
        if decision.plan.cores > self.capabilities.cores:
            raise PlantError("too much")


class Backwards(FakePlant):
    async def observe(self) -> Observation:
        self._now_s -= 2.0
        return await super().observe()


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (Forgetful, "is reported"),
        (Greedy, "was accepted"),
        (Shaky, "no longer reported"),
        (Backwards, "went back"),
    ],
)
def test_an_unsound_plant_is_caught(plant: Callable[[], FakePlant], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        asyncio.run(check_plant(opener(plant), PLANS))


def test_lost_requests_and_a_single_plan_are_caught() -> None:
    with pytest.raises(AssertionError, match="19 ended"):
        asyncio.run(check_plant(opener(lambda: CountingPlant(lost=1)), PLANS, send=send))
    with pytest.raises(AssertionError, match="two different plans"):
        asyncio.run(check_plant(opener(FakePlant), PLANS[:1] * 2))


class _Faulty:
    """The default policy with something done to its answers."""

    decides = frozenset({"variant"})
    name = "faulty"

    def __init__(self, spoil: Callable[[PlanResult, PlanRequest], PlanResult]) -> None:
        self._spoil = spoil

    def propose(self, request: PlanRequest) -> PlanResult:
        return self._spoil(make_policy("trimtab").propose(request), request)


def _with_tasks(result: PlanResult, **changes: object) -> PlanResult:
    tasks = {
        name: replace(task, allocations=(replace(task.allocations[0], **changes),))  # type: ignore[arg-type]  # any field
        for name, task in result.plan.tasks.items()
    }
    return replace(result, plan=Plan(tasks, result.plan.rate_rps))


def _by_listing(result: PlanResult, request: PlanRequest) -> PlanResult:
    first = next(iter(request.pipeline.tasks["first"].variants))
    return result if first == "small" else _with_tasks(result, batch=2)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r, _: _with_tasks(r, replicas=50), "exceeds the limits"),
        (lambda r, _: _with_tasks(r, cores=4), "unmeasured shape"),
        (lambda r, _: _with_tasks(r, variant="other"), "unknown variant"),
        (lambda r, _: _with_tasks(r, share=0.5), "shares"),
        (lambda r, _: replace(r, feasible=True), "called feasible"),
        (lambda r, _: replace(r, steps=()), "no reason"),
        (lambda r, q: replace(r, plan=replace(r.plan, rate_rps=q.rate_rps + 1)), "another rate"),
        (_by_listing, "order of variants"),
    ],
)
def test_an_unsound_policy_is_caught(spoil: Callable[[PlanResult, PlanRequest], PlanResult], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_policy(_Faulty(spoil))


def test_a_policy_that_guesses_is_caught() -> None:
    def tolerant(request: PlanRequest) -> PlanResult:
        rate_rps = request.rate_rps if 0 <= request.rate_rps < 1e9 else 1.0
        return make_policy("trimtab").propose(replace(request, rate_rps=rate_rps))

    policy = _Faulty(lambda result, _: result)
    policy.propose = tolerant  # type: ignore[method-assign]  # the fault
    with pytest.raises(AssertionError, match="accepts a rate of nan"):
        check_policy(policy)


def _with(**stated: object) -> _Faulty:
    """The default policy, sound but for what it states about itself."""
    policy = _Faulty(lambda result, _: result)
    for name, value in stated.items():
        setattr(policy, name, value)
    return policy


@pytest.mark.parametrize(
    ("rhythm", "words"),
    [
        (30.0, "is a Rhythm, not float"),
        (Rhythm, "is a Rhythm, not type"),
        (Rhythm(every_s=0.0, horizon_s=1.0), r"every_s is 0.0"),
        (Rhythm(every_s=math.inf, horizon_s=1.0), r"every_s is inf"),
        (Rhythm(every_s="30", horizon_s=1.0), r"every_s is '30'"),  # type: ignore[arg-type]  # the fault
        (Rhythm(every_s=1.0, horizon_s=math.nan), r"horizon_s is nan"),
        (Rhythm(every_s=1.0, horizon_s=-2.0), r"horizon_s is -2.0"),
        (Rhythm(1.0, 1.0, quantile=0.0), r"quantile is 0.0, wanted a number above 0 and below 1"),
        (Rhythm(1.0, 1.0, quantile=1.0), r"quantile is 1.0"),
        (Rhythm(1.0, 1.0, margin=-0.1), r"margin is -0.1"),
        (Rhythm(1.0, 1.0, margin=math.inf), r"margin is inf"),
        (Rhythm(1.0, 1.0, skips=-1), r"skips are -1"),
        (Rhythm(1.0, 1.0, skips=1.5), r"skips are 1.5"),  # type: ignore[arg-type]  # the fault
        (Rhythm(1.0, 1.0, skips=True), r"skips are True"),
        (Rhythm(1.0, 1.0, first="most"), r"first is 'most'"),  # type: ignore[arg-type]  # the fault
        (Rhythm(1.0, 1.0, forecaster="lasts"), r"forecaster cannot be made: no such forecaster"),
        (Rhythm(1.0, 1.0, forecaster="trimtab.rng:generator"), r"forecaster cannot be made"),
    ],
)
def test_a_rhythm_without_meaning_is_caught(rhythm: object, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_policy(_with(rhythm=rhythm))


@pytest.mark.parametrize(
    "rhythm",
    [
        None,
        NEVER_AGAIN,
        Rhythm(30.0, 60.0, margin=0.1, forecaster="ewm", skips=4),
        Rhythm(1.0, 1.0, forecaster="oracle", first="peak"),
        Rhythm(1.0, 1.0, 0.95, forecaster="trimtab.forecast.quantile:QuantileForecaster"),
    ],
)
def test_a_rhythm_with_a_meaning_passes(rhythm: Rhythm | None) -> None:
    check_policy(_with(rhythm=rhythm))


@dataclass(frozen=True, slots=True)
class Careful:
    care: float = 0.5
    most: int | None = None


@dataclass
class Loose:
    care: float = 0.5


@pytest.mark.parametrize(
    ("defaults", "words"),
    [
        ({"care": 0.5}, "an instance of a dataclass"),
        (Careful, "an instance of a dataclass"),
        (Loose(), "Loose is not frozen"),
        (Careful(care=math.inf), "setting care is inf"),
        (Careful(care=math.nan), "setting care is nan"),
        (Careful(), "accepts a setting that it does not have"),
    ],
)
def test_settings_that_are_none_or_are_not_heeded_are_caught(defaults: object, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_policy(_with(defaults=defaults))


def test_settings_that_the_pipeline_may_override_pass() -> None:
    def heeding(result: PlanResult, request: PlanRequest) -> PlanResult:
        override(Careful(), request.pipeline, "faulty")
        return result

    policy = _Faulty(heeding)
    policy.defaults = Careful()  # type: ignore[attr-defined]  # as a policy with settings has it
    check_policy(policy)


class Sure(QuantileForecaster):
    def forecast(self, horizon_s: float) -> RateForecast | None:
        return RateForecast(horizon_s, 10.0, {0.5: 10.0}, 1.0, "always ten")


class Slow(QuantileForecaster):
    def observe(self, counts: Sequence[int | None]) -> None:
        super().observe([None if count is None else min(count, 25) for count in counts])


class Falling(QuantileForecaster):
    def forecast(self, horizon_s: float) -> RateForecast | None:
        found = super().forecast(horizon_s)
        return found and replace(found, quantiles_rps={0.5: 10.0, 0.9: 9.0})


@pytest.mark.parametrize(("make", "words"), [(Sure, "must say None"), (Slow, "taken for"), (Falling, "must not fall")])
def test_an_unsound_forecaster_is_caught(make: Callable[[], QuantileForecaster], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_forecaster(make)


def test_the_manual_clock_wakes_in_order_and_only_when_due() -> None:
    async def scenario() -> None:
        clock: Clock = ManualClock(5.0)
        woken: list[tuple[str, float]] = []

        async def sleeper(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append((name, clock.now_s()))

        tasks = [asyncio.create_task(sleeper(n, s)) for n, s in (("late", 3.0), ("soon", 1.0), ("now", 0.0))]
        await settle()
        assert woken == [("now", 5.0)]
        assert isinstance(clock, ManualClock)
        await clock.advance(2.0)
        assert woken[1:] == [("soon", 6.0)]
        await clock.advance(1.0)
        assert woken[2:] == [("late", 8.0)]
        await asyncio.gather(*tasks)

    asyncio.run(scenario())


def test_the_fake_plant_follows_its_script() -> None:
    async def scenario() -> None:
        plant = FakePlant([observation(1.0, 5), PlantError("gone")])
        assert (await plant.observe()).arrivals == (5,)
        with pytest.raises(PlantError, match="gone"):
            await plant.observe()
        assert (await plant.observe()).now_s == 2.0

    asyncio.run(scenario())
