"""What serving puts together: the clock that a forecaster is told."""

from __future__ import annotations

import math

import pytest

from trimtab.observe.window import ObservationWindow
from trimtab.runtime.serving import second_began_s


@pytest.mark.parametrize("monotonic_s", [0.0, 12.0, 12.25, 4000.75])
def test_the_first_second_counted_is_the_one_that_the_clock_was_told(monotonic_s: float) -> None:
    wall_s = 1_700_000_000.5
    window = ObservationWindow(monotonic_s)
    window.offered(monotonic_s + 0.125)
    seen = window.close(monotonic_s + 3.0, {}, 0.0, None)
    assert seen.arrivals[0] == 1
    # The first second counted began as much before the wall clock was read as the plant's clock was past a second.
    assert wall_s - second_began_s(wall_s, monotonic_s) == pytest.approx(monotonic_s - math.floor(monotonic_s))
