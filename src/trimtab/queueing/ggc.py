"""General arrivals, general service, c servers, one queue (GI/G/c): approximations from two moments.

The variability of a duration is its squared coefficient of variation (scv): variance ÷ mean². 0 is evenly spaced,
1 is Poisson arrivals or exponential service.
"""

from __future__ import annotations

import math

from trimtab.queueing.erlang import erlang_c, mmc_mean_wait, waiting_quantile


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
