"""Made-up evaluations for tests of what is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trimtab.forecast.evaluate import BASELINE, QUANTILES, Answers, Evaluation, Guess, Origins, Target, score


def make_evaluation(
    answers: Mapping[str, float],
    peaks: Sequence[float],
    *,
    target: Target | None = None,
    at: Sequence[int] | None = None,
    unanswered: int = 0,
    warned: int = 0,
) -> Evaluation:
    """An evaluation of forecasters by name, whose median is the truth times a factor and whose tails lie above it.

    The baseline says the maximum before, with certainty, as the real one does.
    """
    target = Target("minute", 60, 60) if target is None else target
    moments = np.arange(len(peaks)) * target.stride_s + 86_400 if at is None else np.array(at)
    truth = np.array(peaks, dtype=np.float64)
    last = np.concatenate((truth[:1], truth[:-1]))
    origins = Origins(
        target, int(moments[0]), int(moments[-1]) + target.horizon_s, moments, last, truth, 0.8 * truth, left_out=3
    )

    def answer(factor: float) -> Answers:
        ladder = truth[:, None] * factor * np.array([1.0, 1.2, 1.3, 1.6])
        return Answers(
            Guess(ladder, factor * truth), Guess(0.8 * ladder, 0.8 * factor * truth), unanswered, warned, 2e-4, 1e-6
        )

    certain = np.repeat(last[:, None], len(QUANTILES), axis=1)
    told = {BASELINE: Answers(Guess(certain, last), Guess(certain, last), 0, 0, 5e-6, 1e-7)}
    told |= {name: answer(factor) for name, factor in answers.items()}
    return Evaluation(origins, told, {name: score(origins, each) for name, each in told.items()})
