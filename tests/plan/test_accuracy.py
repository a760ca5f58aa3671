from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.plan.accuracy import pipeline_accuracy, shares_of, variant_scores
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.spec.model import AccuracyModel
from trimtab.testing import make_chain

PIPELINE, _ = make_chain(
    {"a": {"s": (0.6, 0.01), "m": (0.7, 0.01), "l": (0.9, 0.01)}, "b": {"x": (0.5, 0.01), "y": (0.8, 0.01)}}
)
TABLE: dict[tuple[str, ...], float] = {
    ("s", "x"): 0.31, ("m", "x"): 0.36, ("l", "x"): 0.44, ("s", "y"): 0.50, ("m", "y"): 0.55, ("l", "y"): 0.71,
}  # fmt: skip
PARTS = st.lists(st.floats(0.01, 1.0), min_size=5, max_size=5)


def shares(parts: list[float]) -> dict[str, dict[str, float]]:
    a, b = parts[:3], parts[3:]
    return {
        "a": {v: p / sum(a) for v, p in zip("sml", a, strict=True)},
        "b": {v: p / sum(b) for v, p in zip("xy", b, strict=True)},
    }


def test_the_product_is_over_means_weighted_by_traffic() -> None:
    mixed = {"a": {"l": 0.75, "s": 0.25}, "b": {"y": 1.0}}
    assert pipeline_accuracy(PIPELINE, mixed) == pytest.approx((0.75 * 0.9 + 0.25 * 0.6) * 0.8)


def test_ranks_run_from_0_to_1_and_add_up() -> None:
    ranked = replace(PIPELINE, accuracy=AccuracyModel("rank-sum"))
    assert variant_scores(ranked, "a") == {"s": 0.0, "m": 0.5, "l": 1.0}
    assert pipeline_accuracy(ranked, {"a": {"m": 1.0}, "b": {"y": 1.0}}) == pytest.approx(1.5)
    assert pipeline_accuracy(ranked, {"a": {"m": 0.5, "l": 0.5}, "b": {"x": 1.0}}) == pytest.approx(0.75)


def test_a_single_variant_has_rank_1_and_equal_ones_stand_by_name() -> None:
    pipeline, _ = make_chain({"one": {"v": (0.3, 0.01)}, "tie": {"z": (0.5, 0.01), "a": (0.5, 0.01), "m": (0.4, 0.01)}})
    ranked = replace(pipeline, accuracy=AccuracyModel("rank-sum"))
    assert variant_scores(ranked, "one") == {"v": 1.0}
    assert variant_scores(ranked, "tie") == {"m": 0.0, "a": 0.5, "z": 1.0}


def test_a_measured_accuracy_is_looked_up_and_weighted_over_combinations() -> None:
    measured = replace(PIPELINE, accuracy=AccuracyModel("measured", TABLE))
    assert pipeline_accuracy(measured, {"a": {"m": 1.0}, "b": {"y": 1.0}}) == 0.55
    mixed = {"a": {"l": 0.75, "s": 0.25}, "b": {"x": 0.4, "y": 0.6}}
    by_hand = 0.75 * (0.4 * 0.44 + 0.6 * 0.71) + 0.25 * (0.4 * 0.31 + 0.6 * 0.50)
    assert pipeline_accuracy(measured, mixed) == pytest.approx(by_hand)
    with pytest.raises(ValueError, match="no parts by task"):
        variant_scores(measured, "a")


@given(PARTS)
def test_a_table_of_products_gives_the_product(parts: list[float]) -> None:
    a, b = (PIPELINE.tasks[task].variants for task in "ab")
    table: dict[tuple[str, ...], float] = {(v, w): a[v].accuracy * b[w].accuracy for v, w in itertools.product(a, b)}
    measured = replace(PIPELINE, accuracy=AccuracyModel("measured", table))
    assert pipeline_accuracy(measured, shares(parts)) == pytest.approx(pipeline_accuracy(PIPELINE, shares(parts)))


@given(PARTS, st.sampled_from(["product", "rank-sum", "measured"]))
def test_accuracy_lies_between_that_of_the_best_and_of_the_worst_variants(parts: list[float], kind: str) -> None:
    model = AccuracyModel(kind, TABLE)  # type: ignore[arg-type]  # one of its literals
    pipeline = replace(PIPELINE, accuracy=model)
    best, worst = {"a": {"l": 1.0}, "b": {"y": 1.0}}, {"a": {"s": 1.0}, "b": {"x": 1.0}}
    found = pipeline_accuracy(pipeline, shares(parts))
    assert pipeline_accuracy(pipeline, worst) - 1e-12 <= found <= pipeline_accuracy(pipeline, best) + 1e-12


def test_groups_of_one_variant_share_its_traffic() -> None:
    groups = (Allocation("s", 1, 1, 1, 1, 0.25), Allocation("l", 1, 1, 1, 1, 0.5), Allocation("s", 1, 2, 1, 1, 0.25))
    assert shares_of(Plan({"a": TaskPlan("a", groups, ("l", "s"))}, 1.0)) == {"a": {"s": 0.5, "l": 0.5}}
