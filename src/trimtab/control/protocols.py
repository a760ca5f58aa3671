"""The seam between what decides and what is controlled.

A *plant* (the simulator, this machine, a cluster) observes and applies; it holds no policy. The controller decides; it
reads no clock, does no I/O and holds no client. One small async loop (`control.loop`) serves every live plant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from trimtab.observe.model import Observation
from trimtab.plan.model import Plan, Step


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a plant can do, as data. What it cannot is said (`missing`), not an error."""

    cores: int
    """Cores that replicas may hold in all."""
    memory_bytes: int | None
    in_place_variants: bool
    """A replica holds several variants; changing between them is a message."""
    in_place_cores: bool
    """Cores of a running replica can change without a restart."""
    fractional_cores: bool
    max_allocations_per_task: int
    start_s: float = 0.0
    """From asking for a replica to its process being up; loading its variants comes on top."""
    missing: tuple[str, ...] = ()
    """What this system cannot do, in words for people ("CPU affinity: not offered by this operating system")."""


ActionKind = Literal["add-replicas", "remove-replicas", "set-cores", "set-variant", "set-batch", "set-resident"]


@dataclass(frozen=True, slots=True)
class Action:
    """One change to a plant, as the difference between two plans. `before` and `after` are for people and journals."""

    task: str
    kind: ActionKind
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Decision:
    """A plan and the reasons for it; a value computed from values, so that the same inputs give the same decision."""

    sequence: int
    now_s: float
    plan: Plan
    feasible: bool
    changed: bool
    """Whether the plan differs from the one before."""
    actions: tuple[Action, ...]
    steps: tuple[Step, ...]
    """observe → forecast → propose → constrain → stabilize → diff, each with its reason."""


@runtime_checkable
class Plant(Protocol):
    """A controlled system."""

    @property
    def capabilities(self) -> Capabilities:
        """What this plant can do; constant while it runs."""
        ...

    async def observe(self) -> Observation:
        """What was seen since the last call.

        Raises:
            PlantError: nothing can be seen; the controller keeps the last plan.
        """
        ...

    async def apply(self, decision: Decision) -> None:
        """Bring the plant towards `decision.plan`; idempotent, and without failing a request.

        Returns once the instant changes (variant, batch size, cores) are in force; replicas may still be starting.

        Raises:
            PlantError: the plan asks for what the plant lacks; what was in force stays in force.
        """
        ...


class Clock(Protocol):
    """Monotonic time and sleep, so that tests own both."""

    def now_s(self) -> float:
        """Seconds from an arbitrary origin; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Suspend for `seconds`."""
        ...
