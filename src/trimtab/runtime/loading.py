"""Which variants the members of a plant hold: loaded before a plan needs them, unloaded when none does.

A variant that cannot be loaded is remembered (`failures`), and is not tried again at once. So is one whose loading
takes the worker with it, as when the system kills it for want of memory: else each new worker would go the same way.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from trimtab.errors import (
    InvalidInputError,
    MissingExtraError,
    ModelError,
    PlantError,
    TrimtabError,
    WorkerError,
    WorkerLostError,
)
from trimtab.plan.model import Plan
from trimtab.runtime.failures import FailedVariants
from trimtab.runtime.members import Member
from trimtab.runtime.models.model import ModelSource
from trimtab.runtime.replica import START_TIMEOUT_S, Replica


class Loading:
    """Loads and unloads variants in the members' workers."""

    def __init__(self, sources: Mapping[str, Mapping[str, ModelSource]], failed: FailedVariants) -> None:
        """`sources`: task → variant → where its model comes from."""
        self._sources, self._failed = sources, failed
        self._under_way: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._losses: Counter[tuple[str, str]] = Counter()
        """Workers lost in a row while they loaded a variant, by task and variant."""

    async def load_missing(self, members: Sequence[Member], plan: Plan) -> None:
        """Load what the plan wants resident, beside serving. What is served is not touched.

        Members that become ready meanwhile are looked at too: when this returns, all that serve hold all of it.

        Raises:
            PlantError: a model could not be loaded, now or a short while ago.
        """
        while lacking := [(m, m.replica) for m in members if m.replica is not None and _lacks(m, plan)]:
            loading = [self._load_into(member, replica, plan) for member, replica in lacking]
            for result in await asyncio.gather(*loading, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result

    async def _load_into(self, member: Member, replica: Replica, plan: Plan) -> None:
        for variant in plan.tasks[member.task].resident:
            if variant in member.resident:
                continue
            what = f"task '{member.task}': variant '{variant}' cannot be loaded"
            if (failure := self._failed.of(member.task, variant)) is not None:
                again = f"it is tried again in {self._failed.left_s(failure):.0f} s, or when it is loaded anew"
                raise PlantError(f"{what}: {failure.reason}", next_step=again)
            try:
                await self._load_once(member, replica, variant)
            except TrimtabError as error:
                raise PlantError(f"{what}: {error}") from error

    async def load_first(self, member: Member, replica: Replica, variants: Iterable[str]) -> None:
        """Load variants in a worker that just started. One that takes a lost one's place does with what can be loaded.

        Raises:
            ModelError: a variant cannot be loaded at the very first start, or none can.
            WorkerError: the worker was lost, or loads for too long.
        """
        failures: list[TrimtabError] = []
        for variant in variants:
            if variant in member.resident or self._failed.of(member.task, variant) is not None:
                continue
            try:
                await self._load(member, replica, variant)
            except WorkerError:
                raise
            except TrimtabError as error:
                failures.append(error)
        if failures and (not member.ready.done() or not member.resident):
            raise failures[0]
        if not member.resident:
            raise PlantError(f"no variant of task '{member.task}' can be loaded now")

    async def reload(self, members: Iterable[Member], task: str, variant: str) -> None:
        """Read a model anew, in one member after another; each serves the old one until it has the new one.

        Raises:
            TrimtabError: a member could not load it. It serves the old one on, and so do those after it.
        """
        for member in members:
            if member.task == task and member.replica is not None and variant in member.resident:
                await member.replica.load(variant, self._sources[task][variant])

    async def unload_surplus(self, members: Iterable[Member], plan: Plan) -> None:
        """Free what the plan does not want resident."""
        for member in members:
            for variant in member.resident - set(plan.tasks[member.task].resident):
                if member.replica is not None:
                    with suppress(TrimtabError):  # it only holds memory
                        await member.replica.unload(variant)
                        member.resident.discard(variant)

    async def _load_once(self, member: Member, replica: Replica, variant: str) -> None:
        """Load, or wait for the load that is under way: who gives up waiting does not end it, and finds it later."""
        key = member.id, variant
        loading = self._under_way.get(key)
        if loading is None:
            loading = self._under_way[key] = asyncio.create_task(self._load(member, replica, variant))
            loading.add_done_callback(lambda done: self._loaded(key, done))
        await asyncio.shield(loading)

    def _loaded(self, key: tuple[str, str], loading: asyncio.Task[None]) -> None:
        del self._under_way[key]
        if not loading.cancelled():
            loading.exception()  # mark it as seen: perhaps nobody waits any more

    async def _load(self, member: Member, replica: Replica, variant: str) -> None:
        """Make one variant resident, or remember that it cannot be.

        A worker that is still at it after `START_TIMEOUT_S` is ended, for it could load nothing else. A lost worker
        counts against the variant where it held others already, so that these can be served again; where it held none,
        only the second time, because it may have been killed for another reason.
        """
        key, alone = (member.task, variant), not member.resident
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await replica.load(variant, self._sources[member.task][variant])
        except TimeoutError as error:
            late = WorkerError(f"variant '{variant}' was not loaded within {START_TIMEOUT_S:g} s")
            self._failed.note(*key, str(late))
            replica.kill()
            raise late from error
        except WorkerLostError as error:
            self._losses[key] += 1
            if not member.draining and (not alone or self._losses[key] > 1):
                self._failed.note(*key, str(error))
            raise
        except (ModelError, InvalidInputError, MissingExtraError) as error:
            self._failed.note(*key, str(error))
            raise
        self._failed.forget(*key)
        del self._losses[key]
        member.resident.add(variant)


def _lacks(member: Member, plan: Plan) -> bool:
    return not member.draining and not member.resident.issuperset(plan.tasks[member.task].resident)
