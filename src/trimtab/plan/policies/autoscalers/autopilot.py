"""Autopilot's moving-window recommender, Google's ancestor of the vertical pod autoscaler, for cores.

Usage is sampled every second and counted in a histogram in which a sample loses half of its weight in 12 hours. Every
5 minutes the recommendation is

    (1 + margin) · statistic,

and the cores are the highest recommendation of the last hour. The statistic is, for a service, the 95th percentile of
the *load*: buckets count their weight × their cores, so that 95 % of all core-seconds fall at or below it. `p90` and
`max`, the highest sample that still has weight, are for services that bear more or less.

Source: Rzadca et al., "Autopilot: workload autoscaling at Google", EuroSys 2020, section 3.2. Half-life, percentiles
and a margin of 10 to 15 % are known to us from it; from memory only, and without certainty: that percentiles are of the
load (`by_load`), and the hour (`hold_s`). Which statistic goes with which service is not published beyond that, and the
second recommender, which learns, is not built here.

Ours: the buckets are those of `vpa_histogram`; cores are those measured; all limits of the request hold.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from trimtab.observe.model import Observation
from trimtab.plan.model import Plan
from trimtab.plan.policies.autoscalers.usage import Ticks, UsageMeter
from trimtab.plan.policies.autoscalers.vertical import Sizes, VerticalPolicy, VerticalSettings
from trimtab.plan.policies.autoscalers.vpa_histogram import DecayingHistogram
from trimtab.plan.policies.base import Rhythm

RECOMMEND_EVERY_S = 300.0
HALF_LIFE_S = 43200.0
SAMPLE_EVERY_S = 1.0
_LONGEST_HOLD_S = 14400.0
_SHARE = {"p95": 0.95, "p90": 0.9}


@dataclass(frozen=True, slots=True)
class AutopilotSettings(VerticalSettings):
    """What the recommender computes; `margin` is published as 0.10 to 0.15."""

    statistic: Literal["p95", "p90", "max"] = "p95"
    """What of the usage is recommended, before the margin."""
    by_load: bool = True
    """Whether a percentile is one of the load; false: of the time."""
    hold_s: float = 3600.0
    """The highest recommendation of so many seconds counts; up to four hours."""

    def __post_init__(self) -> None:
        VerticalSettings.__post_init__(self)
        if self.statistic not in (*_SHARE, "max"):
            raise ValueError(f"statistic is '{self.statistic}', wanted 'p95', 'p90' or 'max'")
        if not 0.0 <= self.hold_s <= _LONGEST_HOLD_S:
            raise ValueError(f"hold_s is {self.hold_s}, wanted 0 to {_LONGEST_HOLD_S:g} seconds")


class AutopilotPolicy(VerticalPolicy[AutopilotSettings]):
    """One replica of every task, of as many cores as the moving window recommends."""

    name = "autopilot"
    defaults = AutopilotSettings()
    rhythm = Rhythm(every_s=RECOMMEND_EVERY_S, horizon_s=RECOMMEND_EVERY_S)

    def __init__(self, settings: AutopilotSettings | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        super().__init__(settings)
        self._meter = UsageMeter(SAMPLE_EVERY_S)
        self._turns = Ticks(RECOMMEND_EVERY_S)
        self._usage: dict[str, DecayingHistogram] = {}
        most = round(_LONGEST_HOLD_S / RECOMMEND_EVERY_S) + 1
        self._seen: deque[tuple[float, dict[str, DecayingHistogram]]] = deque(maxlen=most)
        """What was known at the end of each turn."""

    def observe(self, observation: Observation, plan: Plan) -> None:
        """Take in what was seen while `plan` was in force."""
        start_s = observation.now_s - observation.window_s
        for name, usage in self._meter.observe(observation, plan).items():
            if name not in self._usage:
                self._usage[name] = DecayingHistogram(HALF_LIFE_S, start_s)
            self._usage[name].add(usage.usage_cores / usage.replicas, 1.0, usage.at_s)
        if self._turns.observe(observation):
            self._seen.append((observation.now_s, {name: h.copy() for name, h in self._usage.items()}))

    def _wanted(
        self,
        task: str,
        settings: AutopilotSettings,
        sizes: Sizes,  # noqa: ARG002 - of no account here
        current: int | None,  # noqa: ARG002 - as above
    ) -> tuple[float | None, str]:
        known = [(at_s, seen[task]) for at_s, seen in self._seen if task in seen]
        if not known:
            return None, "nothing was recommended yet"
        since_s = known[-1][0] - settings.hold_s
        advice = [_recommended(usage, task, settings) for at_s, usage in known if at_s >= since_s]
        kind = "of the load" if settings.by_load and settings.statistic != "max" else "of the samples"
        words = f"{settings.statistic} {kind} + {100 * settings.margin:g} %: {advice[-1]:.3g} cores"
        if max(advice) > advice[-1]:
            words += f", {max(advice):.3g} at most in the last {settings.hold_s:g} s"
        return max(advice), words


def _recommended(usage: DecayingHistogram, task: str, settings: AutopilotSettings) -> float:
    """Statistic and margin, with the history given, cores."""
    if settings.history_s > 0.0:
        usage = usage.with_history(settings.history_usage_cores[task], 1.0, settings.history_s, SAMPLE_EVERY_S)
    share = _SHARE.get(settings.statistic)
    cores = usage.highest if share is None else usage.percentile(share, by_load=settings.by_load)
    return (1.0 + settings.margin) * cores
