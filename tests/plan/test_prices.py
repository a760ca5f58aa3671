from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import PlanRequestError
from trimtab.plan.model import Allocation
from trimtab.plan.prices import (
    SERVERLESS,
    allocation_cost_per_hour,
    cost_table,
    group_cost_per_hour,
    is_serverless,
    serverless_cost_per_hour,
)
from trimtab.spec.model import Instance, Prices, Serverless

GIB = 2**30
LIST = Prices(
    instances={
        "small": Instance("small", 2, 1.0 / 3600, 4 * GIB),
        "large": Instance("large", 8, 3.0 / 3600, 16 * GIB),
        "wide": Instance("wide", 16, 7.0 / 3600),
    }
)
MACHINES = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from([0.1, 0.25, 0.4, 1.0, 1.7]), st.sampled_from([None, 4, 10])),
    min_size=1,
    max_size=3,
)


def price_list(machines: list[tuple[int, float, int | None]]) -> Prices:
    return Prices(instances={f"i{i}": Instance(f"i{i}", c, p, m) for i, (c, p, m) in enumerate(machines)})


def packs(instance: Instance, cores: int, memory: int) -> int:
    by_memory = math.inf if instance.memory_bytes is None or memory == 0 else instance.memory_bytes // memory
    return int(min(instance.cores // cores, by_memory))


def test_a_price_by_the_core_is_linear() -> None:
    cost, names = cost_table(Prices(core_hour=0.05), 4, 10**9, 3)
    assert cost == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert names == (None,) * 4


def test_a_cover_by_hand() -> None:
    # 2 cores: small runs 1 for 1, large 4 for 3, wide 8 for 7. Nine are two large and one small.
    cost, names = cost_table(LIST, 2, 0, 9)
    assert cost == pytest.approx([0, 1, 2, 3, 3, 4, 5, 6, 6, 7])
    assert names[1] == "small"
    assert names[4] == "large"
    assert names[5] == "large+small"
    assert names[9] == "large+small"
    # 3 GiB each: large runs 4 by cores and 5 by memory; at 6 GiB small runs none and large 2.
    assert group_cost_per_hour(LIST, 2, 6 * GIB, 2) == pytest.approx(3.0)
    # 12 cores: just wide, one each.
    assert group_cost_per_hour(LIST, 12, 0, 2) == pytest.approx(14.0)


def test_a_group_that_names_its_instances_pays_for_those() -> None:
    assert group_cost_per_hour(LIST, 2, 0, 4, "small") == pytest.approx(4.0)
    assert group_cost_per_hour(LIST, 2, 0, 5, "large+small") == pytest.approx(4.0)
    plus = Prices(instances={"m5+": Instance("m5+", 4, 2.0 / 3600)})
    assert group_cost_per_hour(plus, 4, 0, 1, "m5+") == pytest.approx(2.0)
    with pytest.raises(PlanRequestError, match=r"no such instance.*got huge.*one of small, large, wide"):
        group_cost_per_hour(LIST, 2, 0, 1, "huge+small")


def test_what_no_instance_can_run_is_refused() -> None:
    with pytest.raises(PlanRequestError, match=r"got 17 cores.*2 cores and 4 GiB, 8 cores and 16 GiB, 16 cores"):
        cost_table(LIST, 17, 0, 1)
    with pytest.raises(PlanRequestError, match=r"got 2 cores and 5 GiB"):
        group_cost_per_hour(LIST, 2, 5 * GIB, 1, "small")
    with pytest.raises(PlanRequestError, match="have no price"):
        cost_table(Prices(), 1, 0, 1)
    with pytest.raises(PlanRequestError, match="have no price"):
        cost_table(Prices(serverless=Serverless(1.0)), 1, 0, 1)


@given(MACHINES, st.integers(1, 4), st.sampled_from([0, 1, 3]), st.integers(0, 7))
def test_a_cover_equals_exhaustive_search(
    machines: list[tuple[int, float, int | None]], cores: int, memory: int, replicas: int
) -> None:
    prices = price_list(machines)
    runs = [(packs(i, cores, memory), i.per_second) for i in prices.instances.values()]
    if not any(k for k, _ in runs):
        with pytest.raises(PlanRequestError):
            cost_table(prices, cores, memory, replicas)
        return
    best = min(
        sum(n * price for n, (_, price) in zip(counts, runs, strict=True))
        for counts in itertools.product(range(replicas + 1), repeat=len(runs))
        if sum(n * k for n, (k, _) in zip(counts, runs, strict=True)) >= replicas
    )
    cost, names = cost_table(prices, cores, memory, replicas)
    assert cost[replicas] == pytest.approx(3600 * best)
    # No cover is cheaper than fractions of the best instance, and more replicas never cost less.
    assert cost[replicas] >= 3600 * replicas * min(p / k for k, p in runs if k) * (1 - 1e-12)
    assert (np.diff(cost) >= 0.0).all()
    # What is said to be rented suffices, and pays the same when it is named; the list's order does not matter.
    for n in range(1, replicas + 1):
        assert group_cost_per_hour(prices, cores, memory, n, names[n]) == cost[n]
    turned = replace(prices, instances=dict(list(prices.instances.items())[::-1]))
    again, same = cost_table(turned, cores, memory, replicas)
    assert again.tolist() == cost.tolist()
    assert same == names


def test_use_is_paid_by_calls_and_core_seconds() -> None:
    serverless = Serverless(core_second=2e-5, request=1e-6, cores=4, memory_bytes=8 * GIB)
    cost = serverless_cost_per_hour(serverless, 2, GIB, items_per_s=10.0, core_s_per_item=0.1)
    assert cost == pytest.approx(3600 * 10 * (1e-6 + 2e-5 * 0.1))
    assert serverless_cost_per_hour(serverless, 2, GIB, 0.0, 0.1) == 0.0
    with pytest.raises(PlanRequestError, match=r"got 5 cores.*at most 4 cores and 8 GiB"):
        serverless_cost_per_hour(serverless, 5, 0, 1.0, 1.0)
    with pytest.raises(PlanRequestError, match=r"9 GiB"):
        serverless_cost_per_hour(serverless, 1, 9 * GIB, 1.0, 1.0)
    assert serverless_cost_per_hour(replace(serverless, memory_bytes=None), 1, 99 * GIB, 0.0, 1.0) == 0.0


def test_an_allocation_pays_as_its_instance_says() -> None:
    both = replace(LIST, serverless=Serverless(core_second=1.0 / 3600))
    group = Allocation("v", 4, 1, 1, 1)
    assert allocation_cost_per_hour(both, group, 0, 3.0, 0.5) == pytest.approx(2.0)  # two small ones
    assert allocation_cost_per_hour(both, replace(group, instance=SERVERLESS), 0, 3.0, 0.5) == pytest.approx(1.5)
    assert not is_serverless(both, None)
    only = Prices(serverless=both.serverless)
    assert is_serverless(only, None)
    assert allocation_cost_per_hour(only, group, 0, 3.0, 0.5) == pytest.approx(1.5)
    with pytest.raises(PlanRequestError, match="serverless capacity has no price"):
        allocation_cost_per_hour(LIST, replace(group, instance=SERVERLESS), 0, 3.0, 0.5)
