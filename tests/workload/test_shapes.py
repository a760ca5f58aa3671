"""Named shapes: each has the mean, the form and the missing seconds that its name promises."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from trimtab.errors import TraceError
from trimtab.workload.shapes import DAY_S, SHAPES, generate_shape, shape_rates

HOUR = 3600


@pytest.mark.parametrize("name", SHAPES)
def test_a_seed_fixes_the_trace_and_counts_follow_the_rates(name: str) -> None:
    first, same, other = (generate_shape(name, 2 * HOUR, seed, day_s=HOUR) for seed in (7, 7, 8))
    assert first == same
    assert (first.counts == other.counts) == (name == "zeros")
    assert first.name == name
    rates = shape_rates(name, 2 * HOUR, 7, day_s=HOUR)
    assert [count is None for count in first.counts] == np.isnan(rates).tolist()
    counts = np.array([float("nan") if count is None else count for count in first.counts])
    expected = np.nansum(rates)
    assert np.nansum(counts) == pytest.approx(expected, abs=5.0 * np.sqrt(expected) + 1e-9)  # Poisson
    assert bool(first.missing) == (name == "gaps")


def test_flat_high_and_zeros_have_one_rate() -> None:
    flat, high = generate_shape("flat", 20_000, 1).describe(), generate_shape("high", 20_000, 1).describe()
    assert flat.mean_rps == pytest.approx(50.0, rel=0.005)
    assert flat.dispersion == pytest.approx(1.0, abs=0.05)
    assert high.mean_rps == pytest.approx(100_000.0, rel=0.02)
    assert set(generate_shape("zeros", 100, 1).counts) == {0}
    assert generate_shape("flat", 20_000, 1, usual_rps=4.0).describe().mean_rps == pytest.approx(4.0, rel=0.02)


def test_a_day_is_lowest_at_midnight_and_highest_at_noon_whatever_its_length() -> None:
    for day_s in (2400.0, DAY_S):
        hours = shape_rates("daily", int(day_s), 3, day_s=day_s).reshape(24, -1).mean(axis=1)
        assert hours.mean() == pytest.approx(50.0, rel=0.03)
        assert {int(hours.argmin()), int(hours.argmax())} <= {0, 23, 10, 11, 12, 13}
        assert hours.max() / hours.min() == pytest.approx(1.6 / 0.4, rel=0.2)


def test_a_week_has_five_days_and_half_as_much_at_its_end() -> None:
    days = shape_rates("weekly", 14 * 1200, 3, day_s=1200.0).reshape(14, 1200).mean(axis=1) / 50.0
    assert days == pytest.approx([1, 1, 1, 1, 1, 0.5, 0.5] * 2, abs=0.06)


def test_a_flash_crowd_is_up_within_half_a_minute_and_falls_by_its_time() -> None:
    begins = set()
    for seed in range(8):
        rates = shape_rates("flash-crowd", 2 * HOUR, seed) / 50.0
        high = np.flatnonzero(rates > 4.0)
        begins.add(int(high[0]))
        assert 0.25 * 2 * HOUR < high[0] < 0.75 * 2 * HOUR + 30
        assert rates[high[0] - 40 : high[0] - 30].mean() == pytest.approx(1.0, abs=0.25)
        top = rates[high[0] + 15 : high[0] + 45].mean()
        assert top == pytest.approx(8.0, rel=0.25)
        assert rates[high[0] + 600 : high[0] + 660].mean() == pytest.approx(1.0 + 7.0 / np.e, rel=0.3)
    assert len(begins) == 8


def test_levels_stay_for_about_half_an_hour_and_lie_within_a_factor_of_three() -> None:
    rates = shape_rates("level-shift", 200 * 1800, 2)
    lengths = [len(list(same)) for _, same in groupby(rates.tolist())]
    assert np.mean(lengths) == pytest.approx(1800.0, rel=0.2)
    assert 50.0 / 3.0 <= rates.min() < 20.0
    assert 130.0 < rates.max() <= 150.0
    assert np.median(np.log(np.unique(rates) / 50.0)) == pytest.approx(0.0, abs=0.2)


def test_on_and_off_take_turns() -> None:
    rates = shape_rates("on-off", 300 * 300, 4)
    assert set(rates.tolist()) == {0.0, 50.0}
    lengths = {
        rate: [n for r, n in ((r, len(list(s))) for r, s in groupby(rates.tolist())) if r == rate]
        for rate in (0.0, 50.0)
    }
    assert np.mean(lengths[50.0]) == pytest.approx(180.0, rel=0.2)
    assert np.mean(lengths[0.0]) == pytest.approx(120.0, rel=0.2)
    assert rates[0] == 50.0


def test_gaps_are_missing_and_never_zero() -> None:
    trace = generate_shape("gaps", 10 * HOUR, 6)
    lost = [len(list(same)) for missing, same in groupby(count is None for count in trace.counts) if missing]
    long = [length for length in lost if length > 5]
    # A gap every 1,200 s and its own 160 s on average, and one second in a hundred beside them.
    assert len(long) == pytest.approx(10 * HOUR / 1200, rel=0.4)
    assert min(long) >= 20
    assert max(long) <= 2 * 300
    assert len(lost) - len(long) == pytest.approx(0.01 * 10 * HOUR, rel=0.25)
    assert min(count for count in trace.counts if count is not None) > 0


def test_bursts_come_half_of_the_time_at_a_fixed_minute_of_odd_hours() -> None:
    minute_s = 15  # a day in six hours
    rates = shape_rates("clock-bursts", 10 * 24 * 60 * minute_s, 1, day_s=24 * 60 * minute_s)
    rows = rates.reshape(-1, 60, minute_s).mean(axis=2) / 50.0  # a row an hour, a column a minute
    burst = rows > 2.5
    assert not burst[0::2].any()  # even hours
    comes = burst[1::2].any(axis=1)
    assert comes.mean() == pytest.approx(0.5, abs=0.12)  # of 120
    odd = burst[1::2][comes]
    assert set(odd.argmax(axis=1).tolist()) <= {32, 33}
    lengths = odd.sum(axis=1)
    assert lengths.min() >= 4
    assert lengths.max() <= 12
    top = rows[1::2][comes][:, 34:36].mean()
    assert 50.0 * top == pytest.approx(230.0, rel=0.05)
    assert 50.0 * rows[0::2].mean() == pytest.approx(50.0, rel=0.05)


def test_bursts_follow_a_shorter_day() -> None:
    rates = shape_rates("clock-bursts", 7200, 3, day_s=7200.0) / 50.0  # an hour of 300 s
    high = np.flatnonzero(rates > 2.5)
    assert set((high // 300 % 2).tolist()) == {1}
    assert (high % 300).min() >= 150
    assert (high % 300).max() <= 150 + 15 + 60 + 5


def test_the_reference_tells_every_shape() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "simulate.md").read_text(encoding="utf-8")
    section = text.split("## Shapes\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE) == list(SHAPES)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"name": "dayly"}, "did you mean 'daily'"),
        ({"seconds": 0}, "seconds"),
        ({"usual_rps": -1.0}, "rate"),
        ({"usual_rps": float("nan")}, "rate"),
        ({"day_s": 59.0}, "day"),
    ],
)
def test_what_has_no_meaning_is_told(wrong: dict[str, float], told: str) -> None:
    with pytest.raises(TraceError, match=told):
        generate_shape(**({"name": "flat", "seconds": 9, "seed": 0} | wrong))  # type: ignore[arg-type]  # kinds vary
