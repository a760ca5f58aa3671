"""The trace that the papers replay, for tests that need it; it is not part of this repository."""

from __future__ import annotations

import pytest
from experiments.data import TRACE, counts
from tests.experiments.published_data import DATA

DAY_S = 86_400
needs_trace = pytest.mark.skipif(
    not (DATA / TRACE).is_file(), reason=f"the trace that the papers replay is not at {DATA}"
)


def days(first: int, last: int) -> list[int | None]:
    """Counts of the days `first` to `last`; zeros of this trace are seconds that were not recorded."""
    return [count or None for count in counts(DATA, first * DAY_S, (last + 1) * DAY_S)]
