"""Loading and unloading on request: which variants the planner may use, and reading a model's file anew.

Clients do not load models into replicas; the planner does. What they may do is take a variant out of its hands (its
memory is then freed everywhere), give it back, and have a file that was replaced on disk read anew. Variants that
cannot be loaded are taken out of the planner's hands in the same way, for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

from trimtab.control.loop import ControlLoop
from trimtab.errors import FailedError, InvalidInputError, ModelError, TrimtabError, UnknownModelError
from trimtab.runtime.models.apart import inspect_apart
from trimtab.runtime.models.model import Interface, ModelSource
from trimtab.runtime.plant import LocalPlant
from trimtab.runtime.service import RepositoryEntry, TensorInfo
from trimtab.runtime.wiring import Wiring, describe
from trimtab.spec.model import Pipeline

log = logging.getLogger(__name__)

RETRY_S = 5.0
"""Pause before the planner is told again, when it could not be told."""


class PlannedRepository:
    """`Repository` over a plant and the loop that controls it. Make it on a running event loop; `stop` it once."""

    def __init__(
        self,
        pipeline: Pipeline,
        wiring: Wiring,
        plant: LocalPlant,
        loop: ControlLoop,
        inspect: Callable[[ModelSource], Interface] = inspect_apart,
    ) -> None:
        """`inspect` reads one model's interface; it is called in a thread."""
        self._pipeline, self._wiring, self._plant, self._loop, self._inspect = pipeline, wiring, plant, loop, inspect
        self._unloaded: frozenset[str] = frozenset()
        self._told: frozenset[str] = frozenset()
        """What the planner was told last that it may not use."""
        self._loading: set[tuple[str, str]] = set()
        self._one = asyncio.Lock()
        self._failed = asyncio.Event()
        plant.failed.on_change = self._failed.set
        self._following = asyncio.create_task(self._follow_failures(), name="failed variants")

    async def stop(self) -> None:
        """Tell the planner nothing more."""
        self._plant.failed.on_change = None
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)

    def entries(self) -> tuple[RepositoryEntry, ...]:
        """The pipeline, then each task and its variants."""
        found = [self._whole(self._pipeline.name)]
        for task in self._pipeline.tasks.values():
            found.append(self._whole(task.name))
            for variant in task.variants:
                ready = self._plant.is_resident(task.name, variant)
                found.append(RepositoryEntry(task.name, variant, ready, self._reason(task.name, variant, ready=ready)))
        return tuple(found)

    async def load(self, model: str) -> None:
        """Let the planner use a variant (`task.variant`), those of a task, or all; read their models anew.

        Raises:
            UnknownModelError: there is no such thing.
            FailedError: a model cannot be served, and the old one stays; or no plan could be made.
        """
        variants = self._named(model)
        async with self._one:
            self._loading |= set(variants)
            try:
                for task, variant in variants:
                    await self._read_anew(task, variant)
                await self._tell(self._unloaded - {f"{task}.{variant}" for task, variant in variants})
            finally:
                self._loading -= set(variants)

    async def unload(self, model: str) -> None:
        """Take a variant (`task.variant`) out of the planner's hands and follow a plan without it, which frees it.

        Raises:
            UnknownModelError: there is no such thing.
            InvalidInputError: it is the last variant of its task, a task or the pipeline.
            FailedError: no plan without it could be made or followed; nothing has changed.
        """
        variants = self._named(model)
        if model == self._pipeline.name or model in self._pipeline.tasks:
            raise InvalidInputError(
                "a task or a pipeline cannot be unloaded", got=model, wanted="a variant, `task.variant`"
            )
        async with self._one:
            ((task, _),) = variants
            unloaded = self._unloaded | {model}
            if all(f"{task}.{v}" in unloaded for v in self._pipeline.tasks[task].variants):
                raise InvalidInputError(f"the last variant of task '{task}' cannot be unloaded", got=model)
            await self._tell(unloaded)

    async def _read_anew(self, task: str, variant: str) -> None:
        source = self._wiring.models[task][variant]
        name = f"variant '{variant}' of task '{task}'"
        try:
            found = await asyncio.to_thread(self._inspect, source)
            _check_same(found, self._wiring.tasks[task].inputs, self._wiring.tasks[task].outputs, source)
            await self._plant.reload(task, variant)
        except TrimtabError as error:
            raise FailedError(f"{name} cannot be loaded: {error}", next_step="what served before serves on") from error
        self._plant.failed.forget(task, variant)

    async def _tell(self, unloaded: frozenset[str]) -> None:
        """Tell the planner what it may not use: what was unloaded, and what failed where a task keeps a variant."""
        banned = self._banned(unloaded)
        if banned != self._told:
            try:
                await self._loop.plan_without(banned)
            except TrimtabError as error:
                with suppress(TrimtabError):
                    await self._loop.plan_without(self._told)
                raise FailedError(f"the plan could not be changed: {error}", next_step="try again later") from error
            self._told = banned
        self._unloaded = unloaded

    def _banned(self, unloaded: frozenset[str]) -> frozenset[str]:
        banned = set(unloaded)
        for task, variant in sorted(self._plant.failed.held_back()):
            if any(f"{task}.{v}" not in {*banned, f"{task}.{variant}"} for v in self._pipeline.tasks[task].variants):
                banned.add(f"{task}.{variant}")
        return frozenset(banned)

    async def _follow_failures(self) -> None:
        """Take variants that failed out of the planner's hands, and give them back when they may be tried again."""
        while True:
            left_s = self._plant.failed.next_s()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._failed.wait(), left_s)
            self._failed.clear()
            try:
                async with self._one:
                    await self._tell(self._unloaded)
            except FailedError as error:
                log.warning("variants that cannot be loaded are still planned with: %s", error)
                await asyncio.sleep(RETRY_S)
                self._failed.set()

    def _named(self, model: str) -> tuple[tuple[str, str], ...]:
        """The variants that a name stands for, with their tasks.

        Raises:
            UnknownModelError: it stands for none.
        """
        task, _, variant = model.partition(".")
        tasks: Iterable[str] = self._pipeline.tasks if model == self._pipeline.name else (task,)
        if model != self._pipeline.name and (
            task not in self._pipeline.tasks or (variant and variant not in self._pipeline.tasks[task].variants)
        ):
            raise UnknownModelError(
                "there is no such model", got=model, wanted="the pipeline, a task or `task.variant`"
            )
        return tuple((t, v) for t in tasks for v in self._pipeline.tasks[t].variants if variant in ("", v))

    def _whole(self, name: str) -> RepositoryEntry:
        ready = self._plant.data_plane.ready(name)
        return RepositoryEntry(name, "", ready, "" if ready else "no replica is ready")

    def _reason(self, task: str, variant: str, *, ready: bool) -> str:
        if (task, variant) in self._loading:
            return "it is being loaded"
        if f"{task}.{variant}" in self._unloaded:
            return "it was unloaded on request"
        failure = self._plant.failed.of(task, variant)
        if failure is not None:
            return f"it cannot be loaded: {failure.reason}"
        return "" if ready else "the plan in force does not use it"


def _check_same(
    found: Interface, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...], source: ModelSource
) -> None:
    """A model that is read anew must take and give what the pipeline was wired with; the rows' axis does not count.

    Raises:
        ModelError: it does not.
    """
    for role, got, wanted in (("inputs", found.inputs, inputs), ("outputs", found.outputs, outputs)):
        if _forms(got) != _forms(wanted):
            raise ModelError(
                f"its {role} are other ones than those the pipeline was started with",
                where=str(source.path),
                got=", ".join(f"{t.name} {describe(t)}" for t in got),
                wanted=", ".join(f"{t.name} {describe(t)}" for t in wanted),
                next_step="restart the server to serve models of another form",
            )


def _forms(infos: tuple[TensorInfo, ...]) -> dict[str, object]:
    return {info.name: (info.dtype, info.shape[1:]) for info in infos}
