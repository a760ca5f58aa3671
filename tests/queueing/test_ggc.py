"""GI/G/c approximations against the exact cases they contain and against a simulation."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.queueing.erlang import mmc_mean_wait, mmc_waiting_quantile
from trimtab.queueing.ggc import allen_cunneen_wait, ggc_waiting_quantile, sakasegawa_wait, scv_from_quantiles
from trimtab.rng import generator


@given(st.floats(0.01, 0.99), st.floats(0.0, 5.0))
def test_one_server_gives_pollaczek_khinchine(rho: float, service_scv: float) -> None:
    exact = rho / (1 - rho) * (1 + service_scv) / 2  # E[S] = 1, Poisson arrivals
    assert allen_cunneen_wait(rho, 1.0, 1, 1.0, service_scv) == pytest.approx(exact)
    assert sakasegawa_wait(rho, 1.0, 1, 1.0, service_scv) == pytest.approx(exact)


@given(st.integers(1, 30), st.floats(0.05, 0.99))
def test_exponential_service_gives_mmc(servers: int, rho: float) -> None:
    rate = rho * servers
    assert allen_cunneen_wait(rate, 1.0, servers, 1.0, 1.0) == mmc_mean_wait(rate, 1.0, servers)
    assert ggc_waiting_quantile(rate, 1.0, servers, 0.99) == mmc_waiting_quantile(rate, 1.0, servers, 0.99)


@pytest.mark.parametrize(("servers", "rho"), [(2, 0.8), (4, 0.9), (8, 0.9), (16, 0.95)])
def test_the_two_approximations_agree_where_both_hold(servers: int, rho: float) -> None:
    rate = rho * servers
    assert sakasegawa_wait(rate, 1.0, servers, 1.0, 1.0) == pytest.approx(
        allen_cunneen_wait(rate, 1.0, servers, 1.0, 1.0), rel=0.1
    )


def test_no_load_and_too_much_load() -> None:
    assert allen_cunneen_wait(0.0, 1.0, 2, 1.0, 1.0) == sakasegawa_wait(0.0, 1.0, 2, 1.0, 1.0) == 0.0
    assert allen_cunneen_wait(2.0, 1.0, 2, 1.0, 1.0) == sakasegawa_wait(2.0, 1.0, 2, 1.0, 1.0) == math.inf
    assert ggc_waiting_quantile(2.0, 1.0, 2, 0.5) == math.inf


@pytest.mark.parametrize(("servers", "rate"), [(1, 0.6), (1, 0.8), (2, 1.6)])
def test_deterministic_service_against_a_simulation(servers: int, rate: float) -> None:
    rng = generator(11, "mdc")
    arrivals = np.cumsum(rng.exponential(1 / rate, 200_000))
    free, waits = [0.0] * servers, np.empty(arrivals.size)
    for i, at in enumerate(arrivals):
        start = max(at, heapq.heappop(free))
        heapq.heappush(free, start + 1.0)
        waits[i] = start - at
    assert allen_cunneen_wait(rate, 1.0, servers, 1.0, 0.0) == pytest.approx(float(waits.mean()), rel=0.1)
    # The stated error of the exponential tail: on the safe side for service that varies less than exponential.
    predicted, seen = ggc_waiting_quantile(rate, 1.0, servers, 0.99, 1.0, 0.0), float(np.quantile(waits, 0.99))
    assert seen <= predicted <= 1.4 * seen


def test_spread_of_a_normal_law_is_recovered() -> None:
    rng = generator(3, "scv")
    sample = rng.normal(10.0, 2.0, 400_000)
    scv = scv_from_quantiles(float(sample.mean()), float(np.median(sample)), float(np.quantile(sample, 0.99)))
    assert scv == pytest.approx(0.04, rel=0.03)
    assert scv_from_quantiles(1.0, 1.0, 0.9) == 0.0


def test_meaningless_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="variation"):
        allen_cunneen_wait(0.5, 1.0, 1, -1.0, 1.0)
    with pytest.raises(ValueError, match="mean service time"):
        scv_from_quantiles(0.0, 0.0, 1.0)
