"""What features say, against what a plain list of the same seconds says."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.forecast.features import NAMES, PERIODS_S, SLOT_S, Features, SlotTable
from trimtab.rng import generator

Counts = list[int | None]
HOUR_S, DAY_S = 3600, 86_400
MEMORY_S = 600
"""Seconds that are remembered one by one."""
BURST_AT_S, BURST_S = 32 * 60, 300
HORIZONS_S = (2.0, 10.0, 20.0, 60.0, 180.0, 600.0)

records = st.builds(
    lambda some, times: some * times, st.lists(st.none() | st.integers(0, 1_000_000), max_size=60), st.integers(1, 15)
)
"""Some of them are longer than what is remembered."""


def observed(counts: Sequence[int | None], clock_s: float = 0.0, into: Features | None = None) -> Features:
    features = into or Features()
    if into is None:
        features.set_clock(clock_s)
    for count in counts:
        features.observe(count)
    return features


def poisson(rates: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]], seed: int) -> list[int]:
    return [int(count) for count in generator(seed, "features").poisson(rates)]


def with_bursts(seconds: int, seed: int = 1) -> list[int]:
    """20/s, and 100/s for five minutes from minute 32 of every odd hour on; begins at midnight."""
    at = np.arange(seconds)
    burst = (at // HOUR_S % 2 == 1) & (at % HOUR_S >= BURST_AT_S) & (at % HOUR_S < BURST_AT_S + BURST_S)
    return poisson(np.where(burst, 100.0, 20.0), seed)


def chance_at(learned: Features, clock_s: int, horizon_s: float) -> float:
    """What is known of the clock, asked at another time of it."""
    asked = Features.of(learned.state())
    asked.set_clock(clock_s)
    return asked.onset_chance(horizon_s)


@pytest.fixture(scope="module")
def after_hours() -> Features:
    return observed(with_bursts(4 * HOUR_S))


@pytest.fixture(scope="module")
def after_days() -> Features:
    return observed(with_bursts(2 * DAY_S))


@settings(max_examples=60)
@given(records, st.integers(1, MEMORY_S), st.data())
def test_windows_are_those_of_the_list(counts: Counts, seconds: int, data: st.DataObject) -> None:
    back = data.draw(st.integers(0, MEMORY_S - seconds))
    features = observed(counts)
    window = ([None] * MEMORY_S + counts)[len(counts) + MEMORY_S - back - seconds : len(counts) + MEMORY_S - back]
    known = [count for count in window if count is not None]
    assert features.known(seconds, back) == len(known)
    assert features.highest(seconds, back) == (max(known) if known else None)
    mean = features.mean(seconds, back)
    assert (mean is None) == (not known)
    if known:
        assert mean == pytest.approx(sum(known) / len(known), rel=1e-12)


@settings(max_examples=60)
@given(records, st.floats(0.0, 2e9), st.lists(st.floats(1.0, 600.0), min_size=1, max_size=4))
def test_rows_have_their_shape_and_hold_numbers(counts: Counts, clock_s: float, horizons_s: list[float]) -> None:
    rows = observed(counts, clock_s).rows(horizons_s)
    assert rows.shape == (len(horizons_s), len(NAMES))
    assert not np.isinf(rows).any()
    assert len(set(NAMES)) == len(NAMES)
    chances = rows[:, [NAMES.index(f"{what}_{p}") for what in ("onset", "end") for p in PERIODS_S]]
    assert ((chances >= 0.0) & (chances <= 1.0)).all()


@settings(max_examples=30)
@given(records)
def test_rows_say_what_the_windows_say(counts: Counts) -> None:
    features = observed(counts)
    (row,) = features.rows([20.0])
    scale = features.scale_rps
    assert scale >= 1.0
    for name, value in {
        "level_3": features.mean(3),
        "level_10": features.mean(10),
        "mean_10_back_3": features.mean(10, back=30),
        "max_10": features.highest(10),
        "max_20": features.highest(20),
        "max_60_back_2": features.highest(60, back=120),
        "max_60_back_9": features.highest(60, back=540),
        "mean_300": features.mean(300),
        "mean_600": features.mean(600),
    }.items():
        said = row[NAMES.index(name)]
        assert math.isnan(said) if value is None else said == pytest.approx(value / scale, rel=1e-9), name


def test_seconds_that_were_not_counted_are_no_zeros() -> None:
    full: Counts = [20] * 1800
    holes: Counts = [count if at % 3 else None for at, count in enumerate(full)]
    whole, holed = observed(full).rows(HORIZONS_S), observed(holes).rows(HORIZONS_S)
    levels = [k for k, name in enumerate(NAMES) if name.startswith(("level", "mean", "max", "noise"))]
    assert holed[:, levels] == pytest.approx(whole[:, levels], rel=1e-12)
    assert observed([*full, *([None] * 600)]).mean(600) is None
    assert observed([*full, *([None] * 600)]).scale_rps == 20.0


def test_the_scale_is_the_calm_level() -> None:
    calm_and_burst = [50] * 2400 + [300] * 1200
    assert observed(calm_and_burst).scale_rps == 50.0
    assert observed([0] * 3600).scale_rps == 1.0
    assert observed([7] * 30).scale_rps == 7.0  # less than a minute: the recent mean


def test_the_scale_is_a_percentile_of_whole_minutes_on_the_clock() -> None:
    counts: Counts = [None if at % 7 == 3 else count for at, count in enumerate(poisson([40.0] * 5000, seed=7))]
    features = observed(counts, clock_s=45.0)  # the first minute is a quarter of one
    minutes = [counts[max(0, at) : at + 60] for at in range(-45, 5000 - 59, 60)]
    means = sorted(np.mean([count for count in minute if count is not None]) for minute in minutes[-60:])
    assert features.scale_rps == pytest.approx(means[int(0.3 * 59)], rel=1e-12)


def test_rows_are_the_same_at_a_thousand_times_the_rate() -> None:
    counts = poisson([1000.0] * 1200 + [4000.0] * 300 + [1000.0] * 300, seed=2)
    small, large = (observed([factor * count for count in counts]) for factor in (1, 1000))
    assert large.scale_rps == pytest.approx(1000.0 * small.scale_rps)
    others = [k for k, name in enumerate(NAMES) if name != "noise"]
    np.testing.assert_allclose(large.rows(HORIZONS_S)[:, others], small.rows(HORIZONS_S)[:, others], rtol=1e-9)
    noise = NAMES.index("noise")
    assert small.rows(HORIZONS_S)[0, noise] == pytest.approx(math.sqrt(1000.0) * large.rows(HORIZONS_S)[0, noise])
    assert small.bursts == large.bursts == 1


def test_a_burst_is_measured() -> None:
    features = observed(poisson([20.0] * 900 + [100.0] * 300 + [20.0] * 120, seed=3))
    assert features.bursts == 1
    assert features.usual_height == pytest.approx(5.0, rel=0.25)
    assert features.usual_length_s == pytest.approx(300.0, abs=15.0)
    during = observed(poisson([20.0] * 900 + [100.0] * 60, seed=3))
    assert during.burst is not None
    assert during.burst.since_s == pytest.approx(900.0, abs=5.0)
    assert during.burst.before_rps == pytest.approx(20.0, rel=0.1)
    (row,) = during.rows([20.0])
    assert row[NAMES.index("in_burst")] == 1.0
    assert row[NAMES.index("since_onset")] == pytest.approx(60.0, abs=5.0)


def test_a_gust_is_not_learned() -> None:
    gusts = ([20] * 895 + [100] * 5) * 8
    features = observed(gusts)
    assert features.bursts == 0
    assert features.onset_chance(600.0) == 0.0
    assert all(table.events.sum() == 0.0 for table in (*features.onsets.values(), *features.ends.values()))


def test_a_new_level_is_no_burst_for_ever() -> None:
    features = observed([50] * 1800 + [150] * 1200)
    assert features.burst is not None
    observed([150] * 3600, into=features)
    assert features.burst is None
    assert features.bursts == 0
    assert features.scale_rps == 150.0
    assert features.rows([20.0])[0, NAMES.index("level_10")] == 1.0
    observed([450] * 60, into=features)
    assert features.burst is not None, "what is three times the new level is a burst"


def test_the_clock_of_bursts_is_learned(after_days: Features) -> None:
    just_before = HOUR_S + BURST_AT_S - 30
    odd, even = just_before + 2 * DAY_S, just_before + 2 * DAY_S + HOUR_S
    # One burst at each visit: the hazards of its slots sum to 1, and the chance to 1 - 1/e.
    assert chance_at(after_days, odd, 120.0) > 0.5
    assert chance_at(after_days, even, 120.0) < 0.1
    for minute in (0, 5, 15, 25, 40, 55):
        for hour in (0, 1, 13, 22):
            assert chance_at(after_days, 2 * DAY_S + hour * HOUR_S + 60 * minute, 60.0) < 0.02
    # A burst that began has begun.
    assert chance_at(after_days, odd + 90, 120.0) < 0.05


def test_days_teach_more_than_hours(after_hours: Features, after_days: Features) -> None:
    odd, even = (hour * HOUR_S + BURST_AT_S - 30 for hour in (5, 6))
    assert 0.1 < chance_at(after_hours, odd, 120.0) < chance_at(after_days, odd, 120.0)
    assert chance_at(after_days, even, 120.0) < chance_at(after_hours, even, 120.0)


def test_chances_grow_with_the_horizon(after_days: Features) -> None:
    chances = [chance_at(after_days, HOUR_S + BURST_AT_S - 100, horizon_s) for horizon_s in (2.0, *range(10, 600, 30))]
    assert chances == sorted(chances)
    assert all(0.0 <= chance < 1.0 for chance in chances)
    assert chances[-1] > 10 * chances[0]


def test_the_clock_may_be_set_to_another_week(after_days: Features) -> None:
    monday = 1_627_862_400  # 2021-08-02, a midnight
    at = HOUR_S + BURST_AT_S - 30
    assert chance_at(after_days, monday + at, 120.0) == pytest.approx(chance_at(after_days, at, 120.0))
    features = observed([20] * 100, monday + 5 * HOUR_S + 0.7)
    assert features.clock_s == monday + 5 * HOUR_S + 100
    (row,) = features.rows([20.0])
    told = {name: row[NAMES.index(name)] for name in ("hour", "parity", "of_hour", "of_half_hour")}
    assert told == {"hour": 5.0, "parity": 1.0, "of_hour": 100.0, "of_half_hour": 100.0}


def test_setting_the_clock_forgets_the_recent_past_alone(after_days: Features) -> None:
    features = observed([20] * 60, into=Features.of(after_days.state()))
    features.set_clock(100.0)
    assert features.known(MEMORY_S) == 0
    assert features.burst is None
    assert features.usual_height == after_days.usual_height
    assert features.onsets[7200].events.sum() == pytest.approx(after_days.onsets[7200].events.sum(), rel=1e-3)


def test_the_state_survives_a_file(after_days: Features) -> None:
    read = Features.of(json.loads(json.dumps(after_days.state(), allow_nan=False)))
    assert read.clock_s == after_days.clock_s == 2 * DAY_S
    assert read.bursts == after_days.bursts == 24
    assert read.state() == after_days.state()
    assert read.onset_chance(600.0) == pytest.approx(after_days.onset_chance(600.0), abs=1e-3)
    for clock_s in range(0, 2 * HOUR_S, 710):
        written = Features.of(after_days.state())
        for features in (written, read):
            features.set_clock(clock_s)
        for horizon_s in HORIZONS_S:
            assert read.onset_chance(horizon_s) == written.onset_chance(horizon_s)


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("clock_s"),
        lambda state: state.update(bursts="many"),
        lambda state: state.update(usual=[1.0, 0.5]),
        lambda state: state["tables"].pop("ends"),
        lambda state: state["tables"]["onsets"].pop("7200"),
        lambda state: state["tables"]["onsets"]["7200"][0].pop(),
        lambda state: state["tables"]["onsets"].update({"1800": [[0.0], [0.0]]}),
    ],
)
def test_a_damaged_state_is_refused(after_hours: Features, damage: object) -> None:
    state = json.loads(json.dumps(after_hours.state()))
    assert callable(damage)
    damage(state)
    with pytest.raises((KeyError, TypeError, ValueError)):
        Features.of(state)


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.update(clock_s=math.inf),
        lambda state: state.update(usual=[math.nan, 0.5, 300.0]),
        lambda state: state.update(usual=[-1.0, 0.5, 300.0]),
        lambda state: state["tables"]["onsets"]["7200"][0].__setitem__(0, math.nan),
        lambda state: state["tables"]["onsets"]["7200"][1].__setitem__(0, -3.0),
    ],
)
def test_a_state_that_would_give_no_chance_is_refused(after_hours: Features, damage: object) -> None:
    """Python's JSON reads NaN and Infinity."""
    state = json.loads(json.dumps(after_hours.state()))
    assert callable(damage)
    damage(state)
    with pytest.raises((KeyError, TypeError, ValueError)):
        Features.of(state)


def test_a_table_tells_hazards_of_whole_and_part_slots() -> None:
    table = SlotTable(1800)
    slots = 1800 // SLOT_S
    assert table.chance(7.3, 2.0) == 0.0
    for _ in range(8):
        for slot in range(slots):
            table.visit(slot)
        table.happened(20)
    # Five slots share the event; what is seen eight times, with two visits more, is 0.8 certain in all.
    hazard = 8 / 10 * np.array([0.1, 0.2, 0.4, 0.2, 0.1])
    assert table.chance(18.0, 5.0) == pytest.approx(1.0 - math.exp(-hazard.sum()))
    assert table.chance(20.0, 1.0) == pytest.approx(1.0 - math.exp(-hazard[2]))
    assert table.chance(20.5, 1.0) == pytest.approx(1.0 - math.exp(-0.5 * hazard[2] - 0.5 * hazard[3]))
    assert table.chance(20.0 + 7 * slots, 1.0) == pytest.approx(table.chance(20.0, 1.0))
    assert table.chance(17.0, slots) == pytest.approx(1.0 - math.exp(-hazard.sum()))
    assert table.chance(30.0, 60.0) == 0.0
    table.happened(0)  # its shares reach over the end of the period
    assert table.chance(slots - 2.0, 5.0) == pytest.approx(1.0 - math.exp(-0.1))
