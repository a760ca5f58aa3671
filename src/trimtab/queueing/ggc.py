"""General arrivals, general service, c servers, one queue (GI/G/c): approximations from two moments.

The variability of a duration is its squared coefficient of variation (scv): variance ÷ mean². 0 is evenly spaced,
1 is Poisson arrivals or exponential service.
"""

from __future__ import annotations

import math

from trimtab.compiled import kernel
from trimtab.queueing.erlang import erlang_c, mmc_mean_wait, waiting_quantile

NEGLIGIBLE = 0.1
"""Waiting counts as none where fewer than this part of the requests that may be late wait at all."""


def allen_cunneen_wait(rate: float, service_s: float, servers: int, arrival_scv: float, service_scv: float) -> float:
    """Mean time before service in GI/G/c, seconds; infinite when ρ ≥ 1.

    Source: E[W] ≈ E[W of M/M/c]·(ca² + cs²) / 2 (A. O. Allen, Probability, Statistics and Queueing Theory, 2nd ed.
    1990, §5.3.6, after Allen and Cunneen 1978). Exact for M/M/c and M/G/1; within about 10 % for scvs up to 2 and
    ρ ≥ 0.5; it says too much for ca² below 1 and low ρ.
    """
    return mmc_mean_wait(rate, service_s, servers) * _variability(arrival_scv, service_scv)


def sakasegawa_wait(rate: float, service_s: float, servers: int, arrival_scv: float, service_scv: float) -> float:
    """Mean time before service in GI/G/c in closed form, seconds; infinite when ρ ≥ 1.

    Source: E[W] ≈ (ca² + cs²)/2 · ρ^(√(2(c+1)) - 1) / (c(1 - ρ)) · E[S] (H. Sakasegawa, Annals of the Institute of
    Statistical Mathematics 29, 1977; W. Hopp and M. Spearman, Factory Physics, 3rd ed. 2008, eq. 8.27). Exact for
    M/G/1; no loop over servers.
    """
    rho = rate * service_s / servers
    if rho >= 1.0:
        return math.inf
    if rho == 0.0:
        return 0.0
    congestion = math.pow(rho, math.sqrt(2.0 * (servers + 1)) - 1.0) / (servers * (1.0 - rho))
    return congestion * service_s * _variability(arrival_scv, service_scv)


def ggc_waiting_quantile(
    rate: float, service_s: float, servers: int, quantile: float, arrival_scv: float = 1.0, service_scv: float = 1.0
) -> float:
    """Quantile of the time before service in GI/G/c, seconds; infinite when ρ ≥ 1.

    Mean by Allen and Cunneen, probability of waiting by Erlang C, exponential given that one waits
    (`erlang.waiting_quantile` says when that holds).
    """
    return waiting_quantile(
        erlang_c(servers, rate * service_s),
        allen_cunneen_wait(rate, service_s, servers, arrival_scv, service_scv),
        quantile,
    )


@kernel()
def peakedness(arrival_scv: float) -> float:
    """Variance ÷ mean of the servers that arrivals would keep busy if there were no end of them, at least 1.

    Source: (1 + ca²)/2 for renewal arrivals that are frequent against the service time (W. Whitt, Bell Laboratories
    Technical Journal 63, 1984; A. E. Eckberg, 10th International Teletraffic Congress, 1983). Calmer arrivals than
    Poisson count as Poisson.
    """
    return max(1.0, (1.0 + arrival_scv) / 2.0)


@kernel()
def waiting_mean_and_spread(
    blocking: float, load: float, servers: int, service_s: float, variability: float, late: float
) -> tuple[float, float]:
    """Mean of the time before service in GI/G/c, and how far its tail reaches beyond that mean, seconds.

    Who waits (a share C of all) waits an exponential time of mean E[S]/(c - a)·(ca² + cs²)/2, after Allen and Cunneen
    1978. C is Erlang's; where arrivals are burstier than Poisson it is that of c/z servers under the load a/z, z being
    the `peakedness` (W. S. Hayward's approximation; A. A. Fredericks, Bell System Technical Journal 59, 1980). The
    spread is the larger of quantile - mean and of the standard deviation × (ln(1/late) - 1), which are the same where
    everybody waits; the second keeps rare waits from vanishing where several queues follow one another.

    Args:
        blocking: Erlang B with c/z servers and the load a/z.
        load: offered load in erlangs.
        servers: concurrent servers.
        service_s: mean service time.
        variability: (ca² + cs²) / 2.
        late: share that may exceed the quantile, 1 - q.

    Returns:
        Both infinite where the load is not below the number of servers; both 0 where C < `NEGLIGIBLE`·late.
    """
    if load >= servers:
        return math.inf, math.inf
    waiting = blocking / (1.0 - load / servers * (1.0 - blocking))
    if waiting <= NEGLIGIBLE * late:
        return 0.0, 0.0
    mean = waiting * service_s / (servers - load) * variability
    given = mean / waiting
    beyond = given * math.log(waiting / late) - mean if waiting > late else 0.0
    deviation = math.sqrt(max(0.0, 2.0 * given * mean - mean * mean))
    return mean, max(0.0, beyond, (math.log(1.0 / late) - 1.0) * deviation)


def scv_from_quantiles(mean_s: float, median_s: float, p99_s: float) -> float:
    """A squared coefficient of variation from what a profile keeps: the spread (p99 - median) / 2.326 is taken as σ.

    2.326 is the standard normal's 0.99 quantile. Exact for a normal law; for a skewed one it lies between the scv of
    its body and that of its tail, which is what waiting feels.
    """
    if mean_s <= 0.0:
        raise ValueError(f"a mean service time is positive, got {mean_s}")
    return (max(p99_s - median_s, 0.0) / 2.326 / mean_s) ** 2


def _variability(arrival_scv: float, service_scv: float) -> float:
    if arrival_scv < 0.0 or service_scv < 0.0:
        raise ValueError(f"squared coefficients of variation are not negative, got {arrival_scv} and {service_scv}")
    return (arrival_scv + service_scv) / 2.0
