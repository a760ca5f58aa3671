"""Headroom in proportion: what is forecast, and a share more.

MArk (Zhang et al., USENIX ATC 2019) plans for 1.2 times the highest count of any 5 s of the last minute, as the program
published with it has it. The LSTM that continues this series for 50 minutes is left out: `mark` is the newest value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from trimtab.errors import ForecastError
from trimtab.forecast.model import ClockedForecaster, Distribution, Forecaster, RateForecast
from trimtab.forecast.windowed import Told, Windowed, certain

MARK_SHARE = 0.2
_MOST_SHARE = 100.0


def with_headroom(forecaster: Forecaster, share: float, name: str | None = None) -> Forecaster:
    """`forecaster` with its quantiles, peak and mean raised by `share` (0.2: 20 %); the level is what it is.

    It is called `name`, or after both. What learns the clock still does.

    Raises:
        ForecastError: the share is below 0, above 100, or no number.
    """
    if not (math.isfinite(share) and 0.0 <= share <= _MOST_SHARE):
        raise ForecastError("the headroom has no meaning", got=share, wanted=f"a share from 0 to {_MOST_SHARE:g}")
    made = _ClockedHeadroom if isinstance(forecaster, ClockedForecaster) else _Headroom
    return made(forecaster, share, name or f"{forecaster.name}+{100.0 * share:g}%")


class _Headroom:
    """Passes counts on and raises what comes back."""

    def __init__(self, forecaster: Forecaster, share: float, name: str) -> None:
        self.name = name
        self._forecaster, self._share = forecaster, share

    def observe(self, counts: Sequence[int | None]) -> None:
        """Take in one count per second, oldest first; None is a second of which nothing is known."""
        self._forecaster.observe(counts)

    def forecast(self, horizon_s: float) -> RateForecast | None:
        """What the forecaster says, and a share more."""
        told = self._forecaster.forecast(horizon_s)
        if told is None:
            return None
        return replace(
            told,
            quantiles_rps=self._raised(told.quantiles_rps),
            peak=self._raised_all(told.peak),
            mean=self._raised_all(told.mean),
            basis=f"{told.basis}, and {100.0 * self._share:g} % headroom",
        )

    def _raised(self, quantiles: Mapping[float, float]) -> dict[float, float]:
        return {quantile: value * (1.0 + self._share) for quantile, value in quantiles.items()}

    def _raised_all(self, told: Distribution | None) -> Distribution | None:
        return None if told is None else Distribution(self._raised(told.quantiles), told.expected * (1.0 + self._share))


class _ClockedHeadroom(_Headroom):
    """The same for a forecaster that learns the clock."""

    def set_clock(self, now_s: float) -> None:
        """Say when the next observed second begins."""
        if isinstance(self._forecaster, ClockedForecaster):
            self._forecaster.set_clock(now_s)


class BusiestWindowForecaster(Windowed):
    """The highest mean over any of the last minute's twelve windows of 5 s: a rate, not a single second."""

    name = "busiest-5s"
    window_s, windows = 5, 12

    def _told(self, seconds: int) -> Told | None:  # noqa: ARG002 - the same for every horizon
        newest = list(self._counts)[-self.window_s * self.windows :]
        rates = []
        for end in range(len(newest), 0, -self.window_s):
            known = [count for count in newest[max(0, end - self.window_s) : end] if count is not None]
            if known:
                rates.append(sum(known) / len(known))
        basis = f"the busiest {self.window_s} s of the last {self.window_s * self.windows}"
        return (certain(max(rates)), basis) if rates else None


def mark() -> Forecaster:
    """MArk's rate to plan for."""
    return with_headroom(BusiestWindowForecaster(), MARK_SHARE, "mark")
