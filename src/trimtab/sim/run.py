"""One simulated run: arrivals, plant and controller, from the first plan to the last request."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trimtab.control.controller import Controller
from trimtab.control.journal import JournalEntry, JournalWriter, header_of
from trimtab.control.settings import ControllerSettings, forecaster_for, forecaster_name, limits_of, settings_for
from trimtab.errors import SimulationError, TraceError, TrimtabError
from trimtab.forecast import ClockedForecaster, Forecaster
from trimtab.plan.model import Plan
from trimtab.plan.policies import POLICIES, ObservingPolicy, Policy
from trimtab.plan.policies.base import NEVER_AGAIN, Rhythm
from trimtab.profile.model import Profile
from trimtab.sim import layout as at
from trimtab.sim.gaps import Gap, check_gaps, without_gaps
from trimtab.sim.model import PLANTS, Fault, PlantModel, Serving
from trimtab.sim.oracle import OracleForecaster
from trimtab.sim.plant import SimPlant
from trimtab.sim.recorder import Recorder
from trimtab.sim.result import SimResult, SimRun, SimSummary
from trimtab.sim.window import Window
from trimtab.spec.model import Pipeline
from trimtab.workload.arrivals import Arrivals, send_blocks
from trimtab.workload.delays import Delays
from trimtab.workload.trace import SECONDS_LIMIT, Rates, Trace

START_S = 60
"""The first plan is made for the mean rate of so many seconds."""
TAIL_TURNS = 3600
"""Seconds after the load within which everything has to end."""
BLOCK = 50_000
"""Arrivals that are made at a time."""


@dataclass(frozen=True, slots=True)
class Load:
    """What arrives."""

    trace: Trace
    arrivals: Arrivals = "poisson"
    seed: int = 0
    history: tuple[int | None, ...] = ()
    """Counts of the seconds before the trace, which forecasters may know; oldest first."""
    scale: float = 1.0
    """Multiplies the rates of the trace and of its history."""
    compress: float = 1.0
    """Plays so many seconds of the trace in one, at the same rates, as `trimtab load` does."""
    moments: tuple[float, ...] | None = None
    """When each request arrived, as recorded, in the place of moments made from the trace; see `recorded_load`."""
    clock_s: float | None = None
    """When the trace's first second begins, for forecasters that learn the clock: Unix time, or seconds since any
    midnight; the history ends there. None: not known. A trace that is compressed has no clock: a day is shorter in it
    than in its history."""
    delays: Delays | None = None
    """What the way to us takes, by second of the trace: a request has the SLO less its delay left when it arrives, and
    at least nothing. None: all have the SLO."""

    def __post_init__(self) -> None:
        if self.delays is None:
            return
        self.delays.check(len(self.trace))
        if self.compress != 1.0:
            got = f"a trace that is compressed {self.compress:g} times"
            raise TraceError("delays are of a trace's own seconds", where=self.delays.name, got=got)

    @property
    def forecaster_clock_s(self) -> float | None:
        """When the first second that a forecaster is told begins: that of the history, or else of the trace."""
        return None if self.clock_s is None or self.compress != 1.0 else self.clock_s - len(self.history)


def recorded_load(moments: Sequence[float], *, name: str = "recorded", seed: int = 0) -> Load:
    """The load of requests whose times of arrival were recorded, seconds from the start of the run.

    Raises:
        TraceError: there is none, or a moment is negative, no number, before the one it follows, or too late.
    """
    times = np.asarray(moments, dtype=np.float64)
    if not len(times) or not np.isfinite(times).all() or times[0] < 0 or (np.diff(times) < 0).any():
        raise TraceError("not moments of arrival", where=name, wanted="at least one, from 0 on, ascending")
    if times[-1] >= SECONDS_LIMIT:
        got, wanted = f"a request after {times[-1]:,.0f} s", f"less than {SECONDS_LIMIT:,} seconds from the start"
        raise TraceError("the moments span too long a time", where=name, got=got, wanted=wanted)
    counts = np.bincount(times.astype(np.int64)).tolist()
    return Load(Trace(tuple(counts), name), "recorded", seed, moments=tuple(times.tolist()))


def simulate(
    pipeline: Pipeline,
    profile: Profile,
    load: Load,
    policy: Policy,
    plant: PlantModel,
    *,
    cores: int | None = None,
    forecaster: Forecaster | str | None = None,
    settings: ControllerSettings | None = None,
    serving: Serving | None = None,
    truth: Profile | None = None,
    faults: Sequence[Fault] = (),
    gaps: Sequence[Gap] = (),
    start: Plan | None = None,
    interval_s: float = 1.0,
    window_s: float = 5.0,
    journal: Path | None = None,
    on_progress: Callable[[float], None] | None = None,
    notes: tuple[str, ...] = (),
    make_controller: Callable[..., Controller] = Controller,
) -> SimResult:
    """Run `policy` on a simulated plant under `load`; the same arguments give the same result.

    The run starts from a planned state: replicas of the first plan are ready at once. That plan is made for the mean
    rate of the trace's first minute, or is `start`. A policy whose rhythm names the forecaster `oracle` is a bound: it
    knows the load to come, and its plant is `free`.

    Args:
        pipeline: what is served.
        profile: what the policy and the dispatcher believe.
        load: what arrives.
        policy: proposes plans; a fresh one, where it is an `ObservingPolicy`.
        plant: how long changes take.
        cores: cores that plans may hold; None: the budget's, else those of the machine that was profiled.
        forecaster: a fresh one, which is told the load's clock, if it learns it, and history; or the name or file of
            one, `oracle` included; None: the policy's own, or else the default.
        settings: the control loop; None: the policy's rhythm, or else Trimtab's own.
        serving: how requests are queued, batched and drawn.
        truth: how long service really takes; None: as `profile` says.
        faults: what goes wrong.
        gaps: seconds (first, and first that is not one) in which nothing is counted, while the plant runs on.
        start: the plan in force at the start.
        interval_s: time between observations.
        window_s: length of the windows of the series: whole seconds, a multiple of `interval_s`.
        journal: a new file for every turn of the controller, which replays.
        on_progress: told the share that is done, now and then.
        notes: what else a reader of the result must know.
        make_controller: makes what decides, of `Controller`'s arguments; another than that is for experiments.

    Raises:
        PlanRequestError: no plan can exist for this pipeline, profile and limits.
        TraceError: the trace has missing seconds or no request.
        ForecastError: there is no such forecaster, or its file is none.
        SimulationError: something asked for has no meaning.
        JournalError: the journal exists already, or cannot be written.
    """
    for name, value in (("interval_s", interval_s), ("window_s", window_s)):
        if not 0.0 < value < math.inf:
            raise SimulationError("a time has no meaning", where=name, got=value, wanted="more than 0 seconds")
    check_gaps(gaps)
    if load.moments is not None and (load.scale, load.compress) != (1.0, 1.0):
        raise SimulationError("recorded moments are played as they are", got="a scale or a compression", wanted="none")
    rates = load.trace.rates(scale=load.scale, compress=load.compress)
    if not rates.any():
        raise TraceError("the load has no request", where=load.trace.name, got="0 in every second")
    serving = serving or Serving()
    known = getattr(getattr(policy, "rhythm", None), "forecaster", None) == OracleForecaster.name
    if known:
        plant, forecaster = PLANTS["free"], OracleForecaster.name
        notes = (*notes, "a bound, not a policy: it knows the load to come, and changes take no time")
    history = tuple(None if count is None else round(count * load.scale) for count in load.history)
    clock_s, named = load.forecaster_clock_s, None
    if clock_s is not None and not math.isfinite(clock_s):
        raise SimulationError("a time has no meaning", where="Load.clock_s", got=clock_s, wanted="seconds")
    if forecaster is None or isinstance(forecaster, str):
        named = forecaster_name(policy, forecaster)
        forecaster = (
            OracleForecaster(rates) if named == OracleForecaster.name else forecaster_for(policy, named, clock_s)
        )
    elif clock_s is not None and isinstance(forecaster, ClockedForecaster):
        forecaster.set_clock(clock_s)
    if not isinstance(forecaster, OracleForecaster):
        forecaster.observe(history)
    held = _cores(pipeline, profile, cores)
    blocks = send_blocks(rates, load.arrivals, load.seed, _block_s(rates))
    if load.moments is not None:
        blocks = iter([np.array(load.moments)])
    simulated = SimPlant(
        pipeline, profile, plant, held, blocks, load.seed, serving=serving, truth=truth, faults=faults,
        memory_bytes=pipeline.budget.memory_bytes, delays=load.delays,
    )  # fmt: skip
    start_rate_rps = _first_rate(policy, rates)
    controller = make_controller(
        pipeline,
        profile,
        policy,
        forecaster,
        limits_of(pipeline, simulated.capabilities),
        settings or settings_for(policy, start_rate_rps),
    )
    run = _Run(controller, simulated, Recorder(pipeline, window_s), journal is not None, tuple(gaps))
    seconds = float(len(rates))
    with contextlib.ExitStack() as stack:
        if journal is not None:
            header = header_of(
                controller, _door(policy), forecaster=named, clock_s=clock_s, history=history, start=start
            )
            run.journal = stack.enter_context(JournalWriter(journal, header))
        run.start(start)
        waits = interval_s if run.listens else window_s
        turn = 0
        while simulated.now_s < seconds:
            turn += 1
            run.turn(min(turn * waits, seconds), last_s=seconds)
            if on_progress is not None:
                on_progress(simulated.now_s / seconds)
        summary = run.finish(seconds)
    asked = SimRun(
        pipeline=pipeline.name,
        policy=policy.name,
        trace=load.trace.name,
        arrivals=load.arrivals,
        seed=load.seed,
        seconds=seconds,
        slo_s=pipeline.slo.latency_s,
        slo_quantile=pipeline.slo.quantile,
        plant=plant.name,
        forecaster=_told(forecaster, named),
        rule=serving.rule,
        cores=held,
        notes=(*notes, *_to_know(pipeline, truth or profile, plant, load), *run.notes()),
    )
    clock = {"clock": _clock_words(load)} if isinstance(forecaster, ClockedForecaster) else {}
    return SimResult(asked, summary, run.recorder.series(), settings=clock)


@dataclass(slots=True)
class _Run:
    """Controller and plant in turns, as `control.loop` has them live."""

    controller: Controller
    plant: SimPlant
    recorder: Recorder
    listens: bool
    """Whether the controller has any use for observations: a plan that is made once has none."""
    gaps: tuple[Gap, ...] = ()
    journal: JournalWriter | None = None
    decide_s: float = 0.0
    decisions: int = 0
    changes: int = 0
    errors: list[str] = field(default_factory=list)
    left: int = 0

    def __post_init__(self) -> None:
        policy, settings = self.controller.policy, self.controller.settings
        once = settings.replan_s >= NEVER_AGAIN.every_s and not settings.at_once
        self.listens = self.listens or isinstance(policy, ObservingPolicy) or not once

    def start(self, plan: Plan | None) -> None:
        """The first plan, as if it had been in force for long."""
        began_s = time.perf_counter()
        decision = self.controller.start(0.0, plan)
        self.decide_s += time.perf_counter() - began_s
        self.plant.apply_now(decision.plan, warm=True)
        self._tell(JournalEntry(None, decision))

    def turn(self, until_s: float, last_s: float) -> None:
        """Let time pass, then observe, decide and apply; nothing is decided any more at `last_s`."""
        self.plant.advance(until_s)
        window = self.plant.take_window()
        self._record(window)
        if not self.listens or until_s >= last_s:
            return
        observation = without_gaps(self.plant.observation(window), self.gaps)
        began_s = time.perf_counter()
        try:
            decision = self.controller.step(observation)
        except Exception as error:  # noqa: BLE001 — as live: whatever a policy raises, the last plan stands
            self.errors.append(f"{type(error).__name__}: {error}")
            self._tell(JournalEntry(observation, None, str(error)))
            return
        finally:
            self.decide_s += time.perf_counter() - began_s
        self._tell(JournalEntry(observation, decision))
        if decision.plan.id == self._plan().id:
            return
        try:
            self.plant.apply_now(decision.plan)
        except TrimtabError as error:  # as live: the plan before stays in force, and the next turn asks again
            self.errors.append(f"{type(error).__name__}: {error}")
            return
        self.changes += 1

    def finish(self, seconds: float) -> SimSummary:
        """Let what is under way end, and sum up."""
        tail = self.recorder.tail()
        self.recorder.finish(self._plan().rate_rps, seconds)
        for _ in range(TAIL_TURNS):
            if not self.plant.under_way:
                break
            self.plant.advance(self.plant.now_s + 1.0)
            tail.add(self.plant.take_window(), 0)
        self.left = self.plant.under_way
        tail.outcomes[at.DROPPED] += self.left
        return self.recorder.summary(
            seconds, self.plant.peak_cores, self.changes, self.decisions, self.decide_s, after=tail
        )

    def notes(self) -> tuple[str, ...]:
        """What went otherwise than it should."""
        notes = []
        if self.gaps:
            gaps = ", ".join(f"{first:g} to {last:g} s" for first, last in self.gaps)
            notes.append(f"nothing was counted from {gaps}: a gap of the monitoring, while the plant ran on")
        if self.errors:
            told = f"{len(self.errors)} decisions failed or were refused, and the last plan stood"
            notes.append(f"{told}; the first: {self.errors[0]}")
        if self.left:
            notes.append(f"{self.left} requests had not ended {TAIL_TURNS} s after the load and count as dropped")
        return tuple(notes)

    def _record(self, window: Window) -> None:
        plan = self._plan()
        self.recorder.add(window, plan.cores, plan.rate_rps)

    def _plan(self) -> Plan:
        plan = self.plant.plan
        assert plan is not None, "the run has started"
        return plan

    def _tell(self, entry: JournalEntry) -> None:
        self.decisions += entry.decision is not None
        if self.journal is not None:
            self.journal.append(entry)


def _first_rate(policy: Policy, rates: Rates) -> float:
    """The rate of the first plan, requests per second."""
    rhythm: Rhythm | None = getattr(policy, "rhythm", None)
    if rhythm is None or rhythm.first == "mean":
        return float(rates[:START_S].mean())
    return float(rates.min() if rhythm.first == "least" else rates.max())


def _to_know(pipeline: Pipeline, truth: Profile, plant: PlantModel, load: Load) -> list[str]:
    """What the figures leave out because nothing says it, and what they are counted from."""
    notes = []
    unknown = [
        f"{task}/{name}"
        for task, variants in truth.variants.items()
        for name, variant in variants.items()
        if variant.load_time_s is None
    ]
    if plant.load_s is None and unknown:
        notes.append(f"load times that are not known count as nothing: {', '.join(unknown)}")
    if pipeline.accuracy.kind == "measured":
        notes.append("accuracy is the product over the tasks, not looked up in the measured table")
    if load.delays is not None:
        notes.append(load.delays.words(len(load.trace)))
    return notes


def _door(policy: Policy) -> str:
    """The word by which `make_policy` finds a policy."""
    return policy.name if policy.name in POLICIES else f"{type(policy).__module__}:{type(policy).__qualname__}"


def _told(forecaster: Forecaster, named: str | None) -> str:
    """A forecaster's name, and its file's where it is one."""
    return f"{forecaster.name} ({Path(named).name})" if named and named.endswith(".json") else forecaster.name


def _clock_words(load: Load) -> str:
    """What a forecaster that learns the clock was told of it."""
    if load.forecaster_clock_s is None:
        return "not known" if load.compress == 1.0 else "not known, for the load is compressed"
    assert load.clock_s is not None, "the forecaster's clock follows from it"
    minutes, seconds = divmod(int(load.clock_s % 86_400.0), 60)
    return f"the load begins at {load.clock_s:.15g} s, {minutes // 60:02}:{minutes % 60:02}:{seconds:02} of a day"


def _cores(pipeline: Pipeline, profile: Profile, cores: int | None) -> int:
    """Cores that plans may hold."""
    if cores is not None:
        return cores
    if pipeline.budget.cores is not None:
        return int(pipeline.budget.cores)
    if profile.provenance is not None:
        return profile.provenance.cores_available
    raise SimulationError(
        "nothing says how many cores there are: the pipeline has no core budget and the profile no provenance",
        where=f"pipeline {pipeline.name}",
        next_step="name them with --cores, or set budget.cores",
    )


def _block_s(rates: Rates) -> int:
    """Seconds of arrivals that are made at a time: enough to be quick, few enough to be nothing."""
    return max(1, min(len(rates), int(BLOCK / max(float(rates.mean()), 1e-9))))
