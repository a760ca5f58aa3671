"""Erlang's formulas: Poisson arrivals, exponential service, c servers, one queue (M/M/c).

Pure functions of numbers. Offered load a = λ·E[S] is in erlangs, utilisation ρ = a / c.
"""

from __future__ import annotations

import math

from trimtab.compiled import kernel


@kernel()
def blocking_after(blocking: float, first: int, last: int, load: float) -> float:
    """Erlang B with `last` servers, from its value with `first - 1` of them (1 with none).

    Source: the recursion B(k) = a·B(k-1) / (k + a·B(k-1)), stable for any load (D. L. Jagerman, Bell System Technical
    Journal 53, 1974, §II).
    """
    for k in range(first, last + 1):
        blocking = load * blocking / (k + load * blocking)
    return blocking


@kernel()
def blocking_between(blocking: float, below: int, servers: float, load: float) -> float:
    """Erlang B with a number of servers that is not whole, from its value with `below` = ⌊servers⌋ of them.

    On the logarithm it is linear between whole numbers, which is near: log B is concave and nearly straight in the
    number of servers (D. L. Jagerman, Bell System Technical Journal 53, 1974).
    """
    part = servers - below
    if part <= 0.0:
        return blocking
    above = load * blocking / (below + 1 + load * blocking)
    return float(blocking ** (1.0 - part) * above**part)


def erlang_b(servers: int, offered_load: float) -> float:
    """Probability that an arrival finds all servers busy when none may wait (M/G/c/c).

    Source: A. K. Erlang (1917), by `blocking_after`.

    Raises:
        ValueError: fewer than one server, or a load that is negative or not finite.
    """
    _check(servers, offered_load)
    return blocking_after(1.0, 1, servers, offered_load)


def erlang_c(servers: int, offered_load: float) -> float:
    """Probability that an arrival must wait in M/M/c; 1 when the load is not below the number of servers.

    Source: A. K. Erlang (1917), as C = B / (1 - ρ(1 - B)) (L. Kleinrock, Queueing Systems I, 1975, §3.5).
    Exact for M/M/c; for M/G/1 it gives ρ, which is exact too; otherwise an approximation.

    Raises:
        ValueError: as `erlang_b`.
    """
    _check(servers, offered_load)
    if offered_load >= servers:
        return 1.0
    blocking = erlang_b(servers, offered_load)
    return blocking / (1.0 - offered_load / servers * (1.0 - blocking))


def mmc_mean_wait(rate: float, service_s: float, servers: int) -> float:
    """Mean time before service in M/M/c, seconds; infinite when ρ ≥ 1.

    Source: C(c, a)·E[S] / (c - a) (Kleinrock 1975, §3.5).
    """
    load = rate * service_s
    if load >= servers:
        return math.inf
    return erlang_c(servers, load) * service_s / (servers - load)


def mmc_waiting_quantile(rate: float, service_s: float, servers: int, quantile: float) -> float:
    """Quantile of the time before service in M/M/c, first come first served, seconds; infinite when ρ ≥ 1.

    Source: P(W > t) = C·exp(-(c - a)·t / E[S]) (Kleinrock 1975, §3.5; D. Gross et al., Fundamentals of Queueing
    Theory, 4th ed. 2008, §2.3). Exact.
    """
    return waiting_quantile(erlang_c(servers, rate * service_s), mmc_mean_wait(rate, service_s, servers), quantile)


def waiting_quantile(wait_probability: float, mean_wait_s: float, quantile: float) -> float:
    """Quantile of the waiting time when those who wait at all wait an exponential time, seconds.

    P(W > t) = p·exp(-t·p / E[W]), so that both P(W > 0) = p and the mean are right. Exact for M/M/c; for GI/G/c the
    tail is exponential in heavy traffic (J. F. C. Kingman 1962 for one server, J. Köllerström 1974 for several), and
    below that it is an approximation: with service less variable than exponential it errs towards too much at
    moderate quantiles, with rare huge services (heavy tails) towards too little.

    Raises:
        ValueError: the quantile is not in (0, 1), or the probability not in [0, 1].
    """
    if not 0.0 < quantile < 1.0:
        raise ValueError(f"quantile must lie in (0, 1), got {quantile}")
    if not 0.0 <= wait_probability <= 1.0:
        raise ValueError(f"a probability lies in [0, 1], got {wait_probability}")
    if math.isinf(mean_wait_s):
        return math.inf
    if wait_probability <= 1.0 - quantile:
        return 0.0
    return mean_wait_s / wait_probability * math.log(wait_probability / (1.0 - quantile))


def _check(servers: int, offered_load: float) -> None:
    if servers < 1:
        raise ValueError(f"a queue needs at least one server, got {servers}")
    if not 0.0 <= offered_load < math.inf:
        raise ValueError(f"offered load must be finite and not negative, got {offered_load}")
