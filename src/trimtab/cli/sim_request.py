"""One simulated run as a value: made from the command line, told apart by a digest, carried out in any process."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from trimtab import __version__, compiled
from trimtab.cli.plan import limits_for
from trimtab.control.settings import fitted_digest, forecaster_name
from trimtab.errors import SimulationError
from trimtab.forecast import make_forecaster
from trimtab.plan.policies import make_policy
from trimtab.plan.policies.registry import check_settings
from trimtab.profile.file import load_profile_for
from trimtab.profile.model import Profile
from trimtab.report.comparison import FORESIGHT, FREE
from trimtab.sim import Serving, SimResult, plant_model, simulate
from trimtab.sim.gaps import Gap
from trimtab.sim.run import Load
from trimtab.spec.load import load_pipeline
from trimtab.spec.model import Pipeline
from trimtab.workload.arrivals import Arrivals
from trimtab.workload.delays import Delays, read_delays
from trimtab.workload.trace import Trace, read_trace

DEFAULT_PLANT = "instant-resident"
HISTORY_S = 3600
"""Seconds before the window that forecasters know, as far as the trace has them and nothing else is said."""
_WINDOW_S = 5.0
"""Windows of the series are at least this long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What all runs of a command share, as the command line says it."""

    pipeline: Pipeline
    profile: Profile
    truth: Profile | None
    plant: str
    arrivals: Arrivals
    forecaster: str | None
    serving: Serving
    cores: int | None
    scale: float
    interval_s: float
    window_s: float
    gaps: tuple[Gap, ...] = ()
    told: Mapping[str, str] = field(default_factory=dict)
    """What was set beside that, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """The part of a trace that is played, and what is known before it."""

    trace: Trace
    history: tuple[int | None, ...]
    clock_s: float | None = None
    """When the first second that is played begins; None: not known."""
    delays: Delays | None = None
    """Of the seconds that are played; None: the way to us takes no time."""
    told: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimRequest:
    """One run."""

    scene: Scene
    played: Played
    policy: str
    """As given to `make_policy`."""
    plant: str
    seed: int
    fitted: str | None = None
    """Digest of the file of the fitted forecaster."""

    @property
    def requests(self) -> float:
        """About how many requests arrive."""
        return self.scene.scale * sum(count or 0 for count in self.played.trace.counts)

    def digest(self) -> str:
        """Sixteen digits that follow from all that the figures follow from, and from Trimtab's version."""
        pipeline, forecaster = _without_files(self.scene.pipeline), self.fitted or self.scene.forecaster
        bare = replace(self, scene=replace(self.scene, pipeline=pipeline, forecaster=forecaster))
        return hashlib.sha256(f"{__version__} {bare!r}".encode()).hexdigest()[:16]


def read_scene(
    spec: Path,
    *,
    overrides: list[str] | None,
    profile: Path | None,
    truth: Path | None,
    plant: str,
    arrivals: Arrivals,
    forecaster: str | None,
    serving: Serving,
    cores: int | None,
    scale: float,
    interval_s: float,
    window_s: float | None,
    gaps: tuple[Gap, ...] = (),
) -> Scene:
    """Read the files and check what was asked, before anything runs.

    Raises:
        TrimtabError: a file is wrong, or something asked for has no meaning or does not exist.
    """
    pipeline = load_pipeline(spec, check_files=False, overrides=overrides or ())
    check_settings(pipeline)
    measured = load_profile_for(pipeline, profile, overrides=overrides or ())
    plant_model(plant)
    if forecaster not in (None, FORESIGHT):
        make_forecaster(forecaster)
    for where, value in (("--interval", interval_s), ("--scale", scale), ("--window", window_s)):
        if value is not None and not 0.0 < value < math.inf:
            raise SimulationError("the number has no meaning", where=where, got=value, wanted="more than 0")
    told = {"set": " ".join(overrides or ()), "profile": _name(profile), "truth": _name(truth)}
    told["scale"] = f"{scale:g} times the trace's rates" if scale != 1.0 else ""
    told["accuracy"] = pipeline.accuracy.kind if pipeline.accuracy.kind != "product" else ""
    return Scene(
        pipeline=pipeline,
        profile=measured,
        truth=None if truth is None else load_profile_for(pipeline, truth),
        plant=plant,
        arrivals=arrivals,
        forecaster=forecaster,
        serving=serving,
        cores=cores,
        scale=scale,
        interval_s=interval_s,
        window_s=window_s or math.ceil(_WINDOW_S / interval_s - 1e-9) * interval_s,
        gaps=gaps,
        told={name: words for name, words in told.items() if words} | _serving_words(serving),
    )


def read_played(
    path: Path,
    *,
    name: str | None = None,
    column: str | None = None,
    start: int = 0,
    stop: int | None = None,
    history: int | None = None,
    missing: Literal["hold", "cut"] | None = None,
    clock_start_s: float = 0.0,
    delay: Path | None = None,
    delay_spread: float = 0.0,
) -> Played:
    """Read a trace and cut out what is played.

    Args:
        path: the trace.
        name: what it is called; None: as its file.
        column: of counts, where a CSV has several.
        start: first second that is played.
        stop: first second that is not; None: all to the end.
        history: seconds before `start` that forecasters may know; None: an hour, or as many as there are.
        missing: what to do about seconds that were not recorded; where some are cut out, the clock is lost.
        clock_start_s: when second 0 of the trace began.
        delay: file of what the way to us took in each second of the trace; None: no time.
        delay_spread: of the delays within a second, relative.

    Raises:
        TraceError: the trace is wrong, or does not have these seconds; or the delays are.
        SimulationError: the trace has not so much history, or a spread is of no delays.
    """
    whole = read_trace(path, column=column)
    if history is not None and history > start:
        raise SimulationError(
            "there are fewer seconds before the window",
            where=f"--history, {whole.name}",
            got=history,
            wanted=f"at most {start}, what lies before --from",
        )
    known = whole.counts[start - min(start, HISTORY_S if history is None else history) : start]
    # Held counts come from before the window where there are any, so a gap is filled before the window is cut out.
    window = (whole.filled("hold") if missing == "hold" else whole).between(start, stop)
    clock_s: float | None = clock_start_s + start
    if missing == "cut" and window.missing:
        window, clock_s = window.filled("cut"), None
    told = {"trace file": whole.name} if name and name != whole.name else {}
    if start or stop is not None:
        told["window"] = f"seconds {start:,} to {len(whole) if stop is None else stop:,} of {len(whole):,}"
    if known:
        told["history"] = f"{len(known):,} s before it"
    if missing and whole.missing:
        told["missing"] = {"hold": "seconds that were not recorded repeat the last one", "cut": "left out"}[missing]
    window.rates()  # which refuses a second that was not recorded
    delays = None
    if delay is not None:
        counts = whole.counts[start:stop]
        played = [start + k for k, count in enumerate(counts) if missing != "cut" or count is not None]
        delays = _delays_of(read_delays(delay, delay_spread), played)
        told["delay"] = delay.name
    elif delay_spread != 0.0:
        raise SimulationError("there are no delays to spread", where="--delay-spread", next_step="name them: --delay")
    trace = Trace(window.counts, name or whole.name)
    return Played(trace=trace, history=known, clock_s=clock_s, delays=delays, told=told)


def _delays_of(delays: Delays, seconds: list[int]) -> Delays:
    """The delays of these seconds, ascending.

    Raises:
        TraceError: there are none for some of them.
    """
    delays.check(seconds[-1] + 1)
    return replace(delays, seconds=tuple(delays.seconds[second] for second in seconds))


def request_for(scene: Scene, played: Played, policy: str, seed: int, plant: str | None = None) -> SimRequest:
    """One run; a policy that knows the future is put where changes take no time.

    Raises:
        PlanRequestError: there is no such policy.
        SimulationError: there is no such plant, or the policy is a bound and was given a plant of its own.
        ForecastError: the policy's own forecaster is a file that cannot be read.
    """
    made = make_policy(policy)
    if plant is not None:
        plant_model(plant)
    if not _knows_future(made):
        fitted = fitted_digest(forecaster_name(made, scene.forecaster))
        return SimRequest(
            scene=scene, played=played, policy=policy, plant=plant or scene.plant, seed=seed, fitted=fitted
        )
    if plant not in (None, FREE):
        raise SimulationError(
            "a policy that knows the future is a bound, and runs where nothing takes time",
            where=policy,
            got=plant,
            wanted=f"no plant, or {FREE}",
        )
    return SimRequest(scene=scene, played=played, policy=policy, plant=FREE, seed=seed)


def run_request(
    request: SimRequest,
    *,
    journal: Path | None = None,
    on_progress: Callable[[float], None] | None = None,
    told: Mapping[str, str] | None = None,
) -> SimResult:
    """Carry out one run.

    Args:
        request: what is asked.
        journal: file for every turn of the controller.
        on_progress: told the share that is done, now and then.
        told: what else the result's settings shall say.

    Raises:
        TrimtabError: as `sim.simulate`; the journal's file exists already or cannot be written.
    """
    for part in compiled.PARTS:
        compiled.load_when_cached(part)
    scene, played = request.scene, request.played
    policy, plant = make_policy(request.policy), plant_model(request.plant)
    asked: dict[str, Any] = {
        "cores": int(limits_for(scene.pipeline, scene.profile, scene.cores).cores),
        "forecaster": scene.forecaster,
        "serving": scene.serving,
        "truth": scene.truth,
        "interval_s": scene.interval_s,
        "window_s": scene.window_s,
        "gaps": scene.gaps,
        "on_progress": on_progress,
    }
    load = Load(
        played.trace, scene.arrivals, request.seed, played.history, scene.scale, clock_s=played.clock_s,
        delays=played.delays,
    )  # fmt: skip
    result = simulate(scene.pipeline, scene.profile, load, policy, plant, journal=journal, **asked)
    return replace(result, settings={**result.settings, **scene.told, **played.told, **(told or {})})


def _knows_future(policy: object) -> bool:
    rhythm = getattr(policy, "rhythm", None)
    return rhythm is not None and rhythm.forecaster == FORESIGHT


def _without_files(pipeline: Pipeline) -> Pipeline:
    """The pipeline without where its files lie, which no figure follows from."""
    tasks = {
        name: replace(task, variants={v: replace(each, model=None) for v, each in task.variants.items()})
        for name, task in pipeline.tasks.items()
    }
    return replace(pipeline, tasks=tasks, source=None)


def _name(path: Path | None) -> str:
    return "" if path is None else path.name


def _serving_words(serving: Serving) -> dict[str, str]:
    """What of the serving is not as usual; the rule itself stands elsewhere."""
    usual = Serving(rule=serving.rule)
    told = {
        "max wait": f"{serving.max_wait_s:g} s" if serving.max_wait_s != usual.max_wait_s else "",
        "drop after": f"{serving.drop_after_s:g} s" if serving.drop_after_s is not None else "",
        "queue limit": str(serving.queue_limit or ""),
        "draw": serving.draw if serving.draw != usual.draw else "",
        "hop": f"{serving.hop_s:g} s" if serving.hop_s != usual.hop_s else "",
    }
    return {name: words for name, words in told.items() if words}
