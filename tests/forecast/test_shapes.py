"""Whatever the load is like: answers are sound, and cost no more than those of `last` by more than a twentieth."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import pytest

from trimtab.forecast import FORECASTERS, RateForecast, make_forecaster
from trimtab.workload.shapes import DAY_S, SHAPES, generate_shape
from trimtab.workload.trace import Trace

HORIZON_S, EVERY_S, LEARNS_S = 20, 10, 600
"""What is asked for is the highest second of so many, so often, and scored once so much was seen."""
QUANTILES = (0.5, 0.9, 0.95, 0.99)
WORSE = 1.05
"""A loss may be that of `last` times this."""
LEAST_RPS = 0.01
"""A loss as small as this is none: on an idle service `last` is always right, and 5 % of nothing is nothing."""
SECONDS, SEED = 7200, 5
COMPRESSED = {"daily": (SECONDS, 3600.0), "gaps": (SECONDS, 3600.0), "weekly": (SECONDS, 900.0)}
"""Shape → length, and length of a day: a day in an hour, a week in two hours less a bit."""
LONGER = {"clock-bursts": (4 * 3600, DAY_S)}
"""Long enough for bursts at two odd hours."""


@functools.cache
def trace(shape: str) -> Trace:
    seconds, day_s = (COMPRESSED | LONGER).get(shape, (SECONDS, DAY_S))
    return generate_shape(shape, seconds, SEED, day_s=day_s)


def asked(name: str, shape: str) -> Iterator[tuple[RateForecast | None, int]]:
    """What it says, and the highest second that then came; where a second that came is not known, it is not asked."""
    counts, forecaster = trace(shape).counts, make_forecaster(name, 0.0)
    for now in range(EVERY_S, len(counts) - HORIZON_S + 1, EVERY_S):
        forecaster.observe(counts[now - EVERY_S : now])
        came = [count for count in counts[now : now + HORIZON_S] if count is not None]
        if now >= LEARNS_S and len(came) == HORIZON_S:
            yield forecaster.forecast(HORIZON_S), max(came)


def highest(forecast: RateForecast) -> list[float]:
    """Its quantiles of the highest second."""
    return [(forecast if forecast.peak is None else forecast.peak).at(quantile) for quantile in QUANTILES]


def pinball(forecast: RateForecast, came: int) -> float:
    """Mean pinball loss of the quantiles, requests per second (R. Koenker & G. Bassett 1978)."""
    losses = [
        max(q * (came - said), (q - 1.0) * (came - said)) for q, said in zip(QUANTILES, highest(forecast), strict=True)
    ]
    return math.fsum(losses) / len(losses)


def check_sound(forecast: RateForecast) -> None:
    told = [forecast.quantiles_rps, *(each.quantiles for each in (forecast.peak, forecast.mean) if each is not None)]
    for quantiles in told:
        values = [value for _, value in sorted(quantiles.items())]
        assert values == sorted(values), "quantiles fall"
        assert all(0.0 <= value < math.inf for value in values), f"{values}"
    expected = [each.expected for each in (forecast.peak, forecast.mean) if each is not None]
    assert all(0.0 <= v < math.inf for v in (forecast.level_rps, forecast.burstiness, *expected)), f"{forecast}"


@functools.cache
def losses_of_last(shape: str) -> tuple[float | None, ...]:
    return tuple(None if said is None else pinball(said, came) for said, came in asked("last", shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "name",
    ["quantile", pytest.param("clock", marks=pytest.mark.skipif("clock" not in FORECASTERS, reason="not there yet"))],
)
def test_answers_are_sound_and_hardly_ever_worse_than_the_last_value(name: str, shape: str) -> None:
    ours, theirs, unanswered = [], [], 0
    for (said, came), last in zip(asked(name, shape), losses_of_last(shape), strict=True):
        if said is not None:
            check_sound(said)
        if said is not None and last is not None:
            ours.append(pinball(said, came))
            theirs.append(last)
        unanswered += said is None and last is not None
    assert len(ours) > 300
    assert unanswered <= 0.01 * len(ours), "it may be silent where `last` is, and just after a gap"
    loss, limit = math.fsum(ours) / len(ours), math.fsum(theirs) / len(theirs)
    assert loss <= max(WORSE * limit, LEAST_RPS), (
        f"{loss:.4g}/s, {loss / limit if limit else math.inf:.2f} times last's"
    )


def test_the_loss_is_the_pinball_loss() -> None:
    sure = RateForecast(20.0, 10.0, dict.fromkeys(QUANTILES, 10.0), 1.0, "a test")
    # Ten below costs the mean of the quantiles times ten; ten above the mean of what they lack to one.
    assert pinball(sure, 20) == pytest.approx(10 * (0.5 + 0.9 + 0.95 + 0.99) / 4)
    assert pinball(sure, 0) == pytest.approx(10 * (0.5 + 0.1 + 0.05 + 0.01) / 4)
