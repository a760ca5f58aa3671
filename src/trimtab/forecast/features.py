"""What the past says about the near future, kept up second by second in constant time and memory.

Everything is relative: rates are divided by `scale_rps`, the calm level, so that what was learned at 50/s holds at
50,000/s. Seconds that were not counted are left out of every mean and maximum; they are never zeros.

The clock of the bursts is a set of tables. Each covers a period (half an hour, one hour, two hours, a day) in slots of
ten seconds and holds how often a burst began, or ended, in a slot, over how often the slot was seen. Summed over the
slots of a horizon that is the chance that one will (a discrete hazard, D. R. Cox 1972 §6, without covariates).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

SLOT_S = 10
PERIODS_S = (1800, 3600, 7200, 86_400)
_RING_S = 600
_MINUTES = 60
"""Minute means that the calm level is the 30th percentile of."""
_CALM = 0.3
_SPREAD = (0.1, 0.2, 0.4, 0.2, 0.1)
"""An onset counts for its slot and, less, for the two on either side: clocks and ramps are not exact to the second."""
_UNSEEN = 2.0
"""Visits without an onset that every slot is thought to have had."""
_PRIOR_VISITS = 3.0
_JUMP, _SIGMAS = 1.5, 4.0
"""A burst has begun when 5 s are so many times the minute before, and so many standard errors above it."""
_OVER = 0.35
"""A burst is over when 10 s have fallen below this share of its height."""
_CONFIRM_S = 20
"""A burst that is over sooner is a gust, and nothing is learned from it."""
_FORGET_S = 4 * 3600
"""Times since something are told up to this."""
_LONGEST_S = 3600
"""A burst that lasts longer is a new level."""
_GAIN = 0.2
"""Weight of the newest burst in what is usual of bursts."""

NAMES = (
    "horizon",
    "noise",
    "level_3",
    "level_10",
    *(f"mean_10_back_{k}" for k in range(1, 6)),
    "max_10",
    "max_20",
    *(f"max_60_back_{k}" for k in range(5)),
    "max_60_back_9",
    "mean_60",
    "mean_300",
    "mean_600",
    "in_burst",
    "since_onset",
    "since_end",
    "height",
    "before",
    "usual_height",
    "usual_length",
    "of_half_hour",
    "of_hour",
    "hour",
    "parity",
    *(f"onset_{p}" for p in PERIODS_S),
    *(f"end_{p}" for p in PERIODS_S),
    "onset_later",
)
"""The features, in order."""


@dataclass(frozen=True, slots=True)
class Burst:
    """The burst that is on."""

    since_s: float
    before_rps: float
    top_rps: float
    confirmed: bool = False
    """Whether it has lasted so long that it is no mere gust."""


class SlotTable:
    """How often something happened in each slot of a period."""

    def __init__(self, period_s: int) -> None:
        self.slots = period_s // SLOT_S
        self.events = np.zeros(self.slots)
        self.visits = np.zeros(self.slots)

    def visit(self, slot: int) -> None:
        """The slot was seen once more."""
        self.visits[slot % self.slots] += 1.0

    def happened(self, slot: int) -> None:
        """It happened in that slot."""
        for k, share in enumerate(_SPREAD, start=-(len(_SPREAD) // 2)):
            self.events[(slot + k) % self.slots] += share

    def chance(self, first_slot: float, slots: float) -> float:
        """Chance that it happens within `slots` slots from `first_slot` on; parts of slots count in part."""
        first = math.floor(first_slot)
        count = min(math.ceil(first_slot + slots) - first, self.slots)
        which = np.arange(first, first + count) % self.slots
        hazards = self.events[which] / (self.visits[which] + _UNSEEN)
        hazards[0] *= 1.0 - (first_slot - first)
        if count > 1:
            hazards[-1] *= min(1.0, first_slot + slots - (first + count - 1))
        return float(1.0 - np.exp(-hazards.sum()))


class Features:
    """The state that features follow from."""

    def __init__(self) -> None:
        self.clock_s = 0
        self.onsets = {p: SlotTable(p) for p in PERIODS_S}
        self.ends = {p: SlotTable(p) for p in PERIODS_S}
        self.bursts = 0
        """Bursts that have ended."""
        self.usual_height, self.height_spread, self.usual_length_s = 1.0, 0.5, 300.0
        """Height ÷ level before, its mean absolute deviation in logarithms, and length of the bursts so far."""
        self._forget()

    def _forget(self) -> None:
        """Forget the recent past; what is known of the clock stays."""
        self._ring = np.zeros(2 * _RING_S)  # written twice, so that the newest seconds are one slice
        self._known = np.zeros(2 * _RING_S)
        self._at = 0
        self._minutes: list[float] = []
        self._minute_sum, self._minute_known = 0.0, 0
        self._calm = 0.0
        self.burst: Burst | None = None
        self._onset_s = self._ended_s = -math.inf

    def set_clock(self, now_s: float) -> None:
        """The next second begins at `now_s`; what came just before is unknown."""
        self._forget()
        self.clock_s = math.floor(now_s)

    def observe(self, count: int | None) -> None:
        """One more second."""
        value, known = (0.0, 0.0) if count is None else (float(count), 1.0)
        at = self._at
        self._ring[at] = self._ring[at + _RING_S] = value
        self._known[at] = self._known[at + _RING_S] = known
        self._at = (at + 1) % _RING_S
        self.clock_s += 1
        if count is not None:
            self._minute_sum += value
            self._minute_known += 1
        if self.clock_s % 60 == 0:
            self._end_minute()
        slot = (self.clock_s - 1) // SLOT_S
        if self.clock_s % SLOT_S == 0 and known:
            for table in (*self.onsets.values(), *self.ends.values()):
                table.visit(slot)
        if known:
            self._follow_burst(slot)

    def _end_minute(self) -> None:
        if self._minute_known:
            self._minutes.append(self._minute_sum / self._minute_known)
            del self._minutes[:-_MINUTES]
            self._calm = sorted(self._minutes)[int(_CALM * (len(self._minutes) - 1))]
        self._minute_sum, self._minute_known = 0.0, 0

    def _follow_burst(self, slot: int) -> None:
        if self.burst is None:
            fast, slow = self.mean(5), self.mean(60, back=5)
            if fast is None or slow is None or fast <= _JUMP * slow:
                return
            if self.known(60, back=5) >= 15 and fast - slow > _SIGMAS * math.sqrt((slow + 0.5) / 5.0):
                self.burst = Burst(self.clock_s - 5, slow, fast)
            return
        level = self.mean(10)
        if level is None:
            return
        burst, length_s = self.burst, self.clock_s - self.burst.since_s
        over = level < burst.before_rps + _OVER * (burst.top_rps - burst.before_rps)
        if not burst.confirmed and length_s >= _CONFIRM_S:
            if level < _JUMP * burst.before_rps:
                self.burst = None
                return
            burst = replace(burst, confirmed=True)
            self._onset_s = burst.since_s
            for table in self.onsets.values():
                table.happened(int(burst.since_s) // SLOT_S)
        self.burst = replace(burst, top_rps=max(burst.top_rps, level))
        if burst.confirmed and over:
            self._learn_burst(burst, length_s)
            for table in self.ends.values():
                table.happened(slot)
        if (burst.confirmed and over) or length_s > _LONGEST_S:
            self.burst, self._ended_s = None, float(self.clock_s)

    def _learn_burst(self, burst: Burst, length_s: float) -> None:
        """Heights and lengths by an exponentially weighted mean; the first ones count in full."""
        self.bursts += 1
        gain = max(_GAIN, 1.0 / self.bursts)
        height = math.log(burst.top_rps / max(burst.before_rps, 0.1))
        error = height - math.log(max(self.usual_height, 1e-9))
        if self.bursts > 1:
            self.height_spread += gain * (abs(error) - self.height_spread)
        self.usual_height *= math.exp(gain * error)
        self.usual_length_s += gain * (length_s - self.usual_length_s)

    def known(self, seconds: int, back: int = 0) -> int:
        """Known ones of the `seconds` that ended `back` seconds ago."""
        end = self._at + _RING_S - back
        return int(self._known[end - seconds : end].sum())

    def mean(self, seconds: int, back: int = 0) -> float | None:
        """Mean count of those seconds; None where none is known."""
        end = self._at + _RING_S - back
        known = self._known[end - seconds : end].sum()
        return float(self._ring[end - seconds : end].sum() / known) if known else None

    def highest(self, seconds: int, back: int = 0) -> float | None:
        """Highest count of those seconds; None where none is known."""
        end = self._at + _RING_S - back
        if not self._known[end - seconds : end].any():
            return None
        return float(self._ring[end - seconds : end].max())  # unknown seconds are zeros here, and no maximum

    @property
    def scale_rps(self) -> float:
        """The calm level: the 30th percentile of the last hour's minute means, or the recent mean; at least 1."""
        calm = self._calm if self._minutes else (self.mean(60) or 0.0)
        return max(1.0, calm)

    def onset_chance(self, horizon_s: float) -> float:
        """Chance that a burst begins within the horizon.

        Each table in turn, from the shortest period to the longest, corrects the one before as far as it has seen: an
        empirical Bayes estimate with the shorter period as its prior, worth `_PRIOR_VISITS` visits.
        """
        first, slots = self.clock_s // SLOT_S, max(1, math.ceil(horizon_s / SLOT_S))
        shortest = self.onsets[PERIODS_S[0]]
        hazard: Vector = np.full(slots, shortest.events.sum() / (shortest.visits.sum() + shortest.slots))
        for table in self.onsets.values():
            which = np.arange(first, first + slots) % table.slots
            hazard = (table.events[which] + _PRIOR_VISITS * hazard) / (table.visits[which] + _PRIOR_VISITS)
        return float(1.0 - np.exp(-hazard.sum() * min(1.0, horizon_s / SLOT_S)))

    def rows(self, horizons_s: Sequence[float]) -> Vector:
        """Features for each horizon, shape (horizons, features); NaN: unknown."""
        nan = math.nan
        scale = self.scale_rps

        def relative(value: float | None) -> float:
            return nan if value is None else value / scale

        burst, clock_s = self.burst, self.clock_s
        sums = self._tens()
        shared = [
            1.0 / math.sqrt(scale),
            relative(self.mean(3)),
            *(value / scale for value in sums),
            relative(self.highest(10)),
            relative(self.highest(20)),
            *(relative(self.highest(60, back=60 * k)) for k in (0, 1, 2, 3, 4, 9)),
            relative(self.mean(60)),
            relative(self.mean(300)),
            relative(self.mean(600)),
            float(burst is not None),
            min(clock_s - self._onset_s, _FORGET_S),
            min(clock_s - self._ended_s, _FORGET_S),
            relative(burst.top_rps) if burst else nan,
            relative(burst.before_rps) if burst else nan,
            self.usual_height,
            self.usual_length_s,
            clock_s % 1800,
            clock_s % 3600,
            clock_s // 3600 % 24,
            clock_s // 3600 % 2,
        ]
        at = clock_s / SLOT_S
        rows = []
        for horizon_s in horizons_s:
            slots = horizon_s / SLOT_S
            rows.append(
                [
                    math.log(horizon_s),
                    *shared,
                    *(table.chance(at, slots) for table in self.onsets.values()),
                    *(table.chance(at, slots) for table in self.ends.values()),
                    self.onsets[7200].chance(at, slots / 2.0),
                ]
            )
        return np.array(rows, dtype=np.float64)

    def _tens(self) -> list[float]:
        """Mean counts of the last six ten-second windows, newest first; NaN where nothing is known."""
        end = self._at + _RING_S
        sums = self._ring[end - 60 : end].reshape(6, 10).sum(axis=1)
        known = self._known[end - 60 : end].reshape(6, 10).sum(axis=1)
        return [s / n if n else math.nan for s, n in zip(sums[::-1].tolist(), known[::-1].tolist(), strict=True)]

    def state(self) -> dict[str, Any]:
        """What is known of the clock and of bursts, as plain values for a file."""
        return {
            "clock_s": self.clock_s,
            "bursts": self.bursts,
            "usual": [self.usual_height, self.height_spread, self.usual_length_s],
            "tables": {
                name: {str(p): [_short(t.events), _short(t.visits)] for p, t in tables.items()}
                for name, tables in (("onsets", self.onsets), ("ends", self.ends))
            },
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Features:
        """The features of a `state`; the recent past is unknown.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        made = cls()
        usual = [float(v) for v in state["usual"]]
        if not all(0.0 <= v < math.inf for v in (*usual, state["clock_s"], state["bursts"])) or usual[0] == 0.0:
            raise ValueError("a number of the state has no meaning")
        made.clock_s, made.bursts = int(state["clock_s"]), int(state["bursts"])
        made.usual_height, made.height_spread, made.usual_length_s = usual
        for name, tables in (("onsets", made.onsets), ("ends", made.ends)):
            for period_s, table in tables.items():
                events, visits = (np.array(v, dtype=np.float64) for v in state["tables"][name][str(period_s)])
                if events.shape != table.events.shape or visits.shape != table.visits.shape:
                    raise ValueError(f"the table of {period_s} s has another length")
                if not all((values >= 0.0).all() and np.isfinite(values).all() for values in (events, visits)):
                    raise ValueError(f"the table of {period_s} s holds what is no number of times")
                table.events, table.visits = events, visits
        return made


def _short(values: Vector) -> list[float]:
    return [round(v, 4) for v in values.tolist()]
