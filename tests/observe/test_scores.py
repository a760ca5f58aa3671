"""Metrics against known values, against the libraries they stand for, and the properties that all of them have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import SpecError, TraceError
from trimtab.observe.scores import Score, default_metric, metric_named, own_metric, token_f1, wilson


def texts(*entries: str) -> np.ndarray:
    made = np.empty(len(entries), dtype=np.object_)
    made[:] = [entry.encode() for entry in entries]
    return made


def score(metric: str, answers: np.ndarray, labels: np.ndarray) -> Score:
    return metric_named(metric).score(answers, labels, np.random.default_rng(0))


def test_accuracy_takes_the_largest_score_where_answers_have_one_axis_more() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], dtype=np.float32)
    found = score("accuracy", scores, np.array([1, 0, 0, 0]))
    assert (found.value, found.rows, found.interval) == (0.75, 4, "wilson")
    assert score("accuracy", np.array([1, 0, 1, 0]), np.array([1, 0, 0, 0])).value == 0.75
    assert score("accuracy", texts("a", "b "), texts("a", "b")).value == 1.0


def test_items_behind_a_fan_out_count_each_for_accuracy_and_together_for_exact_match() -> None:
    answers, labels = np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 0]])
    assert score("accuracy", answers, labels).value == 0.75
    assert score("accuracy", answers, labels).interval == "bootstrap"
    assert score("exact-match", answers, labels).value == 0.5


def test_top_k() -> None:
    scores = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    assert [score(f"top-{k}", scores, np.array([1, 0])).value for k in (1, 2, 3)] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("answer", "label", "f1"),
    [("The cat!", "cat", 1.0), ("a black cat", "cat", 2 / 3), ("dog", "cat", 0.0), ("the", "", 1.0), ("x", "", 0.0)],
)
def test_f1_is_that_of_squad(answer: str, label: str, f1: float) -> None:
    assert token_f1(answer, label) == pytest.approx(f1)


def test_word_error_rate_is_over_the_corpus_and_never_below_zero() -> None:
    pytest.importorskip("jiwer")
    assert score("wer", texts("a b c d", "x"), texts("a b c e", "y")).value == pytest.approx(1 - 2 / 5)
    assert score("wer", texts("far too many words"), texts("one")).value == 0.0
    assert score("wer", texts(""), texts("")).value == 1.0


def test_rouge_l_of_a_known_pair() -> None:
    pytest.importorskip("rouge_score")
    assert score("rouge-l", texts("police kill the gunman"), texts("police killed the gunman")).value == 1.0  # stemmed
    assert score("rouge-l", texts("the gunman kill police"), texts("police killed the gunman")).value == 0.5


def test_bleu_is_sacrebleus_for_the_corpus() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    answers = ["the cat sat on the mat today", "a quick brown fox jumps over it"]
    labels = ["the cat sat on a mat today", "the quick brown fox jumps over it all"]
    oracle = sacrebleu.corpus_bleu(answers, [labels], smooth_method="none").score / 100
    assert score("bleu", texts(*answers), texts(*labels)).value == pytest.approx(oracle)
    assert score("bleu", texts("nothing alike"), texts("some other words here")).value == 0.0


def test_wilson_as_published() -> None:
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


@settings(max_examples=30)  # each resamples a thousand times
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_intervals_hold_the_value_and_are_fractions(pairs: list[tuple[int, int]]) -> None:
    answers, labels = (np.array(side) for side in zip(*pairs, strict=True))
    found = score("accuracy", answers, labels)
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1
    own = own_metric("mine", lambda a, b: 0.25 + (a == b) / 2).score(answers, labels, np.random.default_rng(0))
    assert 0.25 <= own.low <= own.high <= 0.75


def test_what_does_not_go_together_is_told() -> None:
    with pytest.raises(TraceError, match="do not go together"):
        score("accuracy", np.zeros((2, 3, 4)), np.zeros(2, dtype=np.int64))
    with pytest.raises(TraceError, match="compares texts"):
        score("f1", np.zeros(2), np.zeros(2))
    with pytest.raises(SpecError, match="no such metric: got 'acc'"):
        metric_named("acc")
    judges: list[tuple[Callable[..., object], str]] = [
        (np.add, "outside"), (np.dot, "shape"), (np.linalg.solve, "LinAlgError"),
    ]  # fmt: skip
    for judge, told in judges:
        with pytest.raises(TraceError, match=told):
            own_metric("mine", judge).score(np.ones(2), np.ones(2), np.random.default_rng(0))


def test_the_default_metric_is_named_only_where_it_is_clear() -> None:
    assert [default_metric(a) for a in (np.array([1]), texts("a"), np.array([0.5]))] == [
        "accuracy",
        "exact-match",
        None,
    ]
