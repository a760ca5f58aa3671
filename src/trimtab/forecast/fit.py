"""Fit Trimtab's forecaster to a recorded load: boosted trees over what `features` saw, by LightGBM.

Every ten seconds of the record is an origin (fewer, of more than three weeks), for each horizon of
`calibration.HORIZONS_S`. What is learned there:

- `chance`: whether the highest second to come jumps (logistic loss);
- `calm q`: its quantile q where it does not, `jump q`: where it does (pinball loss, Koenker & Bassett 1978);
- `expected`: its mean (squared loss);
- `mean q`, `average`: quantiles and mean of the mean rate.

Values are relative to the calm level and counted from the last ten seconds' level, so that they hold at other rates.
Features are told as they were at the origin, never with what came later. The offsets that calibration begins with are
those it comes to on the last fifth, with trees that were grown on the rest. The same counts give the same file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab import rng
from trimtab.errors import ForecastError, MissingExtraError
from trimtab.forecast.calibration import HORIZONS_S, QUANTILES, Calibration, Pending
from trimtab.forecast.clock import JUMP, JUMP_QUANTILES, Outlook, Trained, anchor_of, raw_quantiles
from trimtab.forecast.features import NAMES, Features, Vector
from trimtab.forecast.file import Fitted
from trimtab.forecast.trees import Forest, flatten

Told = Callable[[str], None]

SHORTEST_S = 20 * 3600
"""Of less than most of a day, trees learn less than `clock` does as it goes (docs/design/forecast.md)."""
_STRIDE_S = 10
_ORIGINS = 200_000
"""Origins that are kept, about two kilobytes each."""
_WARM_S = 900
"""Seconds at the start that only warm the features up."""
_ROWS = 300_000
"""Origins × horizons that trees are grown on; of more, a random part."""
_FEW_JUMPS = 200
"""With fewer rows that jump, chance and size are told by their mean."""
_FEWEST = 5_000
_HELD_OUT = 0.2
_SEED = 5

_COMMON: Mapping[str, Any] = {
    "bagging_fraction": 0.5,
    "bagging_freq": 1,
    "deterministic": True,
    "feature_fraction": 0.5,
    "force_row_wise": True,
    "lambda_l2": 5.0,
    "max_bin": 127,
    "max_depth": 7,
    "num_threads": 1,
    "seed": _SEED,
    "verbosity": -1,
}
_QUANTILE: Mapping[str, Any] = {"learning_rate": 0.08, "num_leaves": 15, "min_data_in_leaf": 100}
_CHANCE: Mapping[str, Any] = {
    "learning_rate": 0.05,
    "num_leaves": 7,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.4,
}


@dataclass(frozen=True, slots=True, eq=False)
class Origins:
    """What was known at each origin, and what came. N origins, H horizons, F features."""

    clock_s: NDArray[np.int64]
    rows: Vector
    """(N, H, F)"""
    scale_rps: Vector
    anchor_rps: Vector
    highest: Vector
    """(N, H): highest second to come; NaN where less than half of the horizon was counted."""
    average: Vector
    """(N, H): mean rate to come; NaN likewise."""
    before: Vector
    """(N, H): highest second of a past as long; NaN where nothing of it was counted."""

    def part(self, first: int, last: int) -> Origins:
        """Origins `first` to `last`."""
        return Origins(*(getattr(self, name)[first:last] for name in self.__dataclass_fields__))


def fit(counts: Sequence[int | None], *, clock_s: float = 0.0, on_progress: Told | None = None) -> Fitted:
    """Learn from a record.

    Args:
        counts: requests in each second, oldest first; None where nothing was counted.
        clock_s: when the first of them began: Unix time, or seconds since a midnight.
        on_progress: told in words what is being done.

    Raises:
        MissingExtraError: LightGBM is not installed.
        ForecastError: the record is too short, or holds too little.
    """
    tell = on_progress or (lambda _: None)
    try:
        import lightgbm
    except ImportError as error:
        raise MissingExtraError("lightgbm", "forecast", "fitting a forecaster") from error
    known = sum(count is not None for count in counts)
    if known < SHORTEST_S:
        raise ForecastError(
            "there is too little to learn from",
            got=f"{known:,} recorded seconds",
            wanted=f"at least {SHORTEST_S:,}; the more days, the better",
            next_step="until then use the forecaster 'clock', which learns as it goes",
        )
    tell("reading the past")
    features, origins = look(counts, clock_s)
    kept = round((1.0 - _HELD_OUT) * len(origins.clock_s))
    # The last horizon before the cut would show what came after it.
    early = origins.part(0, max(0, kept - HORIZONS_S[-1] // _STRIDE_S))
    if _known(early).sum() < _FEWEST:
        raise ForecastError(
            "there is too little to learn from",
            got=f"{len(origins.clock_s):,} moments with something recorded before and after",
            wanted=f"at least {_FEWEST:,}: seconds that follow one another",
        )
    tell("learning how sure it may be")
    offsets = calibrated(grow(early, lightgbm, tell), origins.part(kept, len(origins.clock_s)))
    forest = grow(origins, lightgbm, tell)
    jumps = int(_jumped(origins).sum())
    return Fitted(
        "clock",
        {
            "seconds": f"{len(counts):,}, {len(counts) - known:,} of them not recorded",
            "bursts": str(features.bursts),
            "examples": f"{np.isfinite(origins.highest).sum():,}, {jumps:,} of them jumps",
        },
        {
            "features": list(NAMES),
            "forest": forest.parameters(),
            "offsets": {str(h): np.round(v, 4).tolist() for h, v in offsets.items()},
            "state": features.state(),
        },
    )


def look(counts: Sequence[int | None], clock_s: float) -> tuple[Features, Origins]:
    """Walk through a record once: the features at its end, and all origins."""
    features = Features()
    features.set_clock(clock_s)
    at, clocks, rows, scales, anchors = [], [], [], [], []
    stride_s = _STRIDE_S * max(1, math.ceil(len(counts) / (_STRIDE_S * _ORIGINS)))
    for second, count in enumerate(counts):
        if features.clock_s % stride_s == 0 and second >= _WARM_S and features.known(_STRIDE_S):
            at.append(second)
            clocks.append(features.clock_s)
            rows.append(features.rows(HORIZONS_S))
            scales.append(features.scale_rps)
            anchors.append(anchor_of(features))
        features.observe(count)
    values = np.array([np.nan if count is None else count for count in counts], dtype=np.float64)
    where = np.array(at, dtype=np.intp)
    ahead = [_window(values, where, h) for h in HORIZONS_S]
    behind = [_window(values, where - h, h) for h in HORIZONS_S]
    return features, Origins(
        clock_s=np.array(clocks, dtype=np.int64),
        rows=np.array(rows),
        scale_rps=np.array(scales),
        anchor_rps=np.array(anchors),
        highest=np.column_stack([highest for highest, _, _ in ahead]),
        average=np.column_stack([average for _, average, _ in ahead]),
        before=np.column_stack([np.where(known > 0, highest, np.nan) for highest, _, known in behind]),
    )


def grow(origins: Origins, lightgbm: Any, tell: Told = lambda _: None) -> Forest:
    """Grow all ensembles on these origins."""
    rows, relative, average, jumped = _examples(origins)
    grown: dict[str, Sequence[Mapping[str, Any]]] = {}

    def learn(name: str, which: NDArray[np.bool_], y: Vector, trees: int, **settings: Any) -> None:
        tell(f"learning {name}")
        data = lightgbm.Dataset(rows[which], y[which], free_raw_data=True)
        grown[name] = lightgbm.train({**_COMMON, **settings}, data, trees).dump_model()["tree_info"]

    everything = np.ones(len(rows), dtype=np.bool_)
    if jumped.sum() >= _FEW_JUMPS:
        learn("chance", everything, jumped.astype(np.float64), 250, objective="binary", **_CHANCE)
    else:
        odds = (jumped.sum() + 0.5) / (len(rows) - jumped.sum() + 0.5)
        grown["chance"] = _constant(float(np.log(odds)))
    for q in QUANTILES:
        learn(f"calm {q:g}", ~jumped, relative, 120, objective="quantile", alpha=q, **_QUANTILE)
    for q in JUMP_QUANTILES:
        name = f"jump {q:g}"
        if jumped.sum() >= _FEW_JUMPS:
            settings = {**_QUANTILE, "min_data_in_leaf": 50}
            learn(name, jumped, relative, 60, objective="quantile", alpha=q, **settings)
        else:
            few = relative[jumped] if jumped.any() else relative[relative >= np.quantile(relative, 0.999)]
            grown[name] = _constant(float(np.quantile(few, q)))
    learn("expected", everything, relative, 200, objective="regression", **_QUANTILE)
    for q in QUANTILES:
        learn(f"mean {q:g}", everything, average, 60, objective="quantile", alpha=q, **_QUANTILE)
    learn("average", everything, average, 100, objective="regression", **_QUANTILE)
    return flatten(grown)


def calibrated(forest: Forest, origins: Origins) -> dict[int, Vector]:
    """The offsets that calibration comes to on these origins, for each horizon."""
    model, calibration = Trained(forest), Calibration()
    for k, horizon_s in enumerate(HORIZONS_S):
        track = calibration.tracks[horizon_s]
        due = [i for i, now_s in enumerate(origins.clock_s) if horizon_s in calibration.due(int(now_s))]
        for i, outlook in zip(due, _outlooks(model, origins, np.array(due, dtype=np.intp), k), strict=True):
            if np.isfinite(origins.highest[i, k]):
                raw, spread = raw_quantiles(outlook)
                values = calibration.apply(raw, spread, horizon_s)
                track.open.append(Pending(0, values, outlook.expected, spread))
                track.settle(float(origins.highest[i, k]))
    return {h: track.offsets for h, track in calibration.tracks.items()}


def _outlooks(model: Trained, origins: Origins, which: NDArray[np.intp], k: int) -> list[Outlook]:
    if not len(which):
        return []
    return model.read(origins.rows[which, k], origins.scale_rps[which], origins.anchor_rps[which])


def _examples(origins: Origins) -> tuple[Vector, Vector, Vector, NDArray[np.bool_]]:
    """Rows, relative highest, relative mean, whether it jumped: of all origins and horizons, or a random part."""
    scale, anchor = origins.scale_rps[:, None], origins.anchor_rps[:, None]
    which = np.flatnonzero(_known(origins))
    if len(which) > _ROWS:
        which = np.sort(rng.generator(_SEED, "forecast", "fit").choice(which, _ROWS, replace=False))
    shape = origins.highest.shape
    return (
        origins.rows.reshape(shape[0] * shape[1], -1)[which],
        ((origins.highest - anchor) / scale).ravel()[which],
        ((origins.average - anchor) / scale).ravel()[which],
        _jumped(origins).ravel()[which],
    )


def _known(origins: Origins) -> NDArray[np.bool_]:
    """Where enough was counted before and after, shape (origins, horizons)."""
    known: NDArray[np.bool_] = np.isfinite(origins.highest) & np.isfinite(origins.before)
    return known


def _jumped(origins: Origins) -> NDArray[np.bool_]:
    jumped: NDArray[np.bool_] = origins.highest > JUMP * origins.before  # NaN: no
    return jumped


def _window(values: Vector, starts: NDArray[np.intp], seconds: int) -> tuple[Vector, Vector, Vector]:
    """Highest and mean of the known seconds of each window, and their number; NaN where under half is known."""
    padded = np.concatenate((np.full(HORIZONS_S[-1], np.nan), values, np.full(HORIZONS_S[-1], np.nan)))
    known = np.concatenate(([0.0], np.cumsum(np.isfinite(padded))))
    total = np.concatenate(([0.0], np.cumsum(np.nan_to_num(padded))))
    first = starts + HORIZONS_S[-1]
    number = known[first + seconds] - known[first]
    sums = total[first + seconds] - total[first]
    highest = _running_maximum(np.where(np.isfinite(padded), padded, -1.0), seconds)[first]
    enough = number >= seconds / 2
    return np.where(enough, highest, np.nan), np.where(enough, sums / np.maximum(number, 1.0), np.nan), number


def _running_maximum(values: Vector, seconds: int) -> Vector:
    """Maximum of the `seconds` from each place on, by windows that double; those that run over the end are cut."""
    highest, width = values, 1
    while width < seconds:
        step = min(width, seconds - width)
        highest = np.maximum(highest, np.concatenate((highest[step:], highest[-1:].repeat(min(step, len(highest))))))
        width += step
    return highest


def _constant(value: float) -> list[Mapping[str, Any]]:
    return [{"tree_structure": {"leaf_value": value}}]
