"""The replicas that a plan asks for, as the local plant keeps them, and which of those there are serve a new plan."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from trimtab.plan.model import Allocation
from trimtab.runtime.replica import Replica


@dataclass(eq=False, slots=True)
class Member:
    """A replica of the plan: starting, serving or draining. It holds its cores in each of these states."""

    id: str
    task: str
    group: int
    """Index of its allocation in the task's plan."""
    allocation: Allocation
    core_ids: tuple[int, ...]
    ready: asyncio.Future[None]
    """Resolves when it first serves; fails when its first start fails."""
    replica: Replica | None = None
    resident: set[str] = field(default_factory=set)
    draining: bool = False
    supervision: asyncio.Task[None] | None = None

    @property
    def threads(self) -> int:
        """Threads of one inference."""
        return self.allocation.threads

    @property
    def concurrency(self) -> int:
        """Batches that it serves at once."""
        return len(self.core_ids) // self.allocation.threads


def match(members: Sequence[Member], allocations: Sequence[Allocation]) -> dict[int, list[Member]]:
    """Group → the members of one task that serve it, as few changes as possible; members in no group are too many.

    A member stays with what it does (variant, cores and threads), else with its shape, else it is given another one.
    Those that serve go before those that start, and the older before the younger.
    """
    order = sorted(members, key=lambda m: m.replica is None)
    chosen: dict[int, list[Member]] = {group: [] for group in range(len(allocations))}
    for likeness in (_all, _shape, _nothing):
        for group, allocation in enumerate(allocations):
            alike = [m for m in order if likeness(m.allocation) == likeness(allocation)]
            taken = alike[: allocation.replicas - len(chosen[group])]
            chosen[group] += taken
            order = [m for m in order if m not in taken]
    return chosen


def _all(allocation: Allocation) -> object:
    return allocation.variant, allocation.cores, allocation.threads


def _shape(allocation: Allocation) -> object:
    return allocation.cores, allocation.threads


def _nothing(allocation: Allocation) -> object:
    del allocation
    return ()
