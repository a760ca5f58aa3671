"""The plant "this machine": it observes the data plane and brings worker processes to what a decision says.

Changes of variant, batch size and cores are messages to running replicas. Only adding a replica takes a process start;
that happens in the background while everything else serves on. A worker that dies is replaced.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace

import psutil

from trimtab.control.protocols import Capabilities, Decision
from trimtab.errors import PlantError, TrimtabError, WorkerError
from trimtab.observe.model import Observation
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile
from trimtab.runtime import affinity
from trimtab.runtime.cores import assign
from trimtab.runtime.cost import CostMeter
from trimtab.runtime.dataplane import DataPlane
from trimtab.runtime.failures import FailedVariants
from trimtab.runtime.followable import MOST_GROUPS, START_S, check_followable
from trimtab.runtime.loading import Loading
from trimtab.runtime.members import Member, match
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.pool import Server
from trimtab.runtime.presence import Presence
from trimtab.runtime.replica import Replica
from trimtab.runtime.serve_options import MAX_QUEUED
from trimtab.runtime.wiring import Wiring
from trimtab.spec.model import Pipeline

log = logging.getLogger(__name__)

RESTART_DELAY_S = (0.0, 0.5, 2.0, 5.0, 15.0)
"""Pauses before a lost replica is started again: at once the first time, longer while it keeps dying."""
DRAIN_S = 10.0
"""Longest wait for a replica's last batches when it is taken away."""
STOP_S = 1.0
"""Longest wait for a process to end by itself."""
PLACE_S = 5.0
"""Longest wait for a replica to move to other cores, which takes milliseconds: one that takes longer is stuck."""
STEADY_S = 30.0
"""A replica that served this long is healthy: its earlier deaths are forgotten."""


class LocalPlant:
    """`Plant` over worker processes on this machine. Make it on a running event loop; `apply` plans; `stop` once."""

    def __init__(
        self,
        pipeline: Pipeline,
        profile: Profile,
        wiring: Wiring,
        metrics: Metrics,
        cores: int,
        clock: Callable[[], float] = time.monotonic,  # uvloop's own clock counts whole milliseconds
        *,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        """Replicas use the first `cores` cores that this process may run on; `clock` is monotonic, in seconds.

        Of `max_queued`, see `DataPlane`.

        Raises:
            PlantError: there are not that many.
        """
        usable = affinity.usable_cores()
        if cores > len(usable):
            raise PlantError("not enough cores on this machine", got=f"{len(usable)}", wanted=f"{cores}")
        self._pipeline = pipeline
        self._profile = profile
        self._metrics = metrics
        self._core_ids = usable[:cores]
        self._clock = clock
        self.data_plane = DataPlane(
            pipeline, profile, wiring, metrics, self._clock, self._on_stuck, max_queued=max_queued
        )
        missing = affinity.missing()
        self._capabilities = Capabilities(
            cores=cores,
            memory_bytes=psutil.virtual_memory().total,
            in_place_variants=True,
            in_place_cores=True,
            fractional_cores=False,
            max_allocations_per_task=MOST_GROUPS,
            start_s=START_S,
            missing=(
                *((missing,) if missing else ()),
                "fractional cores: a replica gets whole cores here; a quota would stop its threads in mid-batch",
            ),
        )
        self.failed = FailedVariants(clock)
        """Variants that could not be loaded lately."""
        self._loading = Loading(wiring.models, self.failed)
        self._members: list[Member] = []
        self._plan: Plan | None = None
        self._started = 0
        self._background: set[asyncio.Task[None]] = set()
        self._applying = asyncio.Lock()
        self._cost = CostMeter(self._clock())
        self._observed_core_seconds = self._reported_core_seconds = 0.0
        metrics.on_scrape = self._report_cost
        self._presence = Presence(self._clock())
        self._in_background(self._presence.beat(self._clock))

    @property
    def capabilities(self) -> Capabilities:
        """What this machine can do."""
        return self._capabilities

    async def observe(self) -> Observation:
        """What was seen since the last call."""
        now_s = self._clock()
        self._presence.seen(now_s)
        self.data_plane.tick()
        starting: dict[str, int] = {}
        cores: dict[str, int] = {}
        for member in self._members:
            cores[member.task] = cores.get(member.task, 0) + len(member.core_ids)
            if member.replica is None:
                starting[member.task] = starting.get(member.task, 0) + 1
        self._report_cost()
        before, self._observed_core_seconds = self._observed_core_seconds, self._cost.total(now_s)
        levels = self.data_plane.levels(starting, cores)
        for task, level in levels.items():
            self._metrics.task_level(task, level)
        plan = self.data_plane.plan
        core_seconds = self._observed_core_seconds - before
        seen = self.data_plane.window.close(now_s, levels, core_seconds, plan.id if plan else None)
        return replace(seen, arrivals=self._presence.counted(seen.arrivals, now_s))

    async def apply(self, decision: Decision) -> None:
        """Follow `decision.plan`: variants, batch sizes and cores at once, replicas in the background.

        Variants that are not resident yet are loaded first, beside the serving; only then are they used.
        """
        plan = decision.plan
        check_followable(plan, self._pipeline, self._profile, len(self._core_ids))
        async with self._applying:
            await self._loading.load_missing(self._members, plan)
            self._plan = plan
            self.data_plane.follow(plan)
            self._metrics.plan_in_force(plan)
            for task in plan.tasks.values():
                self._match(task)
            await self._move()
            for task in plan.tasks.values():
                self._start_missing(task)
            await self._loading.unload_surplus(list(self._members), plan)

    async def reload(self, task: str, variant: str) -> None:
        """Read a variant's model anew, in one replica after another; each serves the old one until it has the new one.

        Raises:
            TrimtabError: a replica could not load it. It serves the old one on, and so do those after it.
        """
        async with self._applying:
            await self._loading.reload(list(self._members), task, variant)

    def is_resident(self, task: str, variant: str) -> bool:
        """Whether some replica that serves holds the variant."""
        return any(m.task == task and m.replica is not None and variant in m.resident for m in self._members)

    def also_counts(self, core_seconds: Callable[[], float]) -> None:
        """Make core-seconds that others hold for serving part of the cost; told those since the start, when asked."""
        self._cost.others = core_seconds

    async def ready(self) -> None:
        """Wait until every replica of the plan serves.

        Raises:
            TrimtabError: a replica could not be started, with the worker's own reason.
        """
        await asyncio.gather(*(m.ready for m in self._members if not m.draining))

    async def stop(self, grace_s: float = DRAIN_S) -> None:
        """Answer what is under way (for up to `grace_s`), then end every worker. Leaves no process behind."""
        await self.data_plane.close(grace_s)
        tasks = [m.supervision for m in self._members if m.supervision is not None] + list(self._background)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(m.replica.stop(STOP_S) for m in self._members if m.replica is not None))
        self._members.clear()
        self._account()
        self._report_cost()
        self._metrics.on_scrape = None

    # --- plan → members ---------------------------------------------------------------------------------------------

    def _match(self, task: TaskPlan) -> None:
        """Give the task's members their groups; those too many start to drain."""
        members = [m for m in self._members if m.task == task.task and not m.draining]
        for group, chosen in match(members, task.allocations).items():
            for member in chosen:
                members.remove(member)
                if member.group != group and member.replica is not None:
                    self.data_plane.regroup(member.replica, group)
                member.group = group
        for member in members:
            member.draining = True
            self._in_background(self._retire(member))

    async def _move(self) -> None:
        """Move replicas to the cores of their groups, all at once: for the moment that it takes they may share some."""
        assert self._plan is not None, "a plan is followed"
        staying = {m.id: m for m in self._members if not m.draining}
        wanted = {m.id: self._plan.tasks[m.task].allocations[m.group] for m in staying.values()}
        cores = {name: allocation.cores for name, allocation in wanted.items()}
        assigned = assign({m.id: m.core_ids for m in self._members}, cores, self._core_ids)
        moving: list[Member] = []
        for member in staying.values():
            before = member.core_ids, member.threads
            member.core_ids, member.allocation = assigned[member.id], wanted[member.id]
            if before != (member.core_ids, member.threads):
                moving.append(member)
        await asyncio.gather(*(self._place(member) for member in moving))
        self._account()

    async def _place(self, member: Member) -> None:
        """Tell a member's worker, if it runs, which cores and threads it has now."""
        if member.replica is None:
            return
        try:
            async with asyncio.timeout(PLACE_S):
                await member.replica.set_cores(member.core_ids, member.threads)
            self.data_plane.resize(member.replica, member.concurrency)
        except WorkerError:
            return  # it was lost meanwhile: its successor starts on the right cores
        except TimeoutError:
            self._on_stuck(member.replica)

    # --- members ----------------------------------------------------------------------------------------------------

    def _start_missing(self, task: TaskPlan) -> None:
        """Start the members that the groups of a task lack."""
        for group, allocation in enumerate(task.allocations):
            have = sum(m.task == task.task and m.group == group and not m.draining for m in self._members)
            for _ in range(allocation.replicas - have):
                self._start_member(task.task, group, allocation)

    def _start_member(self, task: str, group: int, allocation: Allocation) -> None:
        self._started += 1
        name = f"{task}-{self._started}"
        ids = assign({m.id: m.core_ids for m in self._members}, {name: allocation.cores}, self._core_ids)[name]
        loop = asyncio.get_running_loop()
        member = Member(name, task, group, allocation, ids, loop.create_future())
        self._members.append(member)
        self._account()
        member.supervision = loop.create_task(self._supervise(member), name=f"supervise {name}")

    async def _supervise(self, member: Member) -> None:
        """Keep one member running: start it, give it to the data plane, and start it again when it is lost."""
        deaths = 0
        while not member.draining:
            await asyncio.sleep(RESTART_DELAY_S[min(deaths, len(RESTART_DELAY_S) - 1)] if deaths else 0)
            try:
                replica, ready_s = await self._start_worker(member)
            except TrimtabError as error:
                if not member.ready.done():
                    member.ready.set_exception(error)
                    member.ready.exception()  # whoever waits is told; when nobody does, the log is
                log.error("replica %s of task '%s' did not start: %s", member.id, member.task, error)
                deaths += 1
                continue
            if not member.ready.done():
                member.ready.set_result(None)
            reason = await replica.wait_lost()
            self.data_plane.remove(replica)
            member.replica = None
            member.resident = set()
            if member.draining:
                return
            log.warning("replica %s of task '%s' was lost: %s; starting it again", member.id, member.task, reason)
            self._metrics.replica_lost(member.task)
            deaths = 1 if self._clock() - ready_s > STEADY_S else deaths + 1
            await replica.stop(0.0)

    async def _start_worker(self, member: Member) -> tuple[Replica, float]:
        """Start a member's worker and put it to work; returns it and the time from which it serves."""
        assert self._plan is not None, "members are started for a plan"
        started_s = self._clock()
        replica = await Replica.start(
            replica_id=member.id,
            task=member.task,
            models={},
            core_ids=member.core_ids,
            threads=member.threads,
            thread_options=self._thread_options(member.task),
            warm_batches=(1,),
        )
        try:
            done: tuple[object, ...] = ()
            while done != (wanted := (self._plan.tasks[member.task].resident, member.core_ids, member.threads)):
                if (replica.core_ids, replica.threads) != wanted[1:]:  # a plan changed it while it started
                    await replica.set_cores(member.core_ids, member.threads)
                await self._loading.load_first(member, replica, wanted[0])
                done = wanted
        except BaseException:
            member.resident.clear()
            await replica.stop(0.0)
            raise
        member.replica = replica
        ready_s = self._clock()
        self._metrics.replica_started(member.task, ready_s - started_s)
        if not member.draining:
            self.data_plane.add(member.task, replica, member.concurrency, member.group)
        return replica, ready_s

    async def _retire(self, member: Member) -> None:
        """Take a member away: no new batch, its last ones are answered, then its process ends."""
        if member.replica is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.data_plane.drain(member.replica), DRAIN_S)
        if member.supervision is not None:
            member.supervision.cancel()
            await asyncio.gather(member.supervision, return_exceptions=True)
        if member.replica is not None:
            await member.replica.stop(STOP_S)  # batches that it still has are tried again elsewhere
            self.data_plane.remove(member.replica)
        if not member.ready.done():
            member.ready.cancel()
        self._members.remove(member)
        self._account()

    def _on_stuck(self, server: Server) -> None:
        """A worker stopped answering: end it; its supervision starts another."""
        log.warning("replica %s of task '%s' stopped answering and is ended", server.id, server.task)
        self.data_plane.remove(server)
        for member in self._members:
            if member.replica is server:
                member.replica.kill()

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _thread_options(self, task: str) -> tuple[int, ...]:
        """Thread counts that a plan may ask for: those profiled, as far as this plant has the cores."""
        profiled = {
            t
            for profile in self._profile.variants[task].values()
            for c, t in profile.shapes()
            if c <= len(self._core_ids)
        }
        return tuple(sorted(profiled))

    def _report_cost(self) -> None:
        """Bring the metric up to this moment."""
        before, self._reported_core_seconds = self._reported_core_seconds, self._cost.total(self._clock())
        self._metrics.cost(self._reported_core_seconds - before)

    def _account(self) -> None:
        self._cost.hold(self._clock(), sum(len(m.core_ids) for m in self._members))
