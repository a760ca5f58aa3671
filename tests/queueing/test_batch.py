from __future__ import annotations

import numpy as np
import pytest

from trimtab.queueing.batch import batch_arrival_scv, formation_wait_first, formation_wait_mean
from trimtab.rng import generator


def test_formation_waits_against_a_simulation() -> None:
    rate, batch = 5.0, 4
    arrivals = np.cumsum(generator(5, "batch").exponential(1 / rate, 400_000)).reshape(-1, batch)
    waits = arrivals[:, -1:] - arrivals
    assert formation_wait_first(rate, batch) == pytest.approx(float(waits[:, 0].mean()), rel=0.02)
    assert formation_wait_mean(rate, batch) == pytest.approx(float(waits.mean()), rel=0.02)
    gaps = np.diff(arrivals[:, -1])
    assert batch_arrival_scv(1.0, batch) == pytest.approx(float(gaps.var() / gaps.mean() ** 2), rel=0.02)


def test_no_traffic_and_no_batching_wait_for_nothing() -> None:
    assert formation_wait_first(0.0, 8) == 0.0
    assert formation_wait_first(3.0, 1) == 0.0


@pytest.mark.parametrize(("rate", "batch"), [(-1.0, 2), (1.0, 0), (float("nan"), 2)])
def test_meaningless_batches_are_refused(rate: float, batch: int) -> None:
    with pytest.raises(ValueError, match=r"batch|rate"):
        formation_wait_first(rate, batch)
