"""What was seen: the one Observation that every plant reports, and the one definition of every figure in it.

A request is *offered* when it reaches the gateway and is well formed. Each offered request ends in exactly one of
`Outcomes`; a violation is any that is not `in_time`. Attainment is in_time ÷ offered, over requests that ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How the requests that ended in a window ended. The five counts are disjoint."""

    in_time: int = 0
    late: int = 0
    refused: int = 0
    """Turned away before any compute was spent on them."""
    dropped: int = 0
    """Given up after some task had worked on them, or left by their client."""
    failed: int = 0

    @property
    def ended(self) -> int:
        """All requests that ended."""
        return self.in_time + self.late + self.refused + self.dropped + self.failed

    @property
    def attainment(self) -> float | None:
        """Share answered in time; None when no request ended (missing is not one, and not zero)."""
        return self.in_time / self.ended if self.ended else None

    @property
    def violation_ratio(self) -> float | None:
        """1 - attainment."""
        attainment = self.attainment
        return None if attainment is None else 1.0 - attainment

    def __add__(self, other: Outcomes) -> Outcomes:
        return Outcomes(
            self.in_time + other.in_time,
            self.late + other.late,
            self.refused + other.refused,
            self.dropped + other.dropped,
            self.failed + other.failed,
        )


@dataclass(frozen=True, slots=True)
class TaskObservation:
    """One task of the plant, over the window and at its end."""

    queued: int
    """Items waiting at the end of the window."""
    in_service: int
    """Items in workers at the end of the window."""
    replicas_ready: int
    replicas_starting: int
    cores: int
    """Cores held by the task's replicas, starting and draining ones included."""
    served: Mapping[str, int] = field(default_factory=dict)
    """Variant → items it answered in the window."""
    batches: int = 0
    service_ratio: float | None = None
    """Measured ÷ profiled service time of the window's batches, weighted by time; None when none was served."""
    busy_core_s: float = 0.0
    """Core-seconds that the batches which ended in the window were served for: their time × threads of an inference.

    ÷ (cores · window) it is the task's utilisation, but for batches that began before the window or end after it."""


@dataclass(frozen=True, slots=True)
class Observation:
    """All that a controller may know about a plant at one moment."""

    now_s: float
    """The plant's monotonic clock."""
    window_s: float
    """Length of the window that counts and outcomes refer to."""
    arrivals: tuple[int | None, ...]
    """Requests offered in each whole second since the last observation, oldest first; None: nothing was recorded."""
    outcomes: Outcomes
    tasks: Mapping[str, TaskObservation]
    response_s: Mapping[float, float] = field(default_factory=dict)
    """Quantile → end-to-end response time of requests answered in the window; empty when none was."""
    core_seconds: float = 0.0
    """Cost of the window: everything held by workers, plus the gateway's own CPU time."""
    plan_id: str | None = None
    """The plan that the plant was following at the end of the window; None before the first."""
    allowed_s: Mapping[float, float] = field(default_factory=dict)
    """Quantile → time that the requests offered in the window had left when they came, at most the SLO; empty where all
    had the SLO, or none came."""
