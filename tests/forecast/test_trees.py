"""Flattened trees against the library that grew them."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trimtab.forecast.trees import Forest, flatten
from trimtab.rng import generator

FEATURES = 6
Vector = NDArray[np.float64]


def examples(rows: int, seed: int, unknown: float = 0.1) -> tuple[Vector, Vector]:
    """Rows with unknown values, and a number that depends on them and on what is unknown."""
    draws = generator(seed, "trees")
    x = draws.normal(size=(rows, FEATURES))
    y = 3.0 * np.sin(x[:, 0]) + x[:, 1] * (x[:, 2] > 0.3) + draws.normal(0.0, 0.3, rows)
    x[draws.random(x.shape) < unknown] = np.nan
    return x, y + np.isnan(x[:, 3])


def grown(trees: int, seed: int, unknown: float = 0.1, **settings: Any) -> Any:
    lightgbm: Any = pytest.importorskip("lightgbm", reason="LightGBM, the oracle, is not installed")
    x, y = examples(2000, seed, unknown)
    if settings.get("objective") == "binary":
        y = (y > 1.0).astype(np.float64)
    common = {"verbosity": -1, "num_threads": 1, "seed": seed, "deterministic": True, "force_row_wise": True}
    return lightgbm.train({**common, **settings}, lightgbm.Dataset(x, y), trees)


def told(booster: Any) -> Any:
    return booster.dump_model()["tree_info"]


def leaf(value: float) -> dict[str, Any]:
    return {"tree_structure": {"leaf_value": value}}


def split(feature: int, threshold: float, low: float, high: float, **other: Any) -> dict[str, Any]:
    """A tree of one question: `low` where feature ≤ threshold."""
    node = {"split_feature": feature, "threshold": threshold, "default_left": True, "missing_type": "NaN", **other}
    return {"tree_structure": {**node, "left_child": {"leaf_value": low}, "right_child": {"leaf_value": high}}}


def small() -> Forest:
    return flatten({"a": [split(0, 0.5, 1.0, 2.0), split(1, -1.0, 10.0, 20.0, default_left=False)], "b": [leaf(7.5)]})


KINDS: dict[str, dict[str, Any]] = {
    "mean": {"trees": 40, "objective": "regression", "num_leaves": 31},
    "median": {"trees": 15, "objective": "quantile", "alpha": 0.5, "num_leaves": 7},
    "high": {"trees": 25, "objective": "quantile", "alpha": 0.95, "num_leaves": 15, "bagging_fraction": 0.5},
    "log-odds": {"trees": 30, "objective": "binary", "num_leaves": 7, "max_depth": 3},
    "stump": {"trees": 1, "objective": "regression", "num_leaves": 2},
}


def test_ensembles_together_answer_as_lightgbm_does() -> None:
    boosters = {name: grown(seed=k, **kind) for k, (name, kind) in enumerate(KINDS.items())}
    forest = flatten({name: told(booster) for name, booster in boosters.items()})
    rows, _ = examples(500, seed=99)
    rows[0] = np.nan
    said = forest.predict(rows)
    assert list(said) == list(KINDS)
    for name, booster in boosters.items():
        assert said[name] == pytest.approx(booster.predict(rows, raw_score=True), rel=1e-4, abs=1e-4), name


def test_unknown_values_that_the_trees_never_met_are_taken_for_zero_as_lightgbm_does() -> None:
    booster = grown(20, seed=3, unknown=0.0, objective="regression", num_leaves=15)
    rows, _ = examples(500, seed=98, unknown=0.3)
    said = flatten({"a": told(booster)}).predict(rows)["a"]
    assert said == pytest.approx(booster.predict(rows), rel=1e-4, abs=1e-4)
    assert said == pytest.approx(booster.predict(np.nan_to_num(rows)), rel=1e-4, abs=1e-4)


def test_what_does_not_vary_is_a_constant() -> None:
    lightgbm: Any = pytest.importorskip("lightgbm", reason="LightGBM, the oracle, is not installed")
    data = lightgbm.Dataset(examples(500, seed=1)[0], np.full(500, 4.25))
    for objective in ("regression", "quantile"):
        booster = lightgbm.train({"verbosity": -1, "objective": objective, "num_threads": 1}, data, 3)
        said = flatten({"a": told(booster)}).predict(np.zeros((2, FEATURES)))["a"]
        assert said.tolist() == [4.25, 4.25]


def test_by_hand() -> None:
    nan = math.nan
    said = small().predict(np.array([[0.5, -1.0], [0.6, -0.9], [nan, nan]]))
    # At the threshold is left; unknown goes left in the first tree, right in the second.
    assert said["a"].tolist() == [11.0, 22.0, 21.0]
    assert said["b"].tolist() == [7.5, 7.5, 7.5]
    assert small().predict(np.empty((0, 2)))["a"].shape == (0,)


def test_constants_alone() -> None:
    forest = flatten({"a": [leaf(1.5)], "b": [leaf(2.0), leaf(-0.25)]})
    assert forest.depth == 0
    said = forest.predict(np.zeros((3, FEATURES)))
    assert {name: values.tolist() for name, values in said.items()} == {"a": [1.5] * 3, "b": [1.75] * 3}


def test_a_file_keeps_the_forest() -> None:
    forest = flatten({name: told(grown(seed=k, **kind)) for k, (name, kind) in enumerate(KINDS.items())})
    read = Forest.of(json.loads(json.dumps(forest.parameters(), allow_nan=False)), FEATURES)
    assert read.parameters() == forest.parameters()
    rows, _ = examples(300, seed=97)
    said, again = forest.predict(rows), read.predict(rows)
    assert all(np.array_equal(said[name], again[name]) for name in KINDS)


def test_numbers_are_told_with_six_digits() -> None:
    forest = flatten({"a": [split(0, 0.123456789, 1.23456789, 2e9 / 3)]})
    assert forest.parameters()["threshold"][0] == 0.123457
    assert forest.parameters()["value"][1:] == [1.23457, 666_667_000.0]


JUNK: list[Any] = [
    None,
    "x",
    [],
    {},
    [[0]],
    -1,
    0,
    10**12,
    10**30,
    0.5,
    math.nan,
    math.inf,
    True,
    [0],
    [math.inf],
    ["a"],
]
"""What a damaged file may hold; Python's JSON reads NaN and Infinity."""


def refused_or_sound(parameters: Any) -> None:
    try:
        forest = Forest.of(parameters, FEATURES)
    except (KeyError, TypeError, ValueError):
        return
    assert forest.depth <= len(forest.value), "a walk that never ends"
    for values in forest.predict(np.full((2, FEATURES), np.nan)).values():
        assert values.shape == (2,)
        assert np.isfinite(values).all()


@settings(max_examples=300)
@given(st.data())
def test_damage_is_refused_or_does_no_harm(data: st.DataObject) -> None:
    parameters: Any = copy.deepcopy(small().parameters())
    for _ in range(data.draw(st.integers(1, 2))):
        name = data.draw(st.sampled_from(sorted(small().parameters())))
        where = parameters.get(name)
        how = data.draw(st.sampled_from(["drop", "replace", "change", "shorten", "lengthen"]))
        if how == "drop":
            parameters.pop(name, None)
        elif how == "replace" or not isinstance(where, list) or not where:
            parameters[name] = data.draw(st.sampled_from(JUNK))
        elif how == "change":
            where[data.draw(st.integers(0, len(where) - 1))] = data.draw(st.sampled_from(JUNK) | st.integers(-3, 9))
        elif how == "shorten":
            where.pop(data.draw(st.integers(0, len(where) - 1)))
        else:
            where.append(data.draw(st.sampled_from(JUNK) | st.integers(-3, 9)))
    refused_or_sound(parameters)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("left", [0] * 7),
        ("right", [1, 0, 2, 3, 4, 5, 6]),
        ("roots", [10**30, 0, 0]),
        ("feature", [math.inf] * 7),
        ("feature", [FEATURES] * 7),
        ("left", [7] * 7),
        ("value", [math.nan] * 7),
        ("value", [[0.0]] * 7),
        ("roots", [[0], [3], [6]]),
        ("first_tree", [0, 3]),
        ("first_tree", [1, 2]),
        ("names", ["a"]),
    ],
)
def test_these_are_refused(name: str, value: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Forest.of({**small().parameters(), name: value}, FEATURES)


def test_nothing_at_all_is_refused() -> None:
    nothing: dict[str, Any] = {name: [] for name in small().parameters()}
    with pytest.raises((KeyError, TypeError, ValueError)):
        Forest.of(nothing, FEATURES)
