"""The control loop that a policy states, its forecaster, and what a plan may hold."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from tests.control.clocked import CLOCKED, Clocked

from trimtab.control.settings import (
    ControllerSettings,
    fitted_digest,
    forecaster_for,
    forecaster_name,
    limits_of,
    settings_for,
)
from trimtab.errors import ForecastError
from trimtab.forecast import DEFAULT_FORECASTER
from trimtab.plan.model import Limits
from trimtab.plan.policies import POLICIES, make_policy
from trimtab.plan.policies.base import NEVER_AGAIN, Rhythm
from trimtab.plan.policies.trimtab import TrimtabPolicy
from trimtab.spec.model import Budget
from trimtab.testing import CAPABLE, make_chain

PIPELINE, _ = make_chain({"a": {"s": (0.8, 0.004)}})


class Stated(TrimtabPolicy):
    name = "stated"

    def __init__(self, rhythm: Rhythm | None) -> None:
        super().__init__()
        self.rhythm = rhythm


def test_a_policy_without_a_rhythm_follows_trimtabs_own_loop() -> None:
    assert settings_for(make_policy("trimtab")) == ControllerSettings()
    assert settings_for(Stated(None), 12.5) == ControllerSettings(start_rate_rps=12.5)
    assert ControllerSettings().hysteresis is not None
    assert ControllerSettings().at_once


def test_a_rhythm_is_the_loop_and_the_policys_word_is_taken() -> None:
    rhythm = Rhythm(every_s=7.0, horizon_s=11.0, quantile=0.9, margin=0.3, forecaster="last", skips=2)
    assert settings_for(Stated(rhythm), 5.0) == ControllerSettings(
        start_rate_rps=5.0,
        replan_s=7.0,
        adjust_s=None,
        horizon_s=11.0,
        rate_quantile=0.9,
        headroom=0.3,
        surge_quantile=None,
        reactive_floor=False,
        own_deadlines=False,
        permitted_share=1.0,
        hysteresis=None,
        at_once=False,
        skips=2,
    )


def test_infadapters_loop_is_the_published_one() -> None:
    settings = settings_for(make_policy("infadapter"))
    assert (settings.replan_s, settings.horizon_s, settings.headroom, settings.skips) == (30.0, 60.0, 0.1, 4)
    assert forecaster_for(make_policy("infadapter")).name == "ewm"


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_not_a_matter_of_rhythm_stays_the_same_for_all(name: str) -> None:
    settings, own = settings_for(make_policy(name), 3.0), ControllerSettings()
    assert settings.start_rate_rps == 3.0
    assert (settings.calibrate, settings.backlog_share, settings.drain_s) == (
        own.calibrate,
        own.backlog_share,
        own.drain_s,
    )


def test_a_plan_that_is_made_once_is_not_asked_for_again() -> None:
    settings = settings_for(Stated(NEVER_AGAIN))
    assert settings.replan_s > 30 * 365 * 86400.0
    assert not settings.at_once


def test_the_forecaster_is_the_one_named_or_the_policys_or_the_default() -> None:
    states, leaves = Stated(Rhythm(1.0, 1.0, forecaster="last")), Stated(Rhythm(1.0, 1.0))
    assert forecaster_for(states).name == "last"
    assert forecaster_for(states, "max-window").name == "max-window"
    assert forecaster_for(leaves).name == DEFAULT_FORECASTER
    assert forecaster_for(Stated(None)).name == DEFAULT_FORECASTER
    assert forecaster_for(Stated(None), "trimtab.forecast.windowed:EwmForecaster").name == "ewm"
    assert forecaster_for(states) is not forecaster_for(states)


def test_the_clock_is_told_to_a_forecaster_that_learns_it() -> None:
    made = forecaster_for(Stated(None), CLOCKED, 86_400.0)
    assert isinstance(made, Clocked)
    assert made.clocks == [86_400.0]
    unclocked = forecaster_for(Stated(Rhythm(1.0, 1.0, forecaster=CLOCKED)))
    assert isinstance(unclocked, Clocked)
    assert unclocked.clocks == []
    assert forecaster_for(Stated(None), "last", 86_400.0).name == "last"


def test_the_name_is_what_the_forecaster_is_made_by() -> None:
    states = Stated(Rhythm(1.0, 1.0, forecaster="last"))
    assert [forecaster_name(states), forecaster_name(states, "week.json")] == ["last", "week.json"]
    assert forecaster_name(Stated(None)) == DEFAULT_FORECASTER


def test_the_digest_of_a_file_is_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "week.json"
    with pytest.raises(ForecastError, match=r"week\.json: the file cannot be read"):
        fitted_digest(str(path))
    path.write_text("{}")
    assert fitted_digest(str(path)) == hashlib.sha256(b"{}").hexdigest()
    assert fitted_digest("last") is None


@pytest.mark.parametrize("policy", [Stated(Rhythm(1.0, 1.0, forecaster="lasts")), Stated(None)])
def test_a_forecaster_that_does_not_exist_is_an_error(policy: Stated) -> None:
    name = "lasts" if policy.rhythm is None else None
    with pytest.raises(ForecastError, match=r"no such forecaster.*\n.*did you mean 'last'"):
        forecaster_for(policy, name)


@pytest.mark.parametrize(
    ("budget", "limits"),
    [
        (Budget(), Limits(cores=2.0)),
        (Budget(cores=1.5), Limits(cores=1.5)),
        (Budget(cores=64.0), Limits(cores=2.0)),
        (Budget(memory_bytes=10), Limits(cores=2.0, memory_bytes=10)),
        (Budget(replicas_per_task=3), Limits(cores=2.0, replicas_per_task=3)),
        (Budget(replicas=5, cost_per_hour=0.7), Limits(cores=2.0, replicas=5, cost_per_hour=0.7)),
    ],
)
def test_limits_take_all_of_the_budget(budget: Budget, limits: Limits) -> None:
    assert limits_of(replace(PIPELINE, budget=budget), CAPABLE) == replace(limits, in_place_cores=True)


@pytest.mark.parametrize(
    ("budget_bytes", "plant_bytes", "expected"), [(None, None, None), (7, None, 7), (None, 9, 9), (7, 9, 7), (9, 7, 7)]
)
def test_memory_is_the_tighter_of_the_two(
    budget_bytes: int | None, plant_bytes: int | None, expected: int | None
) -> None:
    pipeline = replace(PIPELINE, budget=Budget(memory_bytes=budget_bytes))
    assert limits_of(pipeline, replace(CAPABLE, memory_bytes=plant_bytes)).memory_bytes == expected


def test_what_a_plant_cannot_do_is_a_limit() -> None:
    poor = limits_of(PIPELINE, replace(CAPABLE, in_place_variants=False, max_allocations_per_task=4))
    assert (poor.in_place_variants, poor.max_allocations_per_task) == (False, 4)
    assert limits_of(PIPELINE, CAPABLE).in_place_variants
    slow = limits_of(PIPELINE, replace(CAPABLE, in_place_cores=False, start_s=7.0))
    assert (slow.in_place_cores, slow.start_s) == (False, 7.0)
