"""Batches: how long a request waits for its batch to fill, and what batching does to the arrival process."""

from __future__ import annotations


def formation_wait_first(rate: float, batch: int) -> float:
    """Longest mean wait for a batch of `batch` to fill, that of its first request, seconds: (b - 1) / λ.

    0 at rate 0, where no batch is waited for. Source: IPA (Ghafouri et al., Journal of Systems Research 4(1), 2024,
    queueing constraint q(b)); the mean of an Erlang(b - 1, λ) time under Poisson arrivals.
    """
    _check(rate, batch)
    return (batch - 1) / rate if rate > 0.0 else 0.0


def formation_wait_mean(rate: float, batch: int) -> float:
    """Mean wait over the requests of a batch, seconds: (b - 1) / 2λ, half of what the first one waits."""
    return formation_wait_first(rate, batch) / 2.0


def batch_arrival_scv(arrival_scv: float, batch: int) -> float:
    """Squared coefficient of variation of the times between *full batches*: ca² / b.

    The sum of b independent equal times has b times the mean and b times the variance. Holds for renewal arrivals.
    """
    _check(0.0, batch)
    return arrival_scv / batch


def _check(rate: float, batch: int) -> None:
    if batch < 1:
        raise ValueError(f"a batch has at least one request, got {batch}")
    if not rate >= 0.0:
        raise ValueError(f"a rate is not negative, got {rate}")
