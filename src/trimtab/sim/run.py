"""One simulated run: arrivals, plant and controller, from the first plan to the last request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trimtab.control.journal import JournalWriter
from trimtab.control.settings import ControllerSettings
from trimtab.forecast import Forecaster
from trimtab.plan.model import Plan
from trimtab.plan.policies import Policy
from trimtab.profile.model import Profile
from trimtab.sim.model import Fault, PlantModel, Serving
from trimtab.sim.result import SimResult
from trimtab.spec.model import Pipeline
from trimtab.workload.arrivals import Arrivals
from trimtab.workload.trace import Trace


@dataclass(frozen=True, slots=True)
class Load:
    """What arrives."""

    trace: Trace
    arrivals: Arrivals = "poisson"
    seed: int = 0
    history: tuple[int | None, ...] = ()
    """Counts of the seconds before the trace, which forecasters may know; oldest first."""


def simulate(
    pipeline: Pipeline,
    profile: Profile,
    load: Load,
    policy: Policy,
    plant: PlantModel,
    *,
    cores: int | None = None,
    forecaster: Forecaster | None = None,
    settings: ControllerSettings | None = None,
    serving: Serving | None = None,
    truth: Profile | None = None,
    faults: Sequence[Fault] = (),
    start: Plan | None = None,
    interval_s: float = 1.0,
    window_s: float = 5.0,
    journal: JournalWriter | None = None,
    on_progress: Callable[[float], None] | None = None,
    notes: tuple[str, ...] = (),
) -> SimResult:
    """Run `policy` on a simulated plant under `load`; the same arguments give the same result.

    The run starts from a planned state: replicas of the first plan are ready at once. That plan is made for the mean
    rate of the trace's first minute, or is `start`.

    Args:
        pipeline: what is served.
        profile: what the policy and the dispatcher believe.
        load: what arrives.
        policy: proposes plans; a fresh one, where it is an `ObservingPolicy`.
        plant: how long changes take.
        cores: cores that plans may hold; None: the budget's, else those of the machine that was profiled.
        forecaster: a fresh one; None: the policy's own, or else the default.
        settings: the control loop; None: the policy's rhythm, or else Trimtab's own.
        serving: how requests are queued, batched and drawn.
        truth: how long service really takes; None: as `profile` says.
        faults: what goes wrong.
        start: the plan in force at the start.
        interval_s: time between observations.
        window_s: length of the windows of the series, a multiple of `interval_s`.
        journal: takes every turn.
        on_progress: told the share that is done, now and then.
        notes: what else a reader of the result must know.

    Raises:
        PlanRequestError: no plan can exist for this pipeline, profile and limits.
        TraceError: the trace has missing seconds or no request.
        SimulationError: something asked for has no meaning.
    """
    raise NotImplementedError
