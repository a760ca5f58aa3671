"""Themis's question: will the load exceed a target within the next ten seconds?

A layer of 25 LSTM units reads the maxima of the last six windows of 10 s, then the target; the logistic function of one
number out of its state is P(highest second of the next 10 s > target). Themis (Razavi et al., arXiv:2407.14843) takes
more than 0.2 as a rise and adds cores before it adds replicas. What comes with Trimtab was trained anew, by
`experiments/forecast/train_lstm.py`, for the paper's weights are not published.

As a forecaster, `themis` asks for many targets at once: the smallest one that is exceeded with at most probability
1 - q is the q-quantile of the highest second. Where a larger target has a larger probability, which is nonsense that a
network may say, the smaller one counts for both. It reads raw requests per second, as its paper's does, so its chances
are good for loads like those it learnt from, about 30 to 390/s; at 5/s it expects 20. Elsewhere, train it anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from trimtab.errors import ForecastError
from trimtab.forecast.file import read_fitted
from trimtab.forecast.lstm import WEIGHTS, Array, Lstm, whole
from trimtab.forecast.model import Distribution
from trimtab.forecast.windowed import QUANTILES, LastForecaster, Told, Windowed, unready

THRESHOLD = 0.2
"""Themis takes a larger probability as a rise."""
_FACTORS = np.concatenate(([0.0], np.geomspace(0.2, 5.0, 120)))
"""Targets asked for, by the highest of the past maxima."""


@runtime_checkable
class ExceedModel(Protocol):
    """Says how likely the load is to exceed a target soon."""

    def observe(self, counts: Sequence[int | None]) -> None:
        """Take in the arrivals of the next whole seconds, oldest first; None: nothing was recorded then."""
        ...

    def probability(self, target_rps: float) -> float | None:
        """P(highest second to come > target), 0 to 1; None while too little is known. Changes no state."""
        ...


class LstmExceedModel(Windowed):
    """Themis's model, and by inversion a forecaster of the highest second of the next ten."""

    def __init__(self, network: Lstm, name: str, *, window_s: int, windows: int, horizon_s: int) -> None:
        """With its trained weights.

        Args:
            network: reads one maximum per step, then the target.
            name: for journals and reports.
            window_s: length of a window.
            windows: how many of them are read.
            horizon_s: length of the time it was trained to tell about.
        """
        super().__init__()
        self.name = name
        self._network, self._window_s, self._windows, self._horizon_s = network, window_s, windows, horizon_s
        self._last = LastForecaster()

    def observe(self, counts: Sequence[int | None]) -> None:
        """Take in one count per second, oldest first; None is a second of which nothing is known."""
        super().observe(counts)
        self._last.observe(counts)

    @classmethod
    def from_file(cls, path: Path) -> LstmExceedModel:
        """Read one.

        Raises:
            ForecastError: the file holds none.
        """
        made = read_fitted(path).forecaster(str(path))
        if not isinstance(made, cls):
            raise ForecastError(
                "the file holds no model that tells whether a target is exceeded",
                where=str(path),
                got=made.name,
                wanted="kind 'exceed'",
            )
        return made

    def probability(self, target_rps: float) -> float | None:
        """P(highest second to come > target), 0 to 1; None until each window holds a known second."""
        maxima = self._maxima(self._window_s, self._windows)
        return None if maxima is None else float(self.probabilities(maxima, [target_rps])[0])

    def rises(self, target_rps: float) -> bool | None:
        """Whether Themis takes the target to be exceeded; None while too little is known."""
        probability = self.probability(target_rps)
        return None if probability is None else probability > THRESHOLD

    def probabilities(self, maxima: Sequence[float] | Array, targets_rps: Sequence[float] | Array) -> Array:
        """P(exceeded) of each target after these maxima, oldest first."""
        asked = np.asarray(targets_rps, dtype=np.float64)[:, None]
        logits = self._network.output(self._network.step(asked, self._network.read(maxima)))
        result: Array = 0.5 + 0.5 * np.tanh(0.5 * logits)
        return result

    def _told(self, seconds: int) -> Told | None:
        maxima = self._maxima(self._window_s, self._windows)
        if maxima is None:
            return unready(self.name, self._last.forecast(self._window_s))
        targets = max(1.0, *maxima) * _FACTORS
        exceeded = np.minimum.accumulate(self.probabilities(maxima, targets))
        values = {q: float(np.interp(q, 1.0 - exceeded, targets)) for q in QUANTILES}
        # The mean of what is not negative is the area under P(exceeded).
        area = np.sum((exceeded[1:] + exceeded[:-1]) * np.diff(targets)) / 2.0
        own = "" if seconds == self._horizon_s else f", as for {self._horizon_s} s"
        basis = f"an LSTM's chances to exceed, over {self._windows} maxima of {self._window_s} s{own}"
        return Distribution(values, float(area)), basis


def from_parameters(parameters: Mapping[str, Any]) -> LstmExceedModel:
    """A model of what a file holds; ValueError, KeyError or TypeError where that is none."""
    return LstmExceedModel(
        Lstm.from_parameters(parameters),
        str(parameters["name"]),
        window_s=whole(parameters, "window_s"),
        windows=whole(parameters, "windows"),
        horizon_s=whole(parameters, "horizon_s"),
    )


def themis() -> LstmExceedModel:
    """Themis's, trained on the Twitter trace that the paper replays."""
    return LstmExceedModel.from_file(WEIGHTS / "themis.json")
