"""Erlang's formulas against table values, scipy and a simulation."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from trimtab.queueing.erlang import erlang_b, erlang_c, mmc_mean_wait, mmc_waiting_quantile, waiting_quantile
from trimtab.rng import generator


@pytest.mark.parametrize(
    ("servers", "load", "blocking"),
    # Standard Erlang B tables give the load for a blocking of 1 %, to three or four digits.
    [(1, 0.0101, 0.01), (2, 0.153, 0.01), (5, 1.361, 0.01), (10, 4.461, 0.01), (20, 12.03, 0.01), (100, 84.06, 0.01)],
)
def test_erlang_b_gives_the_tables(servers: int, load: float, blocking: float) -> None:
    assert erlang_b(servers, load) == pytest.approx(blocking, rel=5e-3)


@given(st.integers(1, 200), st.floats(0.001, 300.0))
def test_erlang_b_is_the_truncated_poisson_law(servers: int, load: float) -> None:
    assert erlang_b(servers, load) == pytest.approx(
        poisson.pmf(servers, load) / poisson.cdf(servers, load), rel=1e-6, abs=1e-200
    )


def test_erlang_c_known_values() -> None:
    assert erlang_c(1, 0.7) == pytest.approx(0.7)  # with one server, one waits when it is busy
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)  # a²/(2 + a) for two servers
    assert erlang_c(3, 3.0) == 1.0
    assert erlang_c(4, 0.0) == 0.0


@given(st.integers(1, 60), st.floats(0.0, 0.999))
def test_waiting_is_rarer_with_more_servers_at_the_same_load(servers: int, rho: float) -> None:
    load = rho * servers
    assert 0.0 <= erlang_c(servers + 1, load) <= erlang_c(servers, load) <= 1.0


def test_mm1_and_unstable_queues() -> None:
    assert mmc_mean_wait(0.8, 1.0, 1) == pytest.approx(0.8 / 0.2)
    assert mmc_waiting_quantile(0.8, 1.0, 1, 0.9) == pytest.approx(math.log(0.8 / 0.1) / 0.2)
    assert mmc_waiting_quantile(0.05, 1.0, 1, 0.9) == 0.0  # fewer than one in ten wait at all
    assert mmc_mean_wait(1.0, 1.0, 1) == math.inf
    assert mmc_waiting_quantile(3.0, 1.0, 2, 0.9) == math.inf


def test_mmc_quantiles_agree_with_a_simulation() -> None:
    rate, service_s, servers = 2.4, 1.0, 3
    waits = _simulate_fifo(rate, service_s, servers, 200_000)
    for quantile in (0.5, 0.9, 0.99):
        assert mmc_waiting_quantile(rate, service_s, servers, quantile) == pytest.approx(
            float(np.quantile(waits, quantile)), rel=0.06
        )
    assert mmc_mean_wait(rate, service_s, servers) == pytest.approx(float(waits.mean()), rel=0.05)


@pytest.mark.parametrize("arguments", [(0, 1.0), (2, -1.0), (2, math.nan), (2, math.inf)])
def test_meaningless_queues_are_refused(arguments: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match=r"server|load"):
        erlang_c(*arguments)


@pytest.mark.parametrize(("probability", "quantile"), [(0.5, 0.0), (0.5, 1.0), (0.5, math.nan), (1.2, 0.5)])
def test_meaningless_quantiles_are_refused(probability: float, quantile: float) -> None:
    with pytest.raises(ValueError, match=r"quantile|probability"):
        waiting_quantile(probability, 1.0, quantile)


def _simulate_fifo(rate: float, service_s: float, servers: int, customers: int) -> np.ndarray:
    """Waiting times in first-come first-served M/M/c, from its definition."""
    rng = generator(7, "mmc")
    arrivals = np.cumsum(rng.exponential(1 / rate, customers))
    services = rng.exponential(service_s, customers)
    free = [0.0] * servers
    waits = np.empty(customers)
    for i, (at, service) in enumerate(zip(arrivals, services, strict=True)):
        start = max(at, heapq.heappop(free))
        heapq.heappush(free, start + service)
        waits[i] = start - at
    return waits
