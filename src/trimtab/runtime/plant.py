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
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from trimtab.control.protocols import Capabilities, Decision
from trimtab.errors import PlantError, TrimtabError, WorkerError
from trimtab.observe.model import Observation
from trimtab.plan.model import Plan, TaskPlan
from trimtab.profile.model import Profile
from trimtab.runtime import affinity
from trimtab.runtime.cores import assign
from trimtab.runtime.dataplane import DataPlane, Server
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.replica import Replica
from trimtab.runtime.wiring import Wiring
from trimtab.spec.model import Pipeline

log = logging.getLogger(__name__)

RESTART_DELAY_S = (0.0, 0.5, 2.0, 5.0, 15.0)
"""Pauses before a lost replica is started again: at once the first time, longer while it keeps dying."""
DRAIN_S = 10.0
"""Longest wait for a replica's last batches when it is taken away."""
PLACE_S = 5.0
"""Longest wait for a replica to move to other cores, which takes milliseconds: one that takes longer is stuck."""
STEADY_S = 30.0
"""A replica that served this long is healthy: its earlier deaths are forgotten."""


@dataclass(eq=False, slots=True)
class _Member:
    """A replica of the plan: starting, serving or draining. It holds its cores in each of these states."""

    id: str
    task: str
    core_ids: tuple[int, ...]
    threads: int
    ready: asyncio.Future[None]
    """Resolves when it first serves; fails when its first start fails."""
    replica: Replica | None = None
    resident: set[str] = field(default_factory=set)
    draining: bool = False
    supervision: asyncio.Task[None] | None = None


class LocalPlant:
    """`Plant` over worker processes on this machine. Make it on a running event loop; `apply` plans; `stop` once."""

    def __init__(self, pipeline: Pipeline, profile: Profile, wiring: Wiring, metrics: Metrics, cores: int) -> None:
        """Replicas use the first `cores` cores that this process may run on.

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
        self._clock: Callable[[], float] = time.monotonic  # uvloop's own clock counts whole milliseconds
        self.data_plane = DataPlane(pipeline, profile, wiring, metrics, self._clock, self._on_stuck)
        missing = affinity.missing()
        self._capabilities = Capabilities(
            cores=cores,
            memory_bytes=psutil.virtual_memory().total,
            in_place_variants=True,
            in_place_cores=True,
            fractional_cores=False,
            max_allocations_per_task=1,
            missing=(
                *((missing,) if missing else ()),
                "fractional cores: a replica gets whole cores here",
            ),
        )
        self._members: list[_Member] = []
        self._plan: Plan | None = None
        self._started = 0
        self._background: set[asyncio.Task[None]] = set()
        self._applying = asyncio.Lock()
        self._cost = _CostMeter(self._clock())
        self._observed_core_seconds = self._reported_core_seconds = 0.0
        metrics.on_scrape = self._report_cost

    @property
    def capabilities(self) -> Capabilities:
        """What this machine can do."""
        return self._capabilities

    async def observe(self) -> Observation:
        """What was seen since the last call."""
        now_s = self._clock()
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
        return self.data_plane.window.close(now_s, levels, core_seconds, plan.id if plan else None)

    async def apply(self, decision: Decision) -> None:
        """Follow `decision.plan`: variants, batch sizes and cores at once, replicas in the background.

        Variants that are not resident yet are loaded first, beside the serving; only then are they used.
        """
        plan = decision.plan
        self._check(plan)
        async with self._applying:
            await self._load_missing(plan)
            self._plan = plan
            wanted = self._match(plan)
            await self._move(plan, wanted)
            self.data_plane.follow(plan)
            self._metrics.plan_in_force(plan)
            for task in plan.tasks.values():
                have = sum(m.task == task.task and not m.draining for m in self._members)
                for _ in range(task.allocations[0].replicas - have):
                    self._start_member(task)
            await self._unload_surplus(plan)

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
        await asyncio.gather(*(m.replica.stop(1.0) for m in self._members if m.replica is not None))
        self._members.clear()
        self._account()
        self._report_cost()
        self._metrics.on_scrape = None

    # --- plan → members ---------------------------------------------------------------------------------------------

    def _check(self, plan: Plan) -> None:
        """Refuse, before anything is changed, a plan that this machine cannot follow."""
        if plan.tasks.keys() != self._pipeline.tasks.keys():
            raise PlantError(
                "the plan is for other tasks", got=", ".join(plan.tasks), wanted=", ".join(self._pipeline.tasks)
            )
        for task in plan.tasks.values():
            if len(task.allocations) != 1:
                raise PlantError(
                    f"task '{task.task}': this plant gives all replicas of a task one allocation",
                    got=f"{len(task.allocations)} allocations",
                    wanted="1",
                )
            allocation = task.allocations[0]
            known = self._pipeline.tasks[task.task].variants
            for variant in (allocation.variant, *task.resident, *task.may_use):
                if variant not in known:
                    raise PlantError(f"task '{task.task}' has no variant '{variant}'", wanted=", ".join(known))
            for name, profile in self._profile.variants[task.task].items():
                if (allocation.cores, allocation.threads) not in profile.shapes():
                    raise PlantError(
                        f"task '{task.task}': {allocation.cores} cores with {allocation.threads} threads were not "
                        f"profiled for variant '{name}'"
                    )
            if allocation.replicas < 1 or allocation.batch < 1:
                raise PlantError(f"task '{task.task}': a plan needs at least one replica and batches of at least one")
        if plan.cores > len(self._core_ids):
            raise PlantError(
                "the plan holds too many cores", got=f"{plan.cores}", wanted=f"at most {len(self._core_ids)}"
            )

    def _match(self, plan: Plan) -> dict[str, int]:
        """Members that stay, with their number of cores; those too many start to drain, the youngest first."""
        wanted: dict[str, int] = {}
        for task in plan.tasks.values():
            allocation = task.allocations[0]
            members = [m for m in self._members if m.task == task.task and not m.draining]
            for member in members[allocation.replicas :]:
                member.draining = True
                self._in_background(self._retire(member))
            for member in members[: allocation.replicas]:
                wanted[member.id] = allocation.cores
        return wanted

    async def _move(self, plan: Plan, wanted: dict[str, int]) -> None:
        """Move replicas to their cores, those that give cores away first."""
        assigned = assign({m.id: m.core_ids for m in self._members}, wanted, self._core_ids)
        staying = [m for m in self._members if m.id in wanted]
        for member in sorted(staying, key=lambda m: len(assigned[m.id]) - len(m.core_ids)):
            threads = plan.tasks[member.task].allocations[0].threads
            if (assigned[member.id], threads) != (member.core_ids, member.threads):
                member.core_ids, member.threads = assigned[member.id], threads
                await self._place(member)
        self._account()

    async def _place(self, member: _Member) -> None:
        """Tell a member's worker, if it runs, which cores and threads it has now."""
        if member.replica is None:
            return
        try:
            async with asyncio.timeout(PLACE_S):
                await member.replica.set_cores(member.core_ids, member.threads)
            self.data_plane.resize(member.replica, len(member.core_ids) // member.threads)
        except WorkerError:
            return  # it was lost meanwhile: its successor starts on the right cores
        except TimeoutError:
            self._on_stuck(member.replica)

    async def _load_missing(self, plan: Plan) -> None:
        """Load what the plan wants resident. A model that cannot be loaded leaves everything as it was.

        Raises:
            PlantError: a model could not be loaded.
        """
        for member in self._members:
            task = plan.tasks[member.task]
            for variant in task.resident:
                if member.replica is None or member.draining or variant in member.resident:
                    continue
                try:
                    await member.replica.load(variant, self._model(member.task, variant))
                except TrimtabError as error:
                    raise PlantError(f"task '{member.task}': variant '{variant}' cannot be loaded: {error}") from error
                member.resident.add(variant)

    async def _unload_surplus(self, plan: Plan) -> None:
        for member in self._members:
            for variant in member.resident - set(plan.tasks[member.task].resident):
                if member.replica is not None:
                    with suppress(TrimtabError):  # it only holds memory
                        await member.replica.unload(variant)
                        member.resident.discard(variant)

    # --- members ----------------------------------------------------------------------------------------------------

    def _start_member(self, task: TaskPlan) -> None:
        allocation = task.allocations[0]
        self._started += 1
        name = f"{task.task}-{self._started}"
        ids = assign({m.id: m.core_ids for m in self._members}, {name: allocation.cores}, self._core_ids)[name]
        loop = asyncio.get_running_loop()
        member = _Member(name, task.task, ids, allocation.threads, loop.create_future())
        self._members.append(member)
        self._account()
        member.supervision = loop.create_task(self._supervise(member), name=f"supervise {name}")

    async def _supervise(self, member: _Member) -> None:
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

    async def _start_worker(self, member: _Member) -> tuple[Replica, float]:
        """Start a member's worker and put it to work; returns it and the time from which it serves."""
        started_s = self._clock()
        assert self._plan is not None, "members are started for a plan"
        resident = self._plan.tasks[member.task].resident
        placed = (member.core_ids, member.threads)
        replica = await Replica.start(
            replica_id=member.id,
            task=member.task,
            models={variant: self._model(member.task, variant) for variant in resident},
            core_ids=member.core_ids,
            threads=member.threads,
            thread_options=self._thread_options(member.task),
            warm_batches=(1,),
        )
        member.replica, member.resident = replica, set(resident)
        if placed != (member.core_ids, member.threads):  # a plan moved it while it started
            await replica.set_cores(member.core_ids, member.threads)
        for variant in set(self._plan.tasks[member.task].resident) - member.resident:
            await replica.load(variant, self._model(member.task, variant))
            member.resident.add(variant)
        ready_s = self._clock()
        self._metrics.replica_started(member.task, ready_s - started_s)
        if not member.draining:
            self.data_plane.add(member.task, replica, len(member.core_ids) // member.threads)
        return replica, ready_s

    async def _retire(self, member: _Member) -> None:
        """Take a member away: no new batch, its last ones are answered, then its process ends."""
        if member.replica is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.data_plane.drain(member.replica), DRAIN_S)
        if member.supervision is not None:
            member.supervision.cancel()
            await asyncio.gather(member.supervision, return_exceptions=True)
        if member.replica is not None:
            await member.replica.stop(1.0)
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

    def _model(self, task: str, variant: str) -> Path:
        path = self._pipeline.tasks[task].variants[variant].model
        assert path is not None, "the wiring has read every model file"
        return path

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


class _CostMeter:
    """Core-seconds of everything held (starting and draining replicas too), and the gateway's own CPU time."""

    def __init__(self, now_s: float) -> None:
        self._at_s = now_s
        self._cores = 0
        self._held = 0.0
        self._started_cpu_s = time.process_time()

    def hold(self, now_s: float, cores: int) -> None:
        """From now on `cores` cores are held."""
        self._held += self._cores * (now_s - self._at_s)
        self._at_s, self._cores = now_s, cores

    def total(self, now_s: float) -> float:
        """Core-seconds since the start."""
        self.hold(now_s, self._cores)
        return self._held + time.process_time() - self._started_cpu_s
