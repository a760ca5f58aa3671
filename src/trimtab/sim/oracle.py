"""A forecaster that knows the future: the true rates of the trace that is played. A bound, not a policy."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trimtab.forecast.model import RateForecast
from trimtab.workload.trace import Rates


class OracleForecaster:
    """Forecasts the highest true rate of a second within the horizon; it only counts how far time has come."""

    name = "oracle"

    def __init__(self, rates: Rates) -> None:
        """`rates`: requests per second of each second to come, from the first that will be observed on."""
        self._rates = rates
        self._seen = 0

    def observe(self, counts: Sequence[int | None]) -> None:
        """So many seconds have passed."""
        self._seen += len(counts)

    def forecast(self, horizon_s: float) -> RateForecast | None:
        """The rates to come; those of the last second once the trace has ended, None where there are none."""
        if not len(self._rates):
            return None
        first = min(self._seen, len(self._rates) - 1)
        ahead = self._rates[first : first + max(1, math.ceil(horizon_s))]
        highest = float(ahead.max())
        quantiles = dict.fromkeys((0.5, 0.9, 0.95, 0.99), highest)
        return RateForecast(horizon_s, float(ahead.mean()), quantiles, burstiness=1.0, basis="the trace itself")
