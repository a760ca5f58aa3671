"""A plant and a clock that tests own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from trimtab.control.protocols import Capabilities, Decision
from trimtab.errors import PlantError
from trimtab.observe.model import Observation, Outcomes, TaskObservation
from trimtab.plan.model import Plan

CAPABLE = Capabilities(
    cores=2,
    memory_bytes=None,
    in_place_variants=True,
    in_place_cores=True,
    fractional_cores=False,
    max_allocations_per_task=1,
)
"""What a small machine can do."""


def observation(now_s: float, *counts: int | None, queued: dict[str, int] | None = None) -> Observation:
    """An observation of `counts` arrivals, one a second, all answered in time but for what is queued."""
    arrived = sum(count or 0 for count in counts)
    return Observation(
        now_s=now_s,
        window_s=float(len(counts)),
        arrivals=counts,
        outcomes=Outcomes(in_time=arrived),
        tasks={
            task: TaskObservation(queued=waiting, in_service=0, replicas_ready=1, replicas_starting=0, cores=1)
            for task, waiting in (queued or {}).items()
        },
    )


class FakePlant:
    """Gives scripted observations and remembers what was applied. Scripted exceptions are raised.

    With the script at its end, it reports a second without requests. A plan of more cores than it has is refused.
    """

    def __init__(self, script: Iterable[Observation | Exception] = (), *, capabilities: Capabilities = CAPABLE) -> None:
        self._script = deque(script)
        self._capabilities = capabilities
        self._now_s = 0.0
        self.applied: list[Decision] = []
        self.plan: Plan | None = None
        self.fail_next_apply: Exception | None = None

    @property
    def capabilities(self) -> Capabilities:
        """As given."""
        return self._capabilities

    async def observe(self) -> Observation:
        """The next of the script, with the plan in force."""
        item = self._script.popleft() if self._script else observation(self._now_s + 1.0, 0)
        if isinstance(item, Exception):
            raise item
        self._now_s = item.now_s
        return Observation(
            now_s=item.now_s,
            window_s=item.window_s,
            arrivals=item.arrivals,
            outcomes=item.outcomes,
            tasks=item.tasks,
            response_s=item.response_s,
            core_seconds=item.core_seconds,
            plan_id=self.plan.id if self.plan else None,
        )

    async def apply(self, decision: Decision) -> None:
        """Remember the decision; raise `fail_next_apply` once, if set."""
        if self.fail_next_apply is not None:
            error, self.fail_next_apply = self.fail_next_apply, None
            raise error
        if decision.plan.cores > self._capabilities.cores:
            raise PlantError(
                "the plan asks for more cores than there are",
                got=f"{decision.plan.cores}",
                wanted=f"at most {self._capabilities.cores}",
            )
        self.applied.append(decision)
        self.plan = decision.plan


class ManualClock:
    """Time that passes only when the test says so."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s
        self._sleepers: list[tuple[float, asyncio.Event]] = []
        self._asleep = asyncio.Event()

    def now_s(self) -> float:
        """The time that was set."""
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has moved time far enough."""
        if seconds <= 0.0:
            await asyncio.sleep(0)
            return
        sleeper = (self._now_s + seconds, asyncio.Event())
        self._sleepers.append(sleeper)
        self._asleep.set()
        try:
            await sleeper[1].wait()
        finally:
            self._sleepers.remove(sleeper)
            if not self._sleepers:
                self._asleep.clear()

    async def someone_sleeps(self) -> None:
        """Wait until somebody waits for time to pass: then whoever it is has nothing else to do."""
        await self._asleep.wait()

    async def advance(self, seconds: float) -> None:
        """Move time and wake who is due, in the order of their times; each gets to run before the next."""
        end_s = self._now_s + seconds
        while due := sorted((at for at, _ in self._sleepers if at <= end_s)):
            self._now_s = due[0]
            for at, wake in list(self._sleepers):
                if at == due[0]:
                    wake.set()
            await settle()
        self._now_s = end_s
        await settle()


async def settle(rounds: int = 20) -> None:
    """Let every task that can run do so."""
    for _ in range(rounds):
        await asyncio.sleep(0)
