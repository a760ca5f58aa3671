"""How a run fared through a trouble: attainment by window, and how long it stayed low."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from trimtab.sim.result import SimSeries

GOOD = 0.99
"""Attainment of a window from which on all is well."""
STAYS = 3
"""Windows in a row that have to be good for a spell to be over."""
LATER_S = 30.0
"""A spell that begins so long after a trouble has ended is still put down to it."""


def attained(series: SimSeries) -> list[float | None]:
    """In time ÷ ended, by window in which requests ended; None where none did."""
    ended = zip(series.in_time, series.late, series.refused, series.dropped, series.failed, strict=True)
    return [outcomes[0] / sum(outcomes) if sum(outcomes) else None for outcomes in ended]


def spells(attainment: Sequence[float | None]) -> Iterator[tuple[int, int]]:
    """Stretches of windows, as first and one past the last, from one below `GOOD` until `STAYS` good ones in a row.

    A window in which nothing ended says nothing: it neither begins a spell nor ends one. The good windows are not part
    of the stretch.
    """
    first: int | None = None
    last = good = 0
    for i, value in enumerate(attainment):
        if value is None:
            continue
        if value < GOOD:
            first, last, good = (i if first is None else first), i + 1, 0
        elif first is not None:
            good += 1
            if good == STAYS:
                yield first, last
                first = None
    if first is not None:
        yield first, last


def longest_spell_s(
    attainment: Sequence[float | None], window_s: float, onsets_s: Sequence[float], lasts_s: float = math.inf
) -> float:
    """The longest time that attainment was low because of troubles, seconds, in whole windows from each onset on.

    Args:
        attainment: by window.
        window_s: length of a window.
        onsets_s: when troubles begin.
        lasts_s: how long each lasts.
    """
    longest_s = 0.0
    for first, last in spells(attainment):
        begins_s, ends_s = first * window_s, last * window_s
        for onset_s in onsets_s:
            if onset_s < ends_s and begins_s <= onset_s + lasts_s + LATER_S:
                longest_s = max(longest_s, ends_s - max(begins_s, onset_s))
    return longest_s
