"""How well answers agree with labels: metrics by name, each a fraction in [0, 1], more is better, with an interval.

A metric turns every row into a few numbers, its statistics, and their sum over the rows into the fraction. So measures
of a whole corpus (word error rate, BLEU) and means over rows are one thing, and every metric can be bootstrapped. Texts
are arrays of Python `bytes` in UTF-8 (dtype object).
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import MissingExtraError, SpecError, TraceError

Tensor = NDArray[np.generic]
Floats = NDArray[np.float64]

LEVEL = 0.95
"""Confidence level of the intervals."""
DRAWS = 1000
"""Resamples of a bootstrap."""
_Z = 1.959963984540054  # the standard normal's 97.5 % quantile


@dataclass(frozen=True, slots=True)
class Score:
    """A measured fraction, with the bounds of its 95 % confidence interval; rows are taken to be independent."""

    value: float
    low: float
    high: float
    rows: int
    interval: str
    """`wilson` for a share of rows, `bootstrap` for everything else."""


def _ratio(totals: Floats) -> Floats:
    """Sum of the first statistic over that of the second; 0 where there was nothing to count."""
    nothing = np.zeros(totals.shape[:-1])
    return np.divide(totals[..., 0], totals[..., 1], out=nothing, where=totals[..., 1] != 0)


@dataclass(frozen=True, slots=True)
class Metric:
    """How answers are judged."""

    name: str
    statistics: Callable[[Tensor, Tensor], Floats]
    """From answers and labels, both with `rows` on their first axis, to float64 `[rows, k]`."""
    value: Callable[[Floats], Floats] = _ratio
    """From sums of the statistics, `[..., k]`, to fractions `[...]`."""

    def score(self, answers: Tensor, labels: Tensor, rng: np.random.Generator) -> Score:
        """The fraction for all rows, with its interval.

        Raises:
            TraceError: the answers' shape or type does not go with the labels' for this metric.
        """
        if len(answers) != len(labels) or not len(labels):
            raise TraceError(
                f"metric {self.name}: rows differ", got=f"{len(answers)} answers", wanted=f"{len(labels)} labels"
            )
        statistics = self.statistics(answers, labels)
        rows = len(statistics)
        value = float(self.value(statistics.sum(axis=0)))
        if self.value is _ratio and bool(np.isin(statistics[:, 0], (0, 1)).all() and (statistics[:, 1] == 1).all()):
            return Score(value, *wilson(value, rows), rows, "wilson")
        totals = np.stack([statistics[rng.integers(rows, size=rows)].sum(axis=0) for _ in range(DRAWS)])
        low, high = np.quantile(self.value(totals), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
        return Score(value, float(low), float(high), rows, "bootstrap")


def wilson(share: float, rows: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `rows` (E. B. Wilson, JASA 22, 1927)."""
    centre = share + _Z**2 / (2 * rows)
    spread = _Z * math.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    scale = 1 + _Z**2 / rows
    return max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0)


def metric_named(name: str) -> Metric:
    """The metric of that name: `accuracy`, `top-<k>`, `exact-match`, `f1`, `wer`, `rouge-l` or `bleu`.

    Raises:
        SpecError: there is none.
    """
    if top := re.fullmatch(r"top-([1-9][0-9]{0,5})", name):
        return Metric(name, lambda answers, labels: _top(answers, labels, int(top[1])))
    if name not in _METRICS:
        raise SpecError("no such metric", got=f"'{name}'", wanted=f"one of {', '.join(METRICS)}, or file.py:function")
    return _METRICS[name]


def default_metric(labels: Tensor) -> str | None:
    """The metric for labels of which none is named: whole numbers and truths are classes, texts are compared as they
    are; for other numbers only their owner knows what is near enough.
    """
    if labels.dtype.kind in "biu":
        return "accuracy"
    return "exact-match" if labels.dtype.kind == "O" else None


def own_metric(name: str, judge: Callable[[Tensor, Tensor], object]) -> Metric:
    """A metric of the user's own: `judge(answers, labels)` gives a number in [0, 1] for each row; their mean counts."""

    def statistics(answers: Tensor, labels: Tensor) -> Floats:
        try:
            found = np.asarray(judge(answers, labels), dtype=np.float64)
        except Exception as error:
            raise TraceError(f"metric {name} failed", got=f"{type(error).__name__}: {error}") from error
        if found.shape != (len(labels),) or not bool(((found >= 0) & (found <= 1)).all()):
            got = f"shape {list(found.shape)}" if found.shape != (len(labels),) else "numbers outside [0, 1]"
            raise TraceError(
                f"metric {name} gave something else", got=got, wanted=f"{len(labels)} numbers from 0 to 1, one a row"
            )
        return _of_rows(found)

    return Metric(name, statistics)


def _of_rows(scores: Floats) -> Floats:
    return np.stack([scores, np.ones_like(scores)], axis=-1)


def _counted(right: NDArray[np.bool_]) -> Floats:
    """Right ones and all, row by row."""
    by_row = right.reshape(len(right), -1)
    return np.stack([by_row.sum(axis=1), np.full(len(right), by_row.shape[1])], axis=-1).astype(np.float64)


def _accuracy(answers: Tensor, labels: Tensor) -> Floats:
    if answers.ndim == labels.ndim + 1:
        answers = np.argmax(answers, axis=-1)
    return _counted(_equal("accuracy", answers, labels))


def _exact_match(answers: Tensor, labels: Tensor) -> Floats:
    equal = _equal("exact-match", answers, labels)
    return _of_rows(np.asarray(equal.reshape(len(equal), -1).all(axis=1), dtype=np.float64))


def _equal(metric: str, answers: Tensor, labels: Tensor) -> NDArray[np.bool_]:
    texts = [side.dtype.kind == "O" for side in (answers, labels)]
    if answers.shape != labels.shape or len(set(texts)) > 1:
        raise _mismatch(metric, answers, labels, "the same shape, both numbers or both texts")
    if all(texts):
        pairs = zip(_texts(metric, answers), _texts(metric, labels), strict=True)
        return np.array([a.strip() == b.strip() for a, b in pairs], dtype=np.bool_).reshape(labels.shape)
    return np.asarray(answers == labels)


def _top(answers: Tensor, labels: Tensor, k: int) -> Floats:
    if answers.ndim != labels.ndim + 1 or answers.shape[:-1] != labels.shape or labels.dtype.kind not in "iu":
        raise _mismatch(
            f"top-{k}", answers, labels, "scores with one axis more than the labels, which are class numbers"
        )
    best = np.argsort(-answers.astype(np.float64), axis=-1, kind="stable")[..., :k]
    return _counted((best == labels[..., None]).any(axis=-1))


def _f1(answers: Tensor, labels: Tensor) -> Floats:
    return _of_texts("f1", answers, labels, token_f1)


def token_f1(answer: str, label: str) -> float:
    """F1 of the words that two texts share, as SQuAD's evaluation counts them (Rajpurkar et al., EMNLP 2016): without
    case, punctuation and English articles. Where either has no words, 1 if both have none, else 0.
    """
    given, wanted = _words(answer), _words(label)
    if not given or not wanted:
        return float(given == wanted)
    shared = sum((Counter(given) & Counter(wanted)).values())
    return 2 * shared / (len(given) + len(wanted))


def _words(text: str) -> list[str]:
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def _word_errors(answers: Tensor, labels: Tensor) -> Floats:
    try:
        import jiwer
    except ImportError:
        raise MissingExtraError("jiwer", "evaluate", "the metric wer") from None

    def count(answer: str, label: str) -> tuple[float, float]:
        given, wanted = " ".join(answer.split()), " ".join(label.split())
        if not wanted:  # a silent row: every word that was heard is an error, and none was there to be heard
            return float(len(given.split())), 0.0
        found = jiwer.process_words(wanted, given)
        return float(found.substitutions + found.deletions + found.insertions), float(len(wanted.split()))

    pairs = zip(_texts("wer", answers), _texts("wer", labels), strict=True)
    counts = np.array([count(*pair) for pair in pairs], dtype=np.float64)
    return np.asarray(counts.reshape(len(labels), -1, 2).sum(axis=1), dtype=np.float64)


def _words_right(totals: Floats) -> Floats:
    """1 - WER, at least 0; without any words to be heard, right when none were."""
    errors, words = totals[..., 0], totals[..., 1]
    silent = np.asarray(errors > 0, dtype=np.float64)
    rate = np.divide(errors, words, out=silent, where=words > 0)
    return np.asarray(np.clip(1 - rate, 0.0, 1.0), dtype=np.float64)


def _rouge_l(answers: Tensor, labels: Tensor) -> Floats:
    try:
        from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]  # ships none
    except ImportError:
        raise MissingExtraError("rouge-score", "evaluate", "the metric rouge-l") from None
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return _of_texts(
        "rouge-l", answers, labels, lambda answer, label: float(scorer.score(label, answer)["rougeL"].fmeasure)
    )


def _bleu_counts(answers: Tensor, labels: Tensor) -> Floats:
    """Lengths of answer and label, then matches and candidates of 1 to 4 words: what BLEU is made of."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise MissingExtraError("sacrebleu", "evaluate", "the metric bleu") from None
    bleu = BLEU(effective_order=True)
    counts = []
    for answer, label in zip(_texts("bleu", answers), _texts("bleu", labels), strict=True):
        found = bleu.sentence_score(answer, [label])
        counts.append([found.sys_len, found.ref_len, *found.counts, *found.totals])
    return np.asarray(np.array(counts, dtype=np.float64).reshape(len(labels), -1, 10).sum(axis=1), dtype=np.float64)


def _bleu(totals: Floats) -> Floats:
    """Corpus BLEU without smoothing (Papineni et al., ACL 2002), as a fraction."""
    given, wanted, matches, candidates = totals[..., 0], totals[..., 1], totals[..., 2:6], totals[..., 6:]
    shares = np.divide(matches, candidates, out=np.zeros_like(matches), where=candidates > 0)
    with np.errstate(divide="ignore"):
        precision = np.exp(np.log(shares).mean(axis=-1))
    endless = np.full(given.shape, np.inf)
    short = np.divide(wanted, given, out=endless, where=given > 0)
    return np.asarray(precision * np.exp(np.minimum(0.0, 1 - short)), dtype=np.float64)


def _of_texts(metric: str, answers: Tensor, labels: Tensor, judge: Callable[[str, str], float]) -> Floats:
    pairs = zip(_texts(metric, answers), _texts(metric, labels), strict=True)
    scores = np.array([judge(*pair) for pair in pairs], dtype=np.float64)
    return _of_rows(np.asarray(scores.reshape(len(labels), -1).mean(axis=1), dtype=np.float64))


def _texts(metric: str, side: Tensor) -> list[str]:
    if side.dtype.kind != "O":
        raise TraceError(
            f"metric {metric} compares texts", got=f"{side.dtype} {list(side.shape)}", wanted="texts (BYTES)"
        )
    return [entry.decode("utf-8", "replace") for entry in side.ravel().tolist()]


def _mismatch(metric: str, answers: Tensor, labels: Tensor, wanted: str) -> TraceError:
    told = [f"{side.dtype} {list(side.shape)}" for side in (answers, labels)]
    return TraceError(f"metric {metric}: answers and labels do not go together", got=" and ".join(told), wanted=wanted)


_METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", _accuracy),
        Metric("exact-match", _exact_match),
        Metric("f1", _f1),
        Metric("wer", _word_errors, _words_right),
        Metric("rouge-l", _rouge_l),
        Metric("bleu", _bleu_counts, _bleu),
    )
}
METRICS = ("accuracy", "top-<k>", "exact-match", "f1", "wer", "rouge-l", "bleu")
"""The names that `metric_named` knows."""
