"""What serving puts together: the clock that a forecaster is told, and what a turn tells the metrics."""

from __future__ import annotations

import math

import pytest
from tests.control.clocked import FAULT_S, Clocked

from trimtab.control.controller import Controller
from trimtab.control.journal import JournalEntry
from trimtab.observe.window import ObservationWindow
from trimtab.plan.model import Limits
from trimtab.plan.policies import make_policy
from trimtab.runtime.compiling import BackgroundCompiler
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.serving import _tell, second_began_s
from trimtab.testing import make_chain, observation

PIPELINE, PROFILE = make_chain({"a": {"s": (0.8, 0.004), "l": (0.95, 0.04)}})


@pytest.mark.parametrize("monotonic_s", [0.0, 12.0, 12.25, 4000.75])
def test_the_first_second_counted_is_the_one_that_the_clock_was_told(monotonic_s: float) -> None:
    wall_s = 1_700_000_000.5
    window = ObservationWindow(monotonic_s)
    window.offered(monotonic_s + 0.125)
    seen = window.close(monotonic_s + 3.0, {}, 0.0, None)
    assert seen.arrivals[0] == 1
    # The first second counted began as much before the wall clock was read as the plant's clock was past a second.
    assert wall_s - second_began_s(wall_s, monotonic_s) == pytest.approx(monotonic_s - math.floor(monotonic_s))


def test_a_turn_tells_the_forecast_and_whether_it_holds() -> None:
    controller = Controller(PIPELINE, PROFILE, make_policy("trimtab"), Clocked(), Limits(cores=1.0))
    metrics = Metrics(PIPELINE)
    tell = _tell(metrics, BackgroundCompiler(), controller)

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
