"""What replicas cost: by the core, as the cheapest set of rented instances that holds them, or by use.

An instance of C cores and M bytes runs ⌊C / cores⌋ replicas of a group, or ⌊M / memory⌋ if that is less; a group shares
its instances with no other. The cheapest way to rent n equal replicas is an unbounded covering problem, solved exactly
for every n up to some most: cost(n) = min over instances i of price(i) + cost(n - replicas that i runs).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import PlanRequestError
from trimtab.plan.model import Allocation
from trimtab.spec.model import Instance, Prices, Serverless
from trimtab.units import format_size

Floats = NDArray[np.float64]

SERVERLESS = "serverless"
"""`Allocation.instance` of a group that is paid for by use."""
_JOINT = "+"
"""Between the names of a group that is rented on several kinds of instances."""
_HOUR_S = 3600.0


def is_serverless(prices: Prices, instance: str | None) -> bool:
    """Whether a group with this `Allocation.instance` is paid for by use: it says so, or nothing else has a price."""
    if instance is None:
        return prices.serverless is not None and prices.core_hour is None and not prices.instances
    return instance == SERVERLESS


def cost_table(
    prices: Prices, cores: int, memory_bytes: int, most: int, instance: str | None = None
) -> tuple[Floats, tuple[str | None, ...]]:
    """Price of 0 … `most` held replicas, and what to rent for each number of them.

    Args:
        prices: with instances, or with a price of a core.
        cores: of one replica.
        memory_bytes: of one replica; 0 where it is not known.
        most: largest number of replicas, at least 0.
        instance: names to choose from, joined by `+`; None: every instance.

    Returns:
        Money per hour, shape (most + 1,), never falling; and for each number the names of the instances rented, joined
        by `+` in alphabetical order, None where nothing is rented (no replicas, or a price by the core).

    Raises:
        PlanRequestError: no such replica fits any of the instances, an instance has no such name, or held capacity has
            no price.
    """
    if not prices.instances and instance is None:
        if prices.core_hour is None:
            raise PlanRequestError("replicas that are held have no price", where="prices", wanted=_WANTED)
        return prices.core_hour * cores * np.arange(most + 1.0), (None,) * (most + 1)
    rents = [(i.per_second, runs, i.name) for i in _named(prices, instance) if (runs := _runs(i, cores, memory_bytes))]
    if not rents:
        raise _nothing_fits(prices, cores, memory_bytes)
    cost, names = [0.0], [frozenset[str]()]
    for n in range(1, most + 1):
        # Of equal prices the largest instance, then the first name.
        per_second, rest, name = min((price + cost[max(0, n - runs)], n - runs, name) for price, runs, name in rents)
        cost.append(per_second)
        names.append(names[max(0, rest)] | {name})
    return _HOUR_S * np.array(cost), tuple(_JOINT.join(sorted(used)) or None for used in names)


def group_cost_per_hour(
    prices: Prices, cores: int, memory_bytes: int, replicas: int, instance: str | None = None
) -> float:
    """Money per hour of `replicas` equal replicas that are held, rented in the cheapest way; see `cost_table`.

    Raises:
        PlanRequestError: as `cost_table`.
    """
    return float(cost_table(prices, cores, memory_bytes, replicas, instance)[0][replicas])


def serverless_cost_per_hour(
    serverless: Serverless, cores: int, memory_bytes: int, items_per_s: float, core_s_per_item: float
) -> float:
    """Money per hour of serverless replicas: 3600 · items per second · (call + core-seconds · price of one).

    No traffic costs nothing. How many replicas there are does not matter.

    Args:
        serverless: its prices, and the largest replica that it runs.
        cores: of one replica.
        memory_bytes: of one replica; 0 where it is not known.
        items_per_s: items that the group gets.
        core_s_per_item: threads of an inference · mean service time ÷ batch.

    Raises:
        PlanRequestError: it does not run replicas of this size.
    """
    if cores > serverless.cores or memory_bytes > (serverless.memory_bytes or memory_bytes):
        raise PlanRequestError(
            "serverless capacity does not run replicas of this size",
            where="prices.serverless",
            got=_size(cores, memory_bytes),
            wanted=f"at most {_size(serverless.cores, serverless.memory_bytes)}",
        )
    return _HOUR_S * items_per_s * (serverless.request + serverless.core_second * core_s_per_item)


def allocation_cost_per_hour(
    prices: Prices, allocation: Allocation, memory_bytes: int, items_per_s: float, core_s_per_item: float
) -> float:
    """Money per hour of a group of replicas, held or by use as its `instance` says.

    Raises:
        PlanRequestError: as `cost_table` and `serverless_cost_per_hour`, or serverless capacity has no price.
    """
    if not is_serverless(prices, allocation.instance):
        return group_cost_per_hour(prices, allocation.cores, memory_bytes, allocation.replicas, allocation.instance)
    if prices.serverless is None:
        raise PlanRequestError("serverless capacity has no price", where="prices.serverless")
    return serverless_cost_per_hour(prices.serverless, allocation.cores, memory_bytes, items_per_s, core_s_per_item)


_WANTED = "core_hour, or a list of instances"


def _named(prices: Prices, instance: str | None) -> list[Instance]:
    if instance is None:
        return list(prices.instances.values())
    names = [instance] if instance in prices.instances else instance.split(_JOINT)
    unknown = [name for name in names if name not in prices.instances]
    if unknown:
        raise PlanRequestError(
            "the price list has no such instance",
            where="prices.instances",
            got=", ".join(unknown),
            wanted=f"one of {', '.join(prices.instances) or 'none: the list is empty'}",
        )
    return [prices.instances[name] for name in names]


def _runs(instance: Instance, cores: int, memory_bytes: int) -> int:
    """Replicas that one such instance runs."""
    by_cores = instance.cores // cores
    if instance.memory_bytes is None or not memory_bytes:
        return by_cores
    return min(by_cores, instance.memory_bytes // memory_bytes)


def _nothing_fits(prices: Prices, cores: int, memory_bytes: int) -> PlanRequestError:
    return PlanRequestError(
        "no instance in the price list can run a replica of this size",
        where="prices.instances",
        got=_size(cores, memory_bytes),
        wanted=f"at most one of {', '.join(_size(i.cores, i.memory_bytes) for i in prices.instances.values())}",
        next_step="add a larger instance to the price list",
    )


def _size(cores: int, memory_bytes: int | None) -> str:
    memory = f" and {format_size(memory_bytes)}" if memory_bytes else ""
    return f"{cores} core{'' if cores == 1 else 's'}{memory}"
