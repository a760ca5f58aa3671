"""What the live loop asks for decisions: a controller in a thread of this process, or one in a process of its own.

A controller may be lost (its process was killed, hangs or leaks). `resume` then puts a fresh one in its place, which
goes on from the last plan and takes in what was seen lately; until then there are no decisions, and the plan stands.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from trimtab.control.controller import Controller
from trimtab.control.journal import Resumption
from trimtab.control.making import restricted
from trimtab.control.protocols import Decision
from trimtab.forecast import RateForecast
from trimtab.observe.model import Observation
from trimtab.plan.model import Plan

RECALLED = 300
"""Observations that a fresh controller takes in: five minutes, what the longest memory of a policy looks back."""


class Recent:
    """The last observations, and how many seconds were counted before them."""

    def __init__(self) -> None:
        self._kept: deque[Observation] = deque()
        self.seconds_before = 0

    @property
    def observations(self) -> tuple[Observation, ...]:
        """Oldest first, at most `RECALLED`."""
        return tuple(self._kept)

    def add(self, observation: Observation) -> None:
        """Keep one more, and let the oldest go where there are too many."""
        self._kept.append(observation)
        if len(self._kept) > RECALLED:
            self.seconds_before += len(self._kept.popleft().arrivals)


@dataclass(frozen=True, slots=True)
class Resumed:
    """A fresh controller is there: its first decision, and what it was made from."""

    decision: Decision
    how: Resumption


class Decider(Protocol):
    """Decides, one question at a time. Whatever a policy raises reaches the caller."""

    @property
    def forecast(self) -> RateForecast | None:
        """What was forecast in the last step."""
        ...

    async def start(self, now_s: float) -> Decision:
        """The first decision; see `Controller.start`."""
        ...

    async def step(self, observation: Observation) -> Decision:
        """The next decision; see `Controller.step`.

        Raises:
            ControllerLostError: the controller is gone.
        """
        ...

    async def change(self, now_s: float, without: Collection[str]) -> Decision:
        """Plan without these variants (`task.variant`) from now on; see `making.change`.

        Raises:
            ControllerLostError: the controller is gone.
        """
        ...

    async def resume(self, now_s: float, plan: Plan, recent: Recent) -> Resumed | None:
        """Where the controller was lost: put a fresh one in its place. None: it was not lost.

        Raises:
            ControllerLostError: there is none yet.
        """
        ...


class InThread:
    """A controller in a thread of this process. It is never lost, and it shares this process's interpreter."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._all = controller.pipeline, controller.profile

    @property
    def forecast(self) -> RateForecast | None:
        """What was forecast in the last step."""
        return self._controller.forecast

    async def start(self, now_s: float) -> Decision:
        """The first decision."""
        return await asyncio.to_thread(self._controller.start, now_s)

    async def step(self, observation: Observation) -> Decision:
        """The next decision."""
        return await asyncio.to_thread(self._controller.step, observation)

    async def change(self, now_s: float, without: Collection[str]) -> Decision:
        """Plan without these variants from now on."""
        return await asyncio.to_thread(self._controller.change, now_s, *restricted(*self._all, without))

    async def resume(self, now_s: float, plan: Plan, recent: Recent) -> Resumed | None:
        """Nothing was lost."""
        del now_s, plan, recent
        return None
