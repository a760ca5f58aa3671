"""Trimtab's forecaster: calm or jump, on the clock that the user's own bursts keep, and kept right by what came.

The number to come is a mixture. With some chance a burst begins within the horizon: then the number is that of a burst,
else that of a calm. Both parts, and the chance, come from a `Model`:

- `Untrained`, from the first minute on: the calm from `quantile`, the chance from the tables of `features`, the size
  from the bursts seen so far.
- `Trained` (`fit.py`, `trimtab forecast train`): all of it from boosted trees over `features`.

In the quantiles above the middle a jump weighs more than its count, by `JUMP_WEIGHTS` (see `mixture.heavier`): a burst
that was not planned for costs more than capacity that stands idle for a minute. `calibration` then moves the quantiles
of the highest second so that they hold as often as they say, whatever the model believed; those of the mean stay as the
model has them. Reasons, and what was tried: docs/design/forecast.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np

from trimtab.forecast.calibration import HORIZONS_S, QUANTILES, Calibration, Pending
from trimtab.forecast.features import NAMES, Features, Vector
from trimtab.forecast.mixture import Piecewise, heavier, log_normal, mixture_quantiles
from trimtab.forecast.model import Distribution, RateForecast
from trimtab.forecast.quantile import QuantileForecaster
from trimtab.forecast.trees import Forest

JUMP_WEIGHTS = {0.75: 2.0, 0.9: 4.0, 0.95: 7.0, 0.99: 3.0}
"""How much more than its count a jump weighs in a quantile. The 95 % one is the one that capacity is usually held for.
"""
JUMP = 1.5
"""A jump: the highest second to come is so many times the highest of a past as long."""
JUMP_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
ENSEMBLES = frozenset(
    {"chance", "expected", "average"}
    | {f"{what} {q:g}" for what in ("calm", "mean") for q in QUANTILES}
    | {f"jump {q:g}" for q in JUMP_QUANTILES}
)
"""What the trees of a trained forecaster answer; see `fit.py`."""
_JUMP_SCORES = tuple(NormalDist().inv_cdf(q) for q in JUMP_QUANTILES)


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """What a model says of one horizon, requests per second."""

    calm: Piecewise
    """Highest second where nothing jumps."""
    jump: Piecewise
    """Highest second of a jump."""
    chance: float
    """That it jumps."""
    expected: float
    """Mean of the highest second."""
    mean: Distribution
    """Mean rate over the horizon."""


class Model(Protocol):
    """Says what is coming, from features and from the calm forecast."""

    words: str

    def outlooks(self, features: Features, calm: QuantileForecaster, horizons_s: Sequence[float]) -> list[Outlook]:
        """One for each horizon; at least one recent second is known."""
        ...


class Untrained:
    """Calm as `quantile` has it; bursts as the clock and the past have them."""

    words = "learning as it goes"

    def outlooks(self, features: Features, calm: QuantileForecaster, horizons_s: Sequence[float]) -> list[Outlook]:
        """As `Model` says."""
        return [self._outlook(features, calm, horizon_s) for horizon_s in horizons_s]

    def _outlook(self, features: Features, calm: QuantileForecaster, horizon_s: float) -> Outlook:
        forecast = calm.forecast(horizon_s)
        if forecast is None or forecast.peak is None or forecast.mean is None:
            raise RuntimeError("asked for an outlook where nothing recent is known")
        peak, mean = forecast.peak, forecast.mean
        below = Piecewise.of(QUANTILES, np.array([peak.at(q) for q in QUANTILES]))
        chance = 0.0 if features.burst or not features.bursts else features.onset_chance(horizon_s)
        top = max(forecast.level_rps * features.usual_height, JUMP * peak.at(0.5))
        jump = log_normal(top, max(0.05, 1.25 * features.height_spread), JUMP_QUANTILES, _JUMP_SCORES)
        expected = (1.0 - chance) * peak.expected + chance * jump.mean()
        return Outlook(below, jump, chance, expected, mean)


class Trained:
    """Boosted trees over the features. Values are relative to the calm level, and counted from the level now."""

    words = "trained"

    def __init__(self, forest: Forest) -> None:
        """`forest`: the ensembles that `fit.grow` names."""
        self._forest = forest

    def outlooks(self, features: Features, calm: QuantileForecaster, horizons_s: Sequence[float]) -> list[Outlook]:  # noqa: ARG002 - not needed here
        """As `Model` says."""
        n = len(horizons_s)
        rows = features.rows([min(max(h, HORIZONS_S[0]), HORIZONS_S[-1]) for h in horizons_s])
        return self.read(rows, np.full(n, features.scale_rps), np.full(n, anchor_of(features)))

    def read(self, rows: Vector, scale_rps: Vector, anchor_rps: Vector) -> list[Outlook]:
        """Outlooks for rows of features, shape (n, features), with the scale and the anchor of each."""
        said = self._forest.predict(rows)
        chances = 1.0 / (1.0 + np.exp(-said.pop("chance")))
        rates = {name: np.maximum(0.0, anchor_rps + scale_rps * values) for name, values in said.items()}
        calm = np.column_stack([rates[f"calm {q:g}"] for q in QUANTILES])
        jump = np.column_stack([rates[f"jump {q:g}"] for q in JUMP_QUANTILES])
        mean = np.maximum.accumulate(np.column_stack([rates[f"mean {q:g}"] for q in QUANTILES]), axis=1)
        return [
            Outlook(
                calm=Piecewise.of(QUANTILES, calm[k]),
                jump=Piecewise.of(JUMP_QUANTILES, jump[k]),
                chance=float(chances[k]),
                expected=float(rates["expected"][k]),
                mean=Distribution(dict(zip(QUANTILES, mean[k].tolist(), strict=True)), float(rates["average"][k])),
            )
            for k in range(len(rows))
        ]


class ClockForecaster:
    """Calm or jump, on the clock, kept right; stated at the top."""

    name = "clock"

    def __init__(
        self, model: Model | None = None, features: Features | None = None, calibration: Calibration | None = None
    ) -> None:
        """Without anything: it knows nothing yet, and learns as it goes."""
        self._model = model or Untrained()
        self._features = features or Features()
        self._calibration = calibration or Calibration()
        self._calm = QuantileForecaster()

    def set_clock(self, now_s: float) -> None:
        """Say when the next observed second begins."""
        self._features.set_clock(now_s)
        self._calibration.forget_open()

    def observe(self, counts: Sequence[int | None]) -> None:
        """Take in one count per second, oldest first; None is a second of which nothing is known."""
        for count in counts:
            self._features.observe(count)
            self._calm.observe((count,))
            self._settle()
            self._open()

    def forecast(self, horizon_s: float) -> RateForecast | None:
        """What is coming; None while none of the last 15 s was counted."""
        calm = self._calm.forecast(horizon_s)
        if calm is None:
            return None
        outlook = self._model.outlooks(self._features, self._calm, [horizon_s])[0]
        raw, spread = raw_quantiles(outlook)
        values = self._calibration.apply(raw, spread, horizon_s)
        expected = self._calibration.unbiased(outlook.expected, spread, horizon_s)
        usual = _usual_excess(horizon_s)
        bursts = f"{100 * outlook.chance:.0f} % chance of a burst" if self._features.burst is None else "in a burst"
        return RateForecast(
            horizon_s=horizon_s,
            level_rps=calm.level_rps,
            quantiles_rps={
                q: _rate_under(v, usual, calm.burstiness) for q, v in zip(QUANTILES, values.tolist(), strict=True)
            },
            burstiness=calm.burstiness,
            basis=f"{calm.basis}; {bursts} ({self._model.words})",
            peak=Distribution(dict(zip(QUANTILES, values.tolist(), strict=True)), expected),
            mean=outlook.mean,
            warning=self._calibration.warning(horizon_s),
        )

    def _open(self) -> None:
        """Make the forecasts whose turn it is, to compare them with what comes."""
        due = self._calibration.due(self._features.clock_s)
        if not due or self._calm.forecast(1.0) is None:
            return
        for horizon_s, outlook in zip(due, self._model.outlooks(self._features, self._calm, due), strict=True):
            raw, spread = raw_quantiles(outlook)
            values = self._calibration.apply(raw, spread, horizon_s)
            pending = Pending(self._features.clock_s + horizon_s, values, outlook.expected, spread)
            self._calibration.tracks[horizon_s].open.append(pending)

    def _settle(self) -> None:
        """Compare the forecasts whose horizon has passed; one of which less than half was counted is dropped."""
        for horizon_s, track in self._calibration.tracks.items():
            if track.open and track.open[0].ends_s <= self._features.clock_s:
                highest = self._features.highest(horizon_s)
                if highest is None or self._features.known(horizon_s) < horizon_s / 2:
                    track.open.popleft()
                else:
                    track.settle(highest)


def anchor_of(features: Features) -> float:
    """The level that trained values are counted from: the last ten known seconds' mean, or the last minute's."""
    for seconds in (10, 60, HORIZONS_S[-1]):
        level = features.mean(seconds)
        if level is not None:
            return level
    return 0.0


def from_parameters(parameters: Mapping[str, Any]) -> ClockForecaster:
    """The forecaster of a file.

    Raises:
        KeyError, TypeError, ValueError: the parameters are damaged.
    """
    if list(parameters["features"]) != list(NAMES):
        raise ValueError("it was fitted on other features")
    forest = Forest.of(parameters["forest"], len(NAMES))
    if set(forest.names) != ENSEMBLES or len(forest.names) != len(ENSEMBLES):
        raise ValueError("the trees are for other questions")
    offsets = {int(h): np.array(v, dtype=np.float64) for h, v in dict(parameters["offsets"]).items()}
    if not all(np.isfinite(v).all() for v in offsets.values()):
        raise ValueError("an offset is not finite")
    if set(offsets) != set(HORIZONS_S) or any(v.shape != (len(QUANTILES),) for v in offsets.values()):
        raise ValueError("offsets are for other horizons or quantiles")
    return ClockForecaster(Trained(forest), Features.of(parameters["state"]), Calibration(offsets))


def raw_quantiles(outlook: Outlook) -> tuple[Vector, float]:
    """Quantiles of the highest second as the model has them, and the unit of their offsets.

    The unit is the calm's: what calibration moves is mostly the calm, for jumps are few.
    """
    chances = [heavier(outlook.chance, JUMP_WEIGHTS.get(q, 1.0)) for q in QUANTILES]
    values = mixture_quantiles(outlook.calm, outlook.jump, chances, QUANTILES)
    high, middle = outlook.calm.values[QUANTILES.index(0.9) + 1], outlook.calm.values[QUANTILES.index(0.5) + 1]
    return values, max(0.25, float(high - middle))


def _usual_excess(horizon_s: float) -> float:
    """Median of the largest of so many standard normal numbers."""
    return NormalDist().inv_cdf(0.5 ** (1.0 / max(1.0, horizon_s)))


def _rate_under(peak: float, excess: float, burstiness: float) -> float:
    """The rate λ of which `peak` is the usual highest count: λ + excess·√(burstiness·λ) = peak."""
    noise = excess * math.sqrt(burstiness)
    root = 0.5 * (math.sqrt(noise * noise + 4.0 * peak) - noise)
    return root * root
