"""What a turn tells: the forecast, whether the profile fits, what the loop has done."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from tests.control.clocked import FAULT_S, Clocked

from trimtab.control.calibration import MISFIT_AFTER
from trimtab.control.controller import Controller
from trimtab.control.journal import JournalEntry
from trimtab.control.loop import LoopStats
from trimtab.observe.model import Observation, TaskObservation
from trimtab.plan.model import Limits
from trimtab.plan.policies import make_policy
from trimtab.runtime.compiling import BackgroundCompiler
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.turns import Turns
from trimtab.testing import make_chain, observation

PIPELINE, PROFILE = make_chain({"a": {"s": (0.8, 0.004), "l": (0.95, 0.04)}})


def test_a_turn_tells_the_forecast_and_whether_it_holds() -> None:
    controller = Controller(PIPELINE, PROFILE, make_policy("trimtab"), Clocked(), Limits(cores=1.0))
    metrics = Metrics(PIPELINE)
    tell = Turns(metrics, BackgroundCompiler(), controller, PIPELINE.tasks).told

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"trimtab_{name}", {"pipeline": PIPELINE.name, **labels})

    tell(JournalEntry(None, controller.start(0.0)), 0.001)
    assert value("forecast_calibrated") is None  # nothing was forecast yet
    for second in range(1, FAULT_S):
        seen = observation(float(second), 7)
        tell(JournalEntry(seen, controller.step(seen)), 0.001)
    assert value("forecast_calibrated") == 1
    assert value("forecast_peak_requests_per_second", quantile="0.5") == 7
    assert value("forecast_peak_requests_per_second", quantile="0.99") == 14
    seen = observation(float(FAULT_S), 7)
    tell(JournalEntry(seen, controller.step(seen)), 0.001)
    assert value("forecast_calibrated") == 0


def served(second: int, ratio: float) -> Observation:
    task = TaskObservation(0, 0, 1, 0, 1, batches=20, service_ratio=ratio)
    return replace(observation(float(second), 7), tasks={"a": task})


def test_a_profile_that_does_not_fit_is_a_gauge_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    controller = Controller(PIPELINE, PROFILE, make_policy("trimtab"), Clocked(), Limits(cores=1.0))
    metrics = Metrics(PIPELINE)
    turns = Turns(metrics, BackgroundCompiler(), controller, PIPELINE.tasks)

    def fits() -> float | None:
        return metrics.registry.get_sample_value("trimtab_profile_fits", {"pipeline": PIPELINE.name, "task": "a"})

    caplog.set_level(logging.INFO)
    assert fits() is None
    told = []
    for second, ratio in enumerate([1.0] * 10 + [1.6] * 2 * MISFIT_AFTER + [1.0] * 2 * MISFIT_AFTER):
        turns.told(JournalEntry(served(second, ratio), None, "no decision"), 0.001)
        told.append(fits())
    assert told[10 + MISFIT_AFTER - 1] == 1
    assert told[10 + 2 * MISFIT_AFTER - 1] == 0
    assert told[-1] == 1
    said = [record.getMessage() for record in caplog.records]
    assert [words for words in said if "no longer fits" in words] == [
        "the profile no longer fits: task a takes 1.6 times as long as profiled; measure it again: trimtab profile"
    ]
    assert [words for words in said if "fits again" in words] == ["the profile of task a fits again"]
    labels = {"pipeline": PIPELINE.name, "task": "a"}
    assert metrics.registry.get_sample_value("trimtab_service_time_ratio", labels) == pytest.approx(1.0, abs=0.02)


def test_what_the_loop_has_done_is_counted_once() -> None:
    controller = Controller(PIPELINE, PROFILE, make_policy("trimtab"), Clocked(), Limits(cores=1.0))
    metrics, stats = Metrics(PIPELINE), LoopStats()
    turns = Turns(metrics, BackgroundCompiler(), controller, PIPELINE.tasks)
    entry = JournalEntry(None, controller.start(0.0))
    turns.told(entry, 0.001)
    turns.stats = stats
    stats.resumed, stats.overruns = 1, 2
    turns.told(entry, 0.001)
    stats.overruns = 3
    turns.told(entry, 0.001)
    turns.told(entry, 0.001)
    names = ("controller_resumed_total", "decision_overruns_total", "apply_errors_total")
    found = [metrics.registry.get_sample_value(f"trimtab_{name}", {"pipeline": PIPELINE.name}) for name in names]
    assert found == [1, 3, 0]
