"""What the plant costs: cores held for a time, and the CPU time of those who hold none."""

from __future__ import annotations

import time

import pytest

from trimtab.runtime.cost import CostMeter


def test_cores_are_counted_while_they_are_held_and_others_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_s = [7.0]
    monkeypatch.setattr(time, "process_time", lambda: cpu_s[0])
    meter = CostMeter(100.0)
    meter.hold(101.0, 3)
    assert meter.total(103.0) == 6.0
    meter.hold(104.0, 1)
    cpu_s[0] += 0.5
    assert meter.total(106.0) == 9.0 + 2.0 + 0.5
    meter.others = lambda: 0.25
    assert meter.total(106.0) == 11.75
    assert meter.total(105.0) == 11.75  # a clock that goes back takes nothing away
