"""Whole runs: accounting, the controller's turns, forecasters, journals, and the notes that a reader needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.control.clocked import CLOCKED, Clocked

from trimtab.control.journal import read_journal
from trimtab.control.replay import replay
from trimtab.control.settings import ControllerSettings, settings_for
from trimtab.errors import JournalError, PlanRequestError, PlantError, SimulationError, TraceError
from trimtab.forecast import file as forecast_file
from trimtab.forecast import make_forecaster
from trimtab.forecast.file import Fitted, write_fitted
from trimtab.forecast.model import RateForecast
from trimtab.observe.model import Observation
from trimtab.plan.model import Allocation, Plan, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.policies import make_policy
from trimtab.plan.policies.base import Rhythm
from trimtab.profile.model import Profile
from trimtab.sim import PLANTS, Fault, PlantModel, Serving, SimResult, simulate
from trimtab.sim import run as run_module
from trimtab.sim.oracle import OracleForecaster
from trimtab.sim.plant import SimPlant
from trimtab.sim.run import Load, recorded_load
from trimtab.testing import make_chain
from trimtab.workload.arrivals import ARRIVALS, Arrivals, send_times
from trimtab.workload.trace import Trace

VARIANTS = {"large": (0.9, 0.04), "small": (0.7, 0.01)}
PIPELINE, PROFILE = make_chain({"a": VARIANTS, "b": {"only": (0.8, 0.01)}}, slo_s=0.4, cores=8)
ONE = make_chain({"a": VARIANTS}, slo_s=0.4, cores=8, shapes=((1, 1), (2, 1), (4, 1)))
SURGE = Trace((20,) * 8 + (90,) * 8 + (20,) * 8, "surge")
RESIDENT = PLANTS["instant-resident"]


def simulated(policy: str = "trimtab", load: Load | None = None, **more: Any) -> SimResult:
    given: dict[str, Any] = {"pipeline": PIPELINE, "profile": PROFILE, "plant": RESIDENT}
    return simulate(load=load or Load(SURGE, seed=3), policy=make_policy(policy), **(given | more))


def without_clock(result: SimResult) -> SimResult:
    """All but the one figure that differs from run to run."""
    return replace(result, summary=replace(result.summary, decide_s=0.0))


def check_sums(result: SimResult) -> None:
    """Series and summary tell the same."""
    summary, series = result.summary, result.series
    ended = summary.in_time + summary.late + summary.refused + summary.dropped + summary.failed
    assert summary.offered == ended == sum(series.offered)
    for name in ("in_time", "late", "refused", "dropped", "failed"):
        assert sum(getattr(series, name)) <= getattr(summary, name)
    lengths = [len(value) for value in asdict(series).values() if isinstance(value, list)]
    lengths += [len(counts) for task in series.variants.values() for counts in task.values()]
    assert len(set(lengths)) == 1
    spans = np.diff([*np.arange(lengths[0]) * series.window_s, result.run.seconds])
    assert summary.core_seconds == pytest.approx(float(spans @ np.array(series.cores)))
    assert summary.planned_cores == pytest.approx(float(spans @ np.array(series.planned_cores)) / result.run.seconds)
    assert summary.mean_cores == pytest.approx(summary.core_seconds / result.run.seconds)
    assert summary.peak_cores >= max(series.cores) - 1e-9


@pytest.mark.parametrize("policy", ["trimtab", "ipa", "most-accurate", "cheapest"])
@pytest.mark.parametrize("plant", ["instant-resident", "kubernetes", "free"])
def test_every_request_is_accounted_for(policy: str, plant: str) -> None:
    result = simulated(policy, plant=PLANTS[plant])
    check_sums(result)
    assert result.summary.offered == len(send_times(SURGE.rates(), "poisson", 3))
    assert (result.run.policy, result.run.plant, result.run.cores, result.run.seconds) == (policy, plant, 8, 24.0)


@pytest.mark.parametrize("arrivals", ARRIVALS)
def test_arrivals_are_those_of_the_load_generator(arrivals: Arrivals) -> None:
    result = simulated(load=Load(SURGE, arrivals, seed=5, scale=1.5), window_s=1.0)
    counts = np.bincount(send_times(SURGE.rates(scale=1.5), arrivals, 5).astype(int), minlength=24)
    assert result.series.offered == counts.tolist()
    check_sums(result)


def test_the_same_arguments_give_the_same_result() -> None:
    first, second = simulated(), simulated()
    assert without_clock(first) == without_clock(second)
    assert without_clock(simulated(load=Load(SURGE, seed=4))) != without_clock(first)


def test_compressed_and_scaled_traces_are_shorter_and_larger() -> None:
    result = simulated(load=Load(SURGE, "recorded", scale=2.0, compress=2.0))
    assert result.run.seconds == 12.0
    assert result.summary.offered == pytest.approx(2.0 * sum(c or 0 for c in SURGE.counts) / 2.0, abs=1)


def test_the_policy_follows_the_load_and_a_static_one_does_not() -> None:
    ours, fixed = simulated(plant=PLANTS["free"]), simulated("cheapest")
    assert ours.summary.changes >= 2
    assert ours.summary.decisions == 24  # the first plan, and one a second but for the last
    assert max(ours.series.rate_planned) > 60.0
    assert ours.series.rate_planned[0] < 60.0
    assert (fixed.summary.changes, fixed.summary.decisions) == (0, 1)
    assert fixed.summary.core_seconds == pytest.approx(24.0 * fixed.summary.planned_cores)


# --- who knows what -------------------------------------------------------------------------------------------------


class Watching:
    """A policy that notes what it is told and asked, and answers as `cheapest` does."""

    name = "watching"
    decides = frozenset({"variant"})

    def __init__(self, rhythm: Rhythm | None = None) -> None:
        self.rhythm = rhythm
        self.asked: list[PlanRequest] = []
        self.seen: list[Observation] = []
        self._inner = make_policy("cheapest")

    def observe(self, observation: Observation, plan: Plan) -> None:
        self.seen.append(observation)

    def propose(self, request: PlanRequest) -> PlanResult:
        self.asked.append(request)
        return self._inner.propose(request)


@dataclass
class Known:
    """A forecaster that notes what it is told and forecasts ten a second."""

    name = "known"

    def __init__(self) -> None:
        self.told: list[int | None] = []

    def observe(self, counts: Sequence[int | None]) -> None:
        self.told += counts

    def forecast(self, horizon_s: float) -> RateForecast | None:
        return RateForecast(horizon_s, 10.0, {0.5: 10.0}, 1.0, "nothing")


def test_a_policy_is_asked_at_its_own_rhythm_about_its_own_forecast() -> None:
    policy = Watching(Rhythm(every_s=4.0, horizon_s=4.0, quantile=0.5, margin=0.25))
    simulate(PIPELINE, PROFILE, Load(SURGE, "recorded"), policy, RESIDENT, forecaster="last")
    # The first plan is for the mean of the first minute, the next ones for what was last seen, every four seconds.
    assert policy.asked[0].rate_rps == pytest.approx(np.mean([c or 0 for c in SURGE.counts]))
    assert [request.rate_rps for request in policy.asked[1:]] == pytest.approx([25.0, 25.0, 112.5, 112.5, 25.0])
    assert [seen.now_s for seen in policy.seen] == [float(second) for second in range(1, 24)]
    assert [seen.arrivals for seen in policy.seen] == [(count,) for count in SURGE.counts[:23]]


def test_the_oracle_knows_the_seconds_to_come() -> None:
    oracle = OracleForecaster(np.array([1.0, 2.0, 9.0, 3.0]))
    told = []
    for _ in range(6):
        forecast = oracle.forecast(1.0)
        ahead = oracle.forecast(2.5)
        assert forecast is not None
        assert ahead is not None
        told.append((forecast.at(0.5), ahead.at(0.99), forecast.burstiness))
        oracle.observe([None])
    assert told == [(1, 9, 1), (2, 9, 1), (9, 9, 1), (3, 3, 1), (3, 3, 1), (3, 3, 1)]
    assert OracleForecaster(np.empty(0)).forecast(1.0) is None


def test_a_policy_that_asks_for_the_oracle_is_a_bound_on_a_plant_that_is_free() -> None:
    policy = Watching(Rhythm(every_s=1.0, horizon_s=1.0, forecaster="oracle"))
    result = simulate(PIPELINE, PROFILE, Load(SURGE, "recorded"), policy, PLANTS["kubernetes"])
    assert (result.run.plant, result.run.forecaster) == ("free", "oracle")
    assert any("bound" in note for note in result.run.notes)
    assert [request.rate_rps for request in policy.asked[1:]] == pytest.approx([c or 0 for c in SURGE.counts[1:]])


def test_the_oracle_may_also_be_named() -> None:
    policy = Watching(Rhythm(every_s=1.0, horizon_s=1.0))
    result = simulate(PIPELINE, PROFILE, Load(SURGE, "recorded"), policy, RESIDENT, forecaster="oracle")
    assert (result.run.plant, result.run.forecaster) == ("instant-resident", "oracle")
    assert [request.rate_rps for request in policy.asked[1:]] == pytest.approx([c or 0 for c in SURGE.counts[1:]])
    assert not any("bound" in note for note in result.run.notes)


def test_a_forecaster_by_name_knows_the_history_at_the_loads_scale() -> None:
    policy = Watching(Rhythm(every_s=1.0, horizon_s=1.0))
    load = Load(Trace((4, 4, 4)), "recorded", history=(50, None, 70), scale=0.5)
    simulate(PIPELINE, PROFILE, load, policy, RESIDENT, forecaster="max-window")
    assert [request.rate_rps for request in policy.asked] == pytest.approx([2.0, 35.0, 35.0])


def test_a_forecaster_that_is_given_knows_the_history_too() -> None:
    forecaster = Known()
    load = Load(Trace((4, 4, 4)), "recorded", history=(5, None, 7))
    simulate(PIPELINE, PROFILE, load, make_policy("trimtab"), RESIDENT, forecaster=forecaster)
    assert forecaster.told == [5, None, 7, 4, 4]


# --- the clock ------------------------------------------------------------------------------------------------------


def test_a_forecaster_that_learns_the_clock_is_told_when_its_history_begins(tmp_path: Path) -> None:
    load = Load(SURGE, "recorded", history=(5, None, 7), clock_s=3600.0)
    given = Clocked()
    result = simulated(load=load, forecaster=given)
    assert given.clocks == [3597.0]
    assert given.told == [5, None, 7, *SURGE.counts[:23]]
    assert result.settings == {"clock": "the load begins at 3600 s, 01:00:00 of a day"}
    simulated(load=load, forecaster=CLOCKED, journal=tmp_path / "journal", start=a_plan("small", 2))
    journal = read_journal(tmp_path / "journal")
    assert (journal.header.forecaster, journal.header.clock_s) == (CLOCKED, 3597.0)
    assert replay(journal) == ()
    elsewhen = replay(replace(journal, header=replace(journal.header, clock_s=3657.0)))
    assert {difference.what for difference in elsewhen} >= {"steps"}


def test_the_clock_changes_what_is_planned() -> None:
    even, odd = (simulated(load=Load(SURGE, "recorded", clock_s=at_s), forecaster=CLOCKED) for at_s in (0.0, 60.0))
    assert max(odd.series.rate_planned) > 2.0 * max(even.series.rate_planned)


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (Load(SURGE), "not known"),
        (Load(SURGE, compress=2.0, clock_s=60.0), "not known, for the load is compressed"),
        (recorded_load([0.5, 1.5]), "not known"),
    ],
)
def test_a_load_may_have_no_clock(load: Load, words: str) -> None:
    given = Clocked()
    assert simulated(load=load, forecaster=given).settings == {"clock": words}
    assert given.clocks == []


def test_others_are_told_nothing_of_the_clock() -> None:
    timed, plain = (simulated(load=Load(SURGE, clock_s=clock_s)) for clock_s in (60.0, None))
    assert without_clock(timed) == without_clock(plain)
    assert plain.settings == {}
    with pytest.raises(SimulationError, match="clock_s"):
        simulated(load=Load(SURGE, clock_s=float("nan")))


def test_a_fitted_forecaster_is_told_by_its_file_and_its_journal_replays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast_file, "KINDS", {"clocked": "tests.control.clocked:from_parameters"})
    path = tmp_path / "week.json"
    write_fitted(Fitted("clocked", {}, {"factor": 2.0}), path)
    load = Load(SURGE, "recorded", clock_s=60.0)
    result = simulated(load=load, forecaster=str(path), journal=tmp_path / "journal")
    assert result.run.forecaster == "clocked (week.json)"
    header = read_journal(tmp_path / "journal").header
    assert (header.forecaster, header.clock_s) == (str(path), 60.0)
    assert replay(read_journal(tmp_path / "journal")) == ()
    # The policy may name the file as well.
    policy = Watching(Rhythm(every_s=1.0, horizon_s=1.0, forecaster=str(path)))
    simulate(PIPELINE, PROFILE, load, policy, RESIDENT)
    assert policy.asked[1].rate_rps == pytest.approx(2.0 * 20)


# --- start, settings, truth, faults ---------------------------------------------------------------------------------


def a_plan(variant: str, replicas: int) -> Plan:
    return Plan(
        {
            "a": TaskPlan("a", (Allocation(variant, replicas, 1, 1, 1),), (variant,)),
            "b": TaskPlan("b", (Allocation("only", 1, 1, 1, 1),), ("only",)),
        },
        33.0,
    )


def test_a_plan_that_is_given_is_in_force_at_the_start() -> None:
    result = simulated("cheapest", start=a_plan("large", 3))
    assert result.series.rate_planned[0] == 33.0
    assert result.series.planned_cores[0] == pytest.approx(4.0)
    assert result.series.variants["a"]["small"][0] == 0
    assert result.series.variants["a"]["large"][0] > 0


def test_settings_that_are_given_are_followed() -> None:
    settings = ControllerSettings(start_rate_rps=5.0, replan_s=1e9, at_once=False)
    result = simulated(settings=settings)
    assert (result.summary.changes, set(result.series.rate_planned)) == (0, {5.0})


def test_truth_is_what_happens_and_profile_what_is_believed() -> None:
    _, slower = make_chain({"a": {"large": (0.9, 0.08), "small": (0.7, 0.02)}, "b": {"only": (0.8, 0.02)}}, slo_s=0.4)
    start, calm = a_plan("small", 2), Load(Trace((5,) * 10), "even")
    honest, wrong = (
        simulated("cheapest", calm, start=start, truth=truth, serving=Serving(draw="mean")).summary
        for truth in (None, slower)
    )
    assert honest.mean_s == pytest.approx(0.02)
    assert wrong.mean_s == pytest.approx(0.04)


def test_a_fault_costs_what_it_costs_and_is_repeatable() -> None:
    faults = [Fault(4.0, "a"), Fault(9.0, "b", "slow", 5.0, 3.0)]
    start = a_plan("small", 1)
    calm, hit, again = (
        simulated("cheapest", Load(Trace((20,) * 20)), start=start, plant=PLANTS["kubernetes"], faults=some)
        for some in ([], faults, faults)
    )
    assert (hit.summary.attainment or 0.0) < (calm.summary.attainment or 0.0)
    assert without_clock(hit) == without_clock(again)
    check_sums(hit)


def test_what_is_under_way_at_the_end_is_still_answered_and_costs_nothing_more() -> None:
    load = Load(Trace((50,)), "even")
    serving = Serving(rule="fifo", draw="mean")
    result = simulated("cheapest", load, start=a_plan("large", 1), serving=serving, window_s=1.0)
    # Twenty-five a second of fifty: the last ends after two seconds, all of them are answered, one second is paid.
    assert (result.summary.offered, result.summary.in_time + result.summary.late) == (50, 50)
    assert result.series.in_time[0] + result.series.late[0] == 24
    assert result.summary.core_seconds == pytest.approx(2.0)
    assert result.summary.p99_s == pytest.approx(0.04 * 50 + 0.01 - 0.98, rel=0.03)


def test_what_never_ends_counts_as_dropped_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "TAIL_TURNS", 3)
    _, endless = make_chain({"a": {"large": (0.9, 400.0), "small": (0.7, 0.01)}, "b": {"only": (0.8, 0.01)}}, slo_s=0.4)
    serving = Serving(rule="fifo", draw="mean")
    result = simulated("cheapest", Load(Trace((5,)), "even"), start=a_plan("large", 1), serving=serving, truth=endless)
    assert (result.summary.dropped, result.summary.offered) == (5, 5)
    assert any("5 requests had not ended" in note for note in result.run.notes)
    check_sums(result)


def test_a_policy_that_fails_leaves_the_last_plan_and_a_note() -> None:
    class Failing(Watching):
        def propose(self, request: PlanRequest) -> PlanResult:
            if self.asked:
                raise PlanRequestError("no answer today")
            return super().propose(request)

    result = simulate(PIPELINE, PROFILE, Load(SURGE), Failing(Rhythm(1.0, 1.0)), RESIDENT, notes=("mine",))
    assert result.run.notes[0] == "mine"
    assert any("23 decisions failed" in note and "no answer today" in note for note in result.run.notes)
    assert (result.summary.changes, result.summary.decisions) == (0, 1)
    check_sums(result)


def test_load_times_that_nobody_knows_are_told() -> None:
    known = Profile(
        {
            task: {name: replace(one, load_time_s=0.0 if name == "large" else 1.0) for name, one in some.items()}
            for task, some in PROFILE.variants.items()
        }
    )

    def told(profile: Profile, plant: PlantModel) -> bool:
        return any("load times" in note for note in simulated("cheapest", profile=profile, plant=plant).run.notes)

    assert told(PROFILE, RESIDENT)
    assert not told(known, RESIDENT)
    assert not told(PROFILE, replace(RESIDENT, load_s=2.0))
    assert not told(PROFILE, PLANTS["free"])


# --- the journal ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["trimtab", "ipa", "infadapter", "vpa+", "hpa", "cheapest"])
def test_a_journal_replays_without_a_difference(policy: str, tmp_path: Path) -> None:
    load = Load(SURGE, seed=3, history=tuple(range(10, 40)))
    pipeline, profile = ONE if policy == "infadapter" else (PIPELINE, PROFILE)
    result = simulated(
        policy, load, journal=tmp_path / "journal", plant=PLANTS["kubernetes"], pipeline=pipeline, profile=profile
    )
    journal = read_journal(tmp_path / "journal")
    assert len(journal.entries) == 24 == result.summary.decisions
    assert replay(journal) == ()


@pytest.mark.parametrize("policy", ["trimtab", "cheapest"])
def test_a_journal_with_a_given_start_replays(policy: str, tmp_path: Path) -> None:
    simulated(policy, journal=tmp_path / "journal", start=a_plan("large", 1))
    assert replay(read_journal(tmp_path / "journal")) == ()


def test_a_journal_with_a_given_forecaster_replays_with_such_a_one(tmp_path: Path) -> None:
    load = Load(SURGE, history=(90,) * 30)
    given = make_forecaster("max-window")
    simulated("trimtab", load, journal=tmp_path / "journal", forecaster=given)
    assert replay(read_journal(tmp_path / "journal"), forecaster=make_forecaster("max-window")) == ()


def test_an_oracles_journal_replays_with_the_future(tmp_path: Path) -> None:
    simulated("trimtab", journal=tmp_path / "journal", forecaster="oracle")
    assert replay(read_journal(tmp_path / "journal"), forecaster=OracleForecaster(SURGE.rates())) == ()


def test_a_journal_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("mine")
    with pytest.raises(JournalError, match="exists"):
        simulated(journal=tmp_path / "journal")
    assert (tmp_path / "journal").read_text() == "mine"


@pytest.mark.parametrize("rule", ["trimtab", "clipper", "nexus"])
def test_writing_a_journal_or_longer_windows_change_nothing_else(rule: Any, tmp_path: Path) -> None:
    # Tasks whose true times differ from the profile's: deadlines are shared anew as times are learned.
    stages = {"a": {"only": (0.9, 0.02)}, "b": {"only": (0.9, 0.02)}}
    pipeline, profile = make_chain(stages, slo_s=0.3, cores=4, batch_gain=0.5)
    truth = make_chain({"a": {"only": (0.9, 0.05)}, "b": {"only": (0.9, 0.01)}}, batch_gain=0.5)[1]
    results = [
        simulate(
            pipeline, profile, Load(Trace((60,) * 40)), make_policy("most-accurate"), RESIDENT, truth=truth,
            serving=Serving(rule=rule), journal=journal, window_s=window_s,
        ).summary
        for journal, window_s in ((None, 5.0), (tmp_path / "journal", 5.0), (None, 1.0))
    ]  # fmt: skip
    counts = [(s.in_time, s.late, s.refused, s.dropped, s.p50_s, s.p99_s, s.core_seconds) for s in results]
    assert counts[0] == counts[1]
    assert counts[0] == counts[2]


# --- progress, and questions without a meaning ----------------------------------------------------------------------


def test_progress_goes_from_nothing_to_all() -> None:
    told: list[float] = []
    simulated("cheapest", on_progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) == 5


@pytest.mark.parametrize("interval_s", [0.1, 0.25, 2.0, 7.0])
def test_any_interval_observes_every_second_once_and_as_soon_as_it_is_over(interval_s: float) -> None:
    policy = Watching(Rhythm(every_s=1.0, horizon_s=1.0))
    window_s = max(5.0, interval_s)
    result = simulate(
        PIPELINE, PROFILE, Load(SURGE, "recorded"), policy, RESIDENT, interval_s=interval_s, window_s=window_s
    )
    counts: list[int | None] = []
    for turn, seen in enumerate(policy.seen, start=1):
        assert seen.now_s == pytest.approx(turn * interval_s, abs=1e-9)
        counts += seen.arrivals
        assert counts == list(SURGE.counts[: int(turn * interval_s + 1e-9)])
    assert len(policy.seen) == int(24 / interval_s - 1e-9)
    check_sums(result)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize(
    "wrong", [{"interval_s": 0.0}, {"interval_s": -1.0}, {"window_s": 0.0}, {"interval_s": float("nan")}]
)
def test_times_between_looks_that_have_no_meaning_are_refused(wrong: dict[str, Any]) -> None:
    calls = 0

    def stop_at_some_time(share: float) -> None:
        nonlocal calls
        calls += 1
        if calls > 100:
            raise StoppedError(f"still going at {share}")

    with pytest.raises(SimulationError):
        simulated(on_progress=stop_at_some_time, **wrong)


def test_cores_are_the_budgets_or_the_profiled_machines() -> None:
    assert simulated("cheapest").run.cores == 8
    assert simulated("cheapest", cores=5).run.cores == 5
    pipeline, profile = make_chain({"a": VARIANTS}, slo_s=0.4)
    with pytest.raises(SimulationError, match="how many cores"):
        simulate(pipeline, profile, Load(SURGE), make_policy("cheapest"), RESIDENT)


def test_loads_without_meaning_are_refused() -> None:
    with pytest.raises(TraceError, match="missing"):
        simulated(load=Load(Trace((3, None, 3))))
    with pytest.raises(TraceError, match="request"):
        simulated(load=Load(Trace((0, 0, 0))))


def test_the_loop_is_the_one_that_the_policy_asks_for() -> None:
    assert settings_for(make_policy("infadapter")).replan_s == 30.0
    result = simulated("infadapter", Load(Trace((20,) * 70)), pipeline=ONE[0], profile=ONE[1])
    assert result.summary.decisions == 70


# --- recorded moments -----------------------------------------------------------------------------------------------


def test_recorded_moments_are_played_as_they_are() -> None:
    stages = {"a": {"only": (0.9, 0.02)}}
    pipeline, profile = make_chain(stages, slo_s=1.0, cores=1, batches=(1,))
    load = recorded_load([0.25, 0.25, 1.5, 3.75])
    told = simulate(
        pipeline, profile, load, make_policy("most-accurate"), RESIDENT, serving=Serving(draw="mean"), window_s=1.0
    )
    assert told.series.offered == [2, 1, 0, 1]
    assert told.summary.in_time == 4
    # Two at once on one core: the second waits for the first.
    assert told.summary.mean_s == pytest.approx((0.02 + 0.04 + 0.02 + 0.02) / 4)


@pytest.mark.parametrize("moments", [[], [1.0, 0.5], [-1.0], [float("nan")]])
def test_moments_that_are_none_are_told(moments: list[float]) -> None:
    with pytest.raises(TraceError, match="moments"):
        recorded_load(moments)


def test_recorded_moments_are_not_scaled() -> None:
    with pytest.raises(SimulationError, match="as they are"):
        simulated(load=replace(recorded_load([0.5, 1.5]), scale=2.0))


def test_a_plan_that_the_plant_refuses_leaves_the_one_before_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = SimPlant.apply_now
    refusals = iter([False, True, True])  # the first plan is taken, the second only at the third attempt

    def stubborn(plant: SimPlant, plan: Plan, *, warm: bool = False) -> None:
        if next(refusals, False):
            raise PlantError("not now")
        taken(plant, plan, warm=warm)

    free = simulated(plant=PLANTS["free"])
    monkeypatch.setattr(SimPlant, "apply_now", stubborn)
    refused = simulated(plant=PLANTS["free"])
    assert any("2 decisions failed or were refused" in note and "not now" in note for note in refused.run.notes)
    assert 1 <= refused.summary.changes <= free.summary.changes
    assert refused.series.rate_planned[-1] == free.series.rate_planned[-1]
    check_sums(refused)


def test_moments_that_span_too_long_a_time_are_told() -> None:
    with pytest.raises(TraceError, match="too long"):
        recorded_load([0.5, 1e12])
