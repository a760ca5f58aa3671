from __future__ import annotations

import itertools
import math
from dataclasses import fields, replace

import pytest
from experiments.infadapter.measurements import service_profile
from experiments.robustness import Case as Trial
from experiments.robustness import Outcome, contenders, row, verdicts
from experiments.trouble.recovery import GOOD, STAYS, attained, longest_spell_s, spells
from experiments.trouble.scenes import CHEAPEST, HOURS, OURS, SERVICE, Place, Scene, scene, slowed
from experiments.trouble.shapes import missing, shape_trace, shaped
from experiments.trouble.troubles import GAP_S, LOSSES, NONE, TROUBLES, busiest_s, steepest_s
from experiments.trouble.useless import ConstantForecaster, RandomForecaster
from hypothesis import given
from hypothesis import strategies as st
from tests.experiments.published_data import DATA, needs_data

from trimtab.forecast import Forecaster
from trimtab.sim.result import SimSeries, SimSummary
from trimtab.workload.shapes import SHAPES

counted = st.lists(st.none() | st.integers(0, 9), min_size=25, max_size=40)
windows = st.lists(st.sampled_from([None, 0.0, 0.5, 0.98, 0.99, 1.0]), max_size=40)
BURSTY = Place(SERVICE, "bursty")


@given(windows)
def test_spells_hold_every_low_window_and_end_after_enough_good_ones(attainment: list[float | None]) -> None:
    found = list(spells(attainment))
    inside = {i for first, last in found for i in range(first, last)}
    low = {i for i, value in enumerate(attainment) if value is not None and value < GOOD}
    assert low <= inside
    for first, last in found:
        assert {first, last - 1} <= low
        good = 0
        for value in attainment[first:last]:
            good = good if value is None else 0 if value < GOOD else good + 1
            assert good < STAYS
    for (_, end), (begin, _) in itertools.pairwise(found):
        assert sum(value is not None for value in attainment[end:begin]) >= STAYS


def test_low_time_counts_from_the_onset_and_only_what_the_trouble_explains() -> None:
    #              0-5  5-10 10-15 …                      35-40          55-60
    attainment = [1.0, 0.5, 0.9, None, 0.9, 1.0, 1.0, 0.2, 1.0, 1.0, 1.0, 0.1, 1.0]
    assert longest_spell_s(attainment, 5.0, (0.0,)) == 35.0  # 5 to 40 s: two good windows do not end it
    assert longest_spell_s(attainment, 5.0, (22.0,), 1.0) == 18.0
    assert longest_spell_s(attainment, 5.0, (41.0,), 0.0) == 5.0  # begins 14 s after it
    assert longest_spell_s(attainment, 5.0, (12.0, 41.0), 0.0) == 28.0
    assert longest_spell_s(attainment[8:11], 5.0, (0.0,)) == 0.0
    assert longest_spell_s([1.0] * 20 + [0.0], 5.0, (0.0,), 5.0) == 0.0


def test_attainment_is_of_what_ended() -> None:
    outcomes, nothing = ([3, 0], [1, 0], [2, 0], [1, 0], [1, 0]), list[float | None]((None, None))
    series = SimSeries(5.0, [9, 9], *outcomes, nothing, nothing, nothing, [1.0] * 2, [1.0] * 2, [1.0] * 2, {})
    assert attained(series) == [3 / 8, None]


@given(counted, st.integers(1, 30))
def test_the_busiest_stretch_has_the_most_requests(counts: list[int | None], seconds: int) -> None:
    def requests(at: int) -> int:
        return sum(count or 0 for count in counts[at : at + seconds])

    found = busiest_s(counts, seconds)
    assert requests(found) == max(requests(at) for at in range(len(counts)))
    assert found + min(seconds, len(counts)) <= len(counts)


def test_the_steepest_rise_is_where_a_burst_begins() -> None:
    assert steepest_s([5] * 40 + [50] * 30 + [5] * 40) == 40
    assert steepest_s([None] * 15 + [3] * 15) == 15


@given(st.lists(st.none() | st.just(1), min_size=1, max_size=60))
def test_missing_stretches_are_the_seconds_without_a_count(counts: list[int | None]) -> None:
    found = list(missing(counts))
    covered = [second for start, end in found for second in range(int(start), int(end))]
    assert covered == [second for second, count in enumerate(counts) if count is None]
    assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(found))


@pytest.mark.parametrize("name", list(SHAPES))
def test_shapes_fit_what_a_place_carries(name: str) -> None:
    trace = shape_trace(name, seed=1, share=0.5, top_rps=60.0, seconds=900)
    counts = [count for count in trace.counts if count is not None]
    assert len(trace) == 900
    assert max(counts) <= 60 + 5 * math.sqrt(60)  # of a Poisson count
    assert trace == shape_trace(name, seed=1, share=0.5, top_rps=60.0, seconds=900)
    mean = sum(counts) / len(counts)
    assert {"high": mean > 35, "flat": 23 < mean < 27}.get(name, 0 < mean < 60)
    if name == "zeros":
        assert set(trace.counts[300:600]) == {0}
        assert min(sum(c or 0 for c in trace.counts[:300]), sum(c or 0 for c in trace.counts[600:])) > 0


@pytest.mark.parametrize("made", [ConstantForecaster(40.0), RandomForecaster(40.0, 3)], ids=lambda made: str(made.name))
def test_useless_forecasts_do_not_depend_on_what_is_seen(made: Forecaster) -> None:
    same = type(made)(*((40.0,) if made.name == "constant" else (40.0, 3)))
    assert isinstance(made, Forecaster)
    told = set()
    for _ in range(12):
        made.observe([200] * 5)
        same.observe([None, 0, 1, 0, 0])
        first, other = made.forecast(2.0), same.forecast(2.0)
        assert first == other == made.forecast(2.0)
        assert first is not None
        assert 40.0 / 3.0 <= first.at(0.5) == first.at(0.99) <= 120.0
        told.add(first.level_rps)
    assert len(told) == (1 if made.name == "constant" else 7)  # another one every ten of 60 s


@needs_data
def test_a_slowed_profile_is_the_published_one_times_a_factor() -> None:
    made, wanted = slowed(service_profile(DATA), 1.5), service_profile(DATA, 1.5)
    for name, variant in made.variants["classify"].items():
        there = wanted.variants["classify"][name]
        assert [p.mean_s for p in variant.points] == pytest.approx([p.mean_s for p in there.points])
        assert variant.load_time_s == there.load_time_s


@needs_data
@pytest.mark.parametrize(
    ("name", "changed"),
    [
        (NONE, set()),
        ("service × 0.7", {"truth"}),
        ("forecast constant", {"forecaster"}),
        ("forecast random", {"forecaster"}),
        ("gap in a burst", {"gaps", "onsets_s", "lasts_s"}),
        ("replicas lost", {"faults", "onsets_s", "lasts_s"}),
        ("replica slow", {"faults", "onsets_s", "lasts_s"}),
    ],
)
def test_a_trouble_changes_one_thing(name: str, changed: set[str]) -> None:
    made = scene(DATA, Place("video", "bursty"), OURS, seed=1)
    troubled = TROUBLES[name](made)
    assert {f.name for f in fields(Scene) if getattr(made, f.name) != getattr(troubled, f.name)} == changed
    assert all(0.0 <= onset_s < len(made.load.trace) for onset_s in troubled.onsets_s)


@needs_data
def test_troubles_happen_where_the_load_is_high_and_to_every_task() -> None:
    made = scene(DATA, Place("video", "bursty"), OURS, seed=1)
    counts = [count or 0 for count in made.load.trace.counts]
    ((start, end),) = TROUBLES["gap in a burst"](made).gaps
    assert end - start == GAP_S
    assert sum(counts[int(start) : int(end)]) / GAP_S > 2 * sum(counts) / len(counts)
    faults = TROUBLES["replicas lost"](made).faults
    assert len(faults) == LOSSES * len(made.pipeline.tasks)
    assert len({fault.at_s for fault in faults}) == LOSSES


@needs_data
def test_scenes_are_those_of_the_papers_with_our_objective_where_it_is_asked_for() -> None:
    published, ours, cheapest = (scene(DATA, BURSTY, name, 2, 0.72) for name in contenders(BURSTY))
    assert (published.policy.name, ours.policy.name, cheapest.policy.name) == ("infadapter", "trimtab", "trimtab")
    assert (published.plant.name, ours.plant.name) == ("kubernetes-restart", "trimtab")
    assert (ours.pipeline.objective.kind, cheapest.pipeline.objective.kind) == ("weighted", "cheapest")
    assert cheapest.pipeline.objective.accuracy_floor == 0.72
    assert published.load == ours.load == cheapest.load
    assert published.load.arrivals == "poisson"
    assert published.truth == ours.truth
    under = shaped(ours, "gaps", 1.0, 900)
    assert under.gaps
    assert under.load.trace.missing == 0
    assert under.settings.start_rate_rps == pytest.approx(
        sum(count or 0 for count in under.load.trace.counts[:60]) / 60
    )


@needs_data
def test_some_windows_from_the_hour_are_played_as_well() -> None:
    assert len(HOURS) == 6
    calm = scene(DATA, Place(SERVICE, "14d03h"), OURS, seed=0).load
    assert (len(calm.trace), max(count or 0 for count in calm.trace.counts)) == (1200, 79)


def outcome(attainment: float, contender: str = OURS, low_s: float = 0.0, trouble: str = "replicas lost") -> Outcome:
    none = dict.fromkeys((f.name for f in fields(SimSummary)), 0)
    summary = replace(SimSummary(**none), attainment=attainment, accuracy=0.7, mean_cores=9.0)
    return Outcome(Trial(DATA, BURSTY, contender, trouble, 0), summary, (), 5.0, (0.0,), low_s)


@pytest.mark.parametrize(
    ("attainment", "low_s", "published", "told"),
    [(0.985, 300.0, 0.9, ("yes", "yes")), (0.9, 30.0, 0.91, ("yes", "no")), (0.9, 35.0, 0.9, ("no", "yes"))],
)
def test_withstood_is_a_small_fall_or_a_quick_recovery(
    attainment: float, low_s: float, published: float, told: tuple[str, str]
) -> None:
    line = row([outcome(attainment, low_s=low_s)], [outcome(1.0)], [outcome(published, "infadapter")])
    assert (line["withstood"], line["never worse"]) == told
    assert line["fall, points"] == pytest.approx(100.0 * (1.0 - attainment))


def test_verdicts_name_what_was_missed() -> None:
    def line(trouble: str, attainment: float, contender: str = CHEAPEST) -> dict[str, str | float | int | None]:
        return row(
            [outcome(attainment, contender, 60.0, trouble)],
            [outcome(1.0, contender)],
            [outcome(0.95, "infadapter")],
        )

    told = verdicts([line(NONE, 1.0), line("replica slow", 0.99), line("gap at a rise", 0.9)])
    assert told == [
        f"{CHEAPEST}: withstands 1 of 2 troubles; not in: infadapter, bursty, gap at a rise",
        f"{CHEAPEST}: no worse than the published policy in 1 of 2; not in: infadapter, bursty, gap at a rise",
    ]
