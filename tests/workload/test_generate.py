"""Generated traces: the same seed gives the same trace, and the figures asked for are the figures got."""

import numpy as np
import pytest

from trimtab.errors import TraceError
from trimtab.workload.generate import TraceShape, generate, rate_curve


def test_a_seed_fixes_the_trace() -> None:
    shape = TraceShape(seconds=600, mean_rps=30, peak_rps=120, bursts=2, day_s=600)
    assert generate(shape, 1).counts == generate(shape, 1).counts
    assert generate(shape, 1).counts != generate(shape, 2).counts


def test_a_flat_trace_is_poisson() -> None:
    told = generate(TraceShape(seconds=20_000, mean_rps=50, swing=0, noise=0), 3).describe()
    assert told.mean_rps == pytest.approx(50, rel=0.01)
    assert told.dispersion == pytest.approx(1.0, abs=0.05)


def test_the_day_begins_at_its_lowest_and_keeps_the_mean() -> None:
    curve = rate_curve(TraceShape(seconds=1000, mean_rps=100, swing=0.5, day_s=1000, noise=0), 0)
    assert curve.mean() == pytest.approx(100)
    assert curve[0] == pytest.approx(50, rel=0.01)
    assert curve[500] == pytest.approx(150, rel=0.01)


def test_noise_has_mean_one_and_the_spread_asked_for() -> None:
    curve = rate_curve(TraceShape(seconds=200_000, mean_rps=1, swing=0, noise=0.3, noise_s=5), 4)
    assert curve.mean() == pytest.approx(1, abs=0.02)
    assert np.log(curve).std() == pytest.approx(0.3, rel=0.05)
    lagged = np.corrcoef(np.log(curve[:-5]), np.log(curve[5:]))[0, 1]
    assert lagged == pytest.approx(np.exp(-1), abs=0.03)


def test_each_part_of_the_trace_has_its_burst() -> None:
    shape = TraceShape(seconds=900, mean_rps=20, peak_rps=100, bursts=3, burst_s=60, ramp_s=5, swing=0, noise=0)
    for seed in range(20):
        top = rate_curve(shape, seed) >= 100 - 1e-9
        starts = np.flatnonzero(np.diff(np.concatenate(([0], top.astype(int)))) == 1)
        assert [int(s) // 300 for s in starts] == [0, 1, 2]
        assert top.sum() == pytest.approx(3 * (60 - 2 * 5), abs=3)
        assert rate_curve(shape, seed).min() == pytest.approx(20)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"seconds": 0}, "seconds"),
        ({"mean_rps": -1}, "mean"),
        ({"mean_rps": float("nan")}, "mean"),
        ({"swing": 1.5}, "swing"),
        ({"bursts": 2}, "--peak"),
        ({"bursts": 2, "peak_rps": 5}, "peak"),
        ({"bursts": 2, "peak_rps": 50, "burst_s": 80}, "burst length"),
        ({"bursts": 2, "peak_rps": 50, "burst_s": 40, "ramp_s": 30}, "ramp"),
    ],
)
def test_shapes_without_meaning_are_told(wrong: dict[str, float], told: str) -> None:
    with pytest.raises(TraceError, match=told):
        TraceShape(**({"seconds": 100, "mean_rps": 10} | wrong))  # type: ignore[arg-type]  # the kinds vary on purpose
