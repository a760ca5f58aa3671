"""Service times as the simulator draws them: from the quantiles that a profile keeps, with the profile's mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import SimulationError
from trimtab.profile.model import ServicePoint, VariantProfile
from trimtab.sim import layout as at
from trimtab.sim.model import Draw

_LEAST = 0.2
"""Least service time that is drawn, as a share of the median."""


def quantile_row(profile: VariantProfile, batch: int, cores: int, threads: int, draw: Draw) -> NDArray[np.float64]:
    """Service times at `layout.KNOTS`, and their mean, seconds; shape (7,).

    Between the knots the quantile function is linear. Its start follows from the mean, which is kept exactly, for load
    depends on it; its end is as far above the 99 % quantile as that is above the 95 % one. Where a profile keeps no
    quantiles, or `draw` asks for nothing else, all are the mean.
    """
    mean_s = profile.service_time(batch, cores, threads).seconds
    row = np.full(at.MEAN + 1, mean_s)
    if draw != "profile":
        return row
    row[1:5] = [profile.service_time(batch, cores, threads, q).seconds for q in at.KNOTS[1:5]]
    np.maximum.accumulate(row[1:5], out=row[1:5])
    row[5] = 2.0 * row[4] - row[3]
    widths = np.diff(at.KNOTS)
    rest_s = float(widths[1:] @ (row[1:5] + row[2:6]) / 2.0)
    row[0] = min(max(2.0 * (mean_s - rest_s) / widths[0] - row[1], _LEAST * row[1]), row[1])
    row[: at.MEAN] *= mean_s / float(widths @ (row[:5] + row[1:6]) / 2.0)
    return row


def known_at(profile: VariantProfile, truth: VariantProfile, cores: int, threads: int) -> VariantProfile:
    """A profile that knows service times at this shape: `profile`, else `truth`, else what a capacity table implies.

    A table says how many requests a replica of so many cores serves one by one, one on each core: cores ÷ rate seconds
    is the time of one.

    Raises:
        SimulationError: nothing knows this shape.
    """
    for known in (profile, truth):
        if (cores, threads) in known.shapes():
            return known
    for known in (profile, truth):
        for row in known.capacity:
            if row.cores == cores and threads == 1:
                point = ServicePoint(cores, 1, 1, cores / row.rate_rps, {}, samples=0)
                return replace(known, points=(*known.points, point))
    raise SimulationError(
        "how long service takes is not known",
        where=f"task {profile.task}, variant {profile.variant}",
        got=f"{cores} cores with {threads} threads",
        wanted="a shape of the profile, or of the true one",
    )


def draw_table(
    profiles: list[VariantProfile | None], batches: int, cores: int, threads: int, draw: Draw
) -> NDArray[np.float64]:
    """Rows for every variant (None: not used) and batches of 1 … `batches`; shape (V, batches + 1, 7)."""
    table: NDArray[Any] = np.zeros((len(profiles), batches + 1, at.MEAN + 1))
    for v, profile in enumerate(profiles):
        if profile is not None:
            for batch in range(1, batches + 1):
                table[v, batch] = quantile_row(profile, batch, cores, threads, draw)
    return table
