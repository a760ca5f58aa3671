"""How good a forecaster is: it is asked again and again along a recorded load, and its answers are scored.

Rolling origin (L. Tashman 2000): at each *origin* the forecaster has observed everything before, and only that. What
it is asked for, and scored on, are the highest second within the horizon, which the published systems plan for, and
the mean over the horizon.

An origin counts where at least half of the horizon was recorded, so that there is a truth, and something of an
equally long past, so that there is a last value to compare with. All others are left out for every forecaster alike.

Each score is that of its own best answer (T. Gneiting 2011): pinball loss and coverage of the quantiles, squared error
of the expected value, absolute and relative error of the median.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import ForecastError, TrimtabError
from trimtab.forecast.model import Distribution, Forecaster, RateForecast

QUANTILES = (0.5, 0.9, 0.95, 0.99)
UPPER = (0.95, 0.99)
"""The quantiles that capacity is planned for: what they cover of bursts, and what they cost otherwise, is told."""
BASELINE = "last"
"""The forecaster that all are compared with."""
ONSET = 1.5
"""A burst begins where the next maximum is more than so many times the last one."""
_KNOWN = 0.5
"""Least share of a horizon that must have been recorded."""
_PORTION_S = 3600
"""Longest stretch that is observed at once, so that progress can be told."""
_CELLS = 1 << 22
"""Seconds of windows held in memory at once."""

Counts = Sequence[int | None]
Floats = NDArray[np.float64]
Given = TypeVar("Given")
Told = TypeVar("Told")


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be forecast, and how often it is asked."""

    name: str
    horizon_s: int
    stride_s: int
    divide: int = 1
    """Counts are divided by this, and rounded down, before anyone sees them."""

    def __post_init__(self) -> None:
        for what, value in (("horizon", self.horizon_s), ("stride", self.stride_s), ("divisor", self.divide)):
            if value < 1:
                raise ForecastError(f"the {what} is too small", got=value, wanted="a whole number, 1 or more")

    def counts(self, counts: Counts) -> Counts:
        """The counts as this target has them."""
        if self.divide == 1:
            return counts
        return [None if count is None else count // self.divide for count in counts]


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        each.name: each
        for each in (
            Target("infadapter", horizon_s=60, stride_s=60),
            Target("ipa", horizon_s=20, stride_s=10, divide=8),
        )
    }
)
"""What InfAdapter (Salmani et al. 2023) and IPA (Ghafouri et al. 2024) forecast. IPA plays its trace at an eighth."""


@dataclass(frozen=True, slots=True, eq=False)
class Origins:
    """Where forecasts are asked for, and what came then; arrays with one entry per origin."""

    target: Target
    start: int
    """The second of the trace from which forecasters are judged: what came before, they have observed."""
    stop: int
    """The first second that belongs no longer to what is judged."""
    at: NDArray[np.int64]
    """The first second of the horizon."""
    last: Floats
    """Highest count of the last seconds, as many as the horizon has."""
    peak: Floats
    """Highest count within the horizon."""
    mean: Floats
    """Mean of the counts within the horizon, requests per second."""
    left_out: int
    """Origins that do not count, for want of records."""

    def __len__(self) -> int:
        return len(self.at)

    @property
    def onsets(self) -> NDArray[np.bool_]:
        """Whether a burst begins."""
        return np.asarray(self.peak > ONSET * self.last, dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """What a forecaster said about one number."""

    quantiles: Floats
    """One row per origin, one column for each of `QUANTILES`."""
    expected: Floats
    """One entry per origin."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a forecaster said at all origins."""

    peak: Guess
    mean: Guess
    unanswered: int
    """Origins at which it said nothing. What is scored there is the last maximum, with certainty."""
    warned: int
    """Origins at which it warned that its own quantiles have not held lately."""
    forecast_s: float
    """Time that a forecast took, in the mean."""
    observe_s: float
    """Time that observing one second took, in the mean."""


@dataclass(frozen=True, slots=True)
class NumberScores:
    """How well one number was forecast."""

    pinball: Mapping[float, float]
    """Quantile → mean of q·(y - x) where the truth y lies above the quantile x, else of (1 - q)·(x - y)."""
    coverage: Mapping[float, float]
    """Quantile → share of truths that do not exceed it. A truth that equals its quantile is covered, as the definition
    of a quantile of whole numbers has it."""
    mse: float
    """Mean squared error of the expected value."""
    mae: float
    """Mean absolute error of the median."""
    smape: float
    """Mean of 2·|y - x| ÷ (y + x) for the median x, from 0 to 2; 0 where both are 0."""

    @property
    def mean_pinball(self) -> float:
        """Over the quantiles: the one figure for the forecast as a whole."""
        return math.fsum(self.pinball.values()) / len(self.pinball)

    @property
    def miscoverage(self) -> float:
        """The largest difference of a quantile's coverage from the quantile."""
        return max(abs(share - q) for q, share in self.coverage.items())


@dataclass(frozen=True, slots=True)
class Scores:
    """How good a forecaster was."""

    peak: NumberScores
    mean: NumberScores
    onsets_covered: Mapping[float, float | None]
    """Quantile of `UPPER` → share of burst onsets whose maximum did not exceed it; None: there was no onset."""
    over_forecast: Mapping[float, float | None]
    """Quantile of `UPPER` → mean of max(0, x - y) ÷ y at all other origins, with y at least 1; None: there are none."""
    unanswered: int
    warned: int
    forecast_s: float
    observe_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """All forecasters on one target."""

    origins: Origins
    answers: Mapping[str, Answers]
    """By forecaster; the baseline is among them."""
    scores: Mapping[str, Scores]

    @property
    def target(self) -> Target:
        """What was to be forecast."""
        return self.origins.target

    def mse_below(self, name: str) -> float | None:
        """Share by which the squared error lies below the baseline's; None where that made no error."""
        baseline = self.scores[BASELINE].peak.mse
        return 1.0 - self.scores[name].peak.mse / baseline if baseline else None

    @property
    def best(self) -> str:
        """The forecaster with the lowest pinball loss; the baseline only where it is alone."""
        others = [name for name in self.scores if name != BASELINE]
        return min(others, key=lambda name: self.scores[name].peak.mean_pinball, default=BASELINE)


def find_origins(counts: Counts, start: int, stop: int, target: Target) -> Origins:
    """The origins from second `start` on whose horizons end by `stop`, and what came; `counts` are the target's.

    Raises:
        ForecastError: there is none that counts.
    """
    horizon, stop = target.horizon_s, min(stop, len(counts))
    at = np.arange(start, stop - horizon + 1, target.stride_s, dtype=np.int64)
    known = np.array([np.nan if count is None else count for count in counts[max(0, start - horizon) : stop]])
    padded = np.concatenate((np.full(max(0, horizon - start), np.nan), known))
    past, past_share, _ = _windows(padded, at - start, horizon)
    peak, share, mean = _windows(padded, at - start + horizon, horizon)
    kept = (share >= _KNOWN) & (past_share > 0.0)
    if not kept.any():
        raise ForecastError(
            "there is nothing to judge forecasts by",
            got=f"{len(at):,} horizons of {horizon} s in seconds {start:,} to {stop:,}, with too little recorded",
            wanted="one of which half was recorded, with a recorded second before it",
        )
    left_out = int(np.count_nonzero(~kept))
    return Origins(target, start, stop, at[kept], past[kept], peak[kept], mean[kept], left_out)


def ask(
    forecaster: Forecaster,
    name: str,
    counts: Counts,
    origins: Origins,
    *,
    clock: Callable[[], float],
    history_s: int | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Answers:
    """Let a fresh forecaster observe the counts before the start, then answer at every origin.

    Args:
        forecaster: which one.
        name: what it is called in errors.
        counts: the target's.
        origins: where it is asked.
        clock: tells seconds from any start, for what forecasts cost.
        history_s: how much before the start it observes; None: everything.
        on_progress: is told the share that is done.

    Raises:
        ForecastError: it failed, or said something that is no number.
    """
    horizon_s = float(origins.target.horizon_s)
    now = first = 0 if history_s is None else max(0, origins.start - history_s)
    end = int(origins.at[-1])
    said: list[RateForecast | None] = []
    observing = forecasting = 0.0
    for at in origins.at.tolist():
        while now < at:
            until = min(at, now + _PORTION_S)
            observing += _timed(clock, forecaster.observe, counts[now:until], name, now)[1]
            now = until
            if on_progress is not None:
                on_progress((now - first) / (end - first))
        forecast, took = _timed(clock, forecaster.forecast, horizon_s, name, at)
        said.append(forecast)
        forecasting += took
    _check(said, origins, name)
    return Answers(
        peak=_guess([None if each is None else _peak(each) for each in said], origins, name),
        mean=_guess([None if each is None else _mean(each) for each in said], origins, name),
        unanswered=sum(each is None for each in said),
        warned=sum(each is not None and each.warning is not None for each in said),
        forecast_s=forecasting / len(said),
        observe_s=observing / max(1, now - first),
    )


def score(origins: Origins, answers: Answers) -> Scores:
    """How good the answers were."""
    onsets, peaks = origins.onsets, answers.peak.quantiles
    covered = origins.peak[:, None] <= peaks
    over = np.maximum(0.0, peaks - origins.peak[:, None]) / np.maximum(1.0, origins.peak)[:, None]
    return Scores(
        peak=score_number(origins.peak, answers.peak),
        mean=score_number(origins.mean, answers.mean),
        onsets_covered={q: _mean_of(covered[onsets, QUANTILES.index(q)]) for q in UPPER},
        over_forecast={q: _mean_of(over[~onsets, QUANTILES.index(q)]) for q in UPPER},
        unanswered=answers.unanswered,
        warned=answers.warned,
        forecast_s=answers.forecast_s,
        observe_s=answers.observe_s,
    )


def score_number(truth: Floats, guess: Guess) -> NumberScores:
    """How well one number was forecast: `truth` has one entry per origin."""
    short = truth[:, None] - guess.quantiles
    levels = np.array(QUANTILES)
    pinball = np.maximum(levels * short, (levels - 1.0) * short).mean(axis=0)
    coverage = (truth[:, None] <= guess.quantiles).mean(axis=0)
    median = guess.quantiles[:, QUANTILES.index(0.5)]
    error, total = np.abs(truth - median), np.abs(truth) + np.abs(median)
    return NumberScores(
        pinball=dict(zip(QUANTILES, pinball.tolist(), strict=True)),
        coverage=dict(zip(QUANTILES, coverage.tolist(), strict=True)),
        mse=float(np.mean((truth - guess.expected) ** 2)),
        mae=float(np.mean(error)),
        smape=float(np.mean(np.divide(2.0 * error, total, out=np.zeros_like(total), where=total > 0.0))),
    )


def _mean_of(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def _windows(counts: Floats, begins: NDArray[np.int64], length: int) -> tuple[Floats, Floats, Floats]:
    """Highest known count, share of known seconds, and mean of the known ones, of the windows that begin there.

    NaN is a second of which nothing is known; what is said of a window that has only those means nothing.
    """
    told = np.zeros((3, len(begins)))
    step = max(1, _CELLS // length)
    for i in range(0, len(begins), step):
        window = counts[begins[i : i + step, None] + np.arange(length)]
        known = ~np.isnan(window)
        seconds = known.sum(axis=1)
        window = np.where(known, window, 0.0)
        told[:, i : i + step] = window.max(axis=1), seconds / length, window.sum(axis=1) / np.maximum(seconds, 1)
    return told[0], told[1], told[2]


def _timed(
    clock: Callable[[], float], function: Callable[[Given], Told], given: Given, name: str, second: int
) -> tuple[Told, float]:
    """What the function of the forecaster says, and how long that took."""
    began = clock()
    try:
        told = function(given)
    except TrimtabError:
        raise
    except Exception as error:  # whatever someone's own class may raise
        raise ForecastError(
            f"the forecaster failed ({type(error).__name__}: {error})",
            where=f"{name}, second {second:,}",
            next_step="trimtab.testing.check_forecaster says what a forecaster must do",
        ) from error
    return told, clock() - began


def _check(said: Sequence[object], origins: Origins, name: str) -> None:
    for at, each in zip(origins.at.tolist(), said, strict=True):
        if each is not None and not (isinstance(each, RateForecast) and each.quantiles_rps):
            raise ForecastError(
                "what was said is no forecast",
                where=f"{name}, second {at:,}",
                got=type(each).__name__,
                wanted="a RateForecast with quantiles, or None",
            )


def _peak(forecast: RateForecast) -> Distribution:
    """Of the highest second. Where it is not told apart, the highest rate stands for it, with its median expected."""
    return forecast.peak or Distribution(forecast.quantiles_rps, expected=forecast.at(0.5))


def _mean(forecast: RateForecast) -> Distribution:
    """Of the mean. Where it is not told apart, the level stands for it, with certainty."""
    return forecast.mean or Distribution({0.5: forecast.level_rps}, expected=forecast.level_rps)


def _guess(said: Sequence[Distribution | None], origins: Origins, name: str) -> Guess:
    """The answers as arrays, checked; the last maximum where there is none."""
    rows = np.array(
        [
            [last] * (len(QUANTILES) + 1) if each is None else [*(each.at(q) for q in QUANTILES), each.expected]
            for each, last in zip(said, origins.last.tolist(), strict=True)
        ],
        dtype=np.float64,
    )
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise ForecastError(
            "the forecast is no number",
            where=f"{name}, second {int(origins.at[bad[0]]):,}",
            got=", ".join(f"{value:g}" for value in rows[bad[0]]),
            wanted="finite quantiles and a finite expected value",
        )
    return Guess(rows[:, :-1], rows[:, -1])
