"""What goes wrong: each trouble is a function from a scene to the same scene in trouble, found by its name.

Moments follow from the load, so that all contenders meet the same trouble at the same time. Profiles are wrong from the
start on: a run begins with the plan for the profile as it is believed, so its first second is the onset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

from experiments.trouble.scenes import Scene, slowed
from experiments.trouble.useless import ConstantForecaster, RandomForecaster

from trimtab.sim.model import Fault

NONE = "none"
GAP_S = 60
LOSSES, LOSS_EVERY_S = 5, 60
SLOW_FACTOR, SLOW_S = 3.0, 30.0
_NEAR_S = 10
"""Seconds before and after a moment that say whether the load rises there."""


def busiest_s(counts: Sequence[int | None], seconds: int) -> int:
    """The first second of the stretch of so many seconds that has the most requests; the first of several."""
    known = [count or 0 for count in counts]
    sums = [sum(known[i : i + seconds]) for i in range(max(1, len(known) - seconds + 1))]
    return sums.index(max(sums))


def steepest_s(counts: Sequence[int | None]) -> int:
    """The second from which on the next ten hold the most requests beyond the ten before it."""
    known = [count or 0 for count in counts]
    moments = range(_NEAR_S, max(_NEAR_S + 1, len(known) - _NEAR_S + 1))
    return max(moments, key=lambda t: sum(known[t : t + _NEAR_S]) - sum(known[t - _NEAR_S : t]))


def _profile_wrong(factor: float) -> Callable[[Scene], Scene]:
    return lambda scene: replace(scene, truth=slowed(scene.truth, factor))


def _mean_rps(scene: Scene) -> float:
    counts = scene.load.trace.counts
    return sum(count or 0 for count in counts) / len(counts)


def _constant_forecast(scene: Scene) -> Scene:
    return replace(scene, forecaster=ConstantForecaster(_mean_rps(scene)))


def _random_forecast(scene: Scene) -> Scene:
    return replace(scene, forecaster=RandomForecaster(_mean_rps(scene), scene.load.seed))


def _gap(scene: Scene, onset_s: float) -> Scene:
    return replace(scene, gaps=((onset_s, onset_s + GAP_S),), onsets_s=(onset_s,), lasts_s=float(GAP_S))


def _gap_in_burst(scene: Scene) -> Scene:
    return _gap(scene, float(busiest_s(scene.load.trace.counts, GAP_S)))


def _gap_at_rise(scene: Scene) -> Scene:
    return _gap(scene, float(steepest_s(scene.load.trace.counts)))


def _faulty(
    scene: Scene, onsets_s: tuple[float, ...], kind: Literal["lose", "slow"], factor: float = 1.0, for_s: float = 0.0
) -> Scene:
    """Every task has the fault in its first replica."""
    faults = tuple(Fault(at_s, task, kind, factor, for_s) for at_s in onsets_s for task in scene.pipeline.tasks)
    return replace(scene, faults=faults, onsets_s=onsets_s, lasts_s=for_s)


def _losses(scene: Scene) -> Scene:
    first = busiest_s(scene.load.trace.counts, LOSSES * LOSS_EVERY_S)
    return _faulty(scene, tuple(float(first + i * LOSS_EVERY_S) for i in range(LOSSES)), "lose")


def _slow(scene: Scene) -> Scene:
    onset_s = float(busiest_s(scene.load.trace.counts, round(SLOW_S)))
    return _faulty(scene, (onset_s,), "slow", SLOW_FACTOR, SLOW_S)


TROUBLES: Mapping[str, Callable[[Scene], Scene]] = MappingProxyType(
    {
        NONE: lambda scene: scene,
        "service × 1.5": _profile_wrong(1.5),
        "service × 0.7": _profile_wrong(0.7),
        "forecast constant": _constant_forecast,
        "forecast random": _random_forecast,
        "gap in a burst": _gap_in_burst,
        "gap at a rise": _gap_at_rise,
        "replicas lost": _losses,
        "replica slow": _slow,
    }
)
"""Name → what it does to a scene. Gaps: nothing is seen for a minute, from the busiest minute's beginning, or from the
steepest rise on. Replicas lost: every minute of the busiest five, the first of each task. Slow: the first of each task,
three times as slow through the busiest half minute."""
