"""One served pipeline on this machine: plant, controller and doors put together, started and stopped in order.

Start: the address is taken first (a port in use is said at once; health says "not ready"), then the workers start, then
the controller's loop. Stop, at Ctrl-C or SIGTERM: no new requests, what is under way is answered, workers end, and no
process is left behind. A second signal ends the wait for answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Protocol

from trimtab.control.controller import Controller
from trimtab.control.journal import JournalWriter, header_of
from trimtab.control.loop import ControlLoop
from trimtab.control.protocols import Decision
from trimtab.control.settings import forecaster_for, forecaster_name, limits_of, settings_for
from trimtab.plan.policies import make_policy
from trimtab.profile.model import Profile
from trimtab.runtime import affinity
from trimtab.runtime.compiling import BackgroundCompiler
from trimtab.runtime.controller_process import ControllerProcess
from trimtab.runtime.dataplane import DataPlane
from trimtab.runtime.front import Front
from trimtab.runtime.gateway.answering import ServiceServer
from trimtab.runtime.gateway.fronts import Fronts
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.plant import LocalPlant
from trimtab.runtime.repository import PlannedRepository
from trimtab.runtime.serve_options import Addresses, Listening, ServeOptions, addresses_of
from trimtab.runtime.server import new_event_loop, raise_descriptor_limit
from trimtab.runtime.turns import Turns
from trimtab.runtime.wiring import check_interfaces
from trimtab.spec.model import Pipeline

log = logging.getLogger(__name__)

OnReady = Callable[[Addresses, Decision], None]
"""Told where the server listens, and the first decision, once all replicas serve."""


class _MonotonicClock:
    """The controller's clock: the one that the plant counts arrivals by."""

    def now_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(pipeline: Pipeline, profile: Profile, options: ServeOptions, on_ready: OnReady) -> None:
    """Serve until SIGINT or SIGTERM; blocks. See `OnReady`.

    Raises:
        TrimtabError: it could not be started; nothing is left running.
    """
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve(pipeline, profile, options, on_ready))


async def serve(pipeline: Pipeline, profile: Profile, options: ServeOptions, on_ready: OnReady) -> None:
    """`run` on an event loop that runs already."""
    stop, hurry = asyncio.Event(), asyncio.Event()
    wiring = check_interfaces(pipeline, folders=options.model_folders)  # blocks: a signal ends it as any program
    with _signals(stop, hurry):
        metrics = Metrics(pipeline)
        clock_s = second_began_s(datetime.now(UTC).timestamp(), time.monotonic())
        cores = _cores(pipeline, options)
        plant = LocalPlant(pipeline, profile, wiring, metrics, cores, max_queued=options.max_queued)
        for missing in plant.capabilities.missing:
            log.info("not available here: %s", missing)
        policy = make_policy(options.policy)
        controller = Controller(
            pipeline,
            profile,
            policy,
            forecaster_for(policy, options.forecaster, clock_s),
            limits_of(pipeline, plant.capabilities),
            settings_for(policy, options.start_rate_rps),
        )
        raise_descriptor_limit()
        doors = _doors(plant, metrics, options)
        async with contextlib.AsyncExitStack() as cleanup:
            cleanup.push_async_callback(plant.stop, 0.0)
            listening = await doors.start()
            cleanup.push_async_callback(_close_doors, doors, plant.data_plane, options.grace_s, hurry)
            header = header_of(
                controller,
                options.policy,
                forecaster=forecaster_name(policy, options.forecaster),
                clock_s=clock_s,
            )
            process = ControllerProcess(header)  # decides: the controller made here is only its recipe
            cleanup.push_async_callback(process.stop)
            journal = None if options.journal is None else JournalWriter(options.journal, header)
            if journal is not None:
                cleanup.callback(journal.close)
            compiler = BackgroundCompiler()
            cleanup.push_async_callback(compiler.stop)
            turns = Turns(metrics, compiler, process, pipeline.tasks)
            control = ControlLoop(process, plant, _MonotonicClock(), journal=journal, on_turn=turns.told)
            turns.stats = control.stats
            repository = PlannedRepository(pipeline, wiring, plant, control)
            cleanup.push_async_callback(repository.stop)
            plant.data_plane.loading = repository
            decision = await _unless(stop, _start(control, plant))
            if decision is None:
                return
            on_ready(addresses_of(listening, options.gateways), decision)
            looping = asyncio.create_task(control.run(stop), name="control loop")
            await stop.wait()
            await looping


def second_began_s(wall_s: float, monotonic_s: float) -> float:
    """When the running second of the monotonic clock began, by the wall clock: the first that the data plane counts.

    The wall clock is read once, at the start; from then on seconds are counted, so that a journal replays whatever is
    done to the clock. Should a second end between this and the plant's own first look, it is one second off.
    """
    return wall_s - (monotonic_s - math.floor(monotonic_s))


async def _start(control: ControlLoop, plant: LocalPlant) -> Decision:
    decision = await control.start()
    await plant.ready()
    return decision


async def _unless(stop: asyncio.Event, starting: Coroutine[None, None, Decision]) -> Decision | None:
    """The result of starting, or None when asked to stop before."""
    work = asyncio.create_task(starting)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        return None
    stopping.cancel()
    return await work


class _Doors(Protocol):
    """Where clients come in: `Front` in this process, or gateway processes."""

    async def start(self) -> Listening: ...

    async def stop(self, grace_s: float) -> None: ...


class _Gateways:
    """Gateway processes as doors."""

    def __init__(self, plant: LocalPlant, metrics: Metrics, options: ServeOptions) -> None:
        self._server = ServiceServer(plant.data_plane, metrics)
        self._fronts = Fronts(self._server, options.listening, options.gateways)
        plant.also_counts(self._fronts.cpu_s)

    async def start(self) -> Listening:
        return await self._fronts.start()

    async def stop(self, grace_s: float) -> None:
        await self._fronts.stop(grace_s)
        await self._server.close()


def _doors(plant: LocalPlant, metrics: Metrics, options: ServeOptions) -> _Doors:
    if options.gateways:
        return _Gateways(plant, metrics, options)
    return Front(plant.data_plane, metrics, options.listening)


async def _close_doors(doors: _Doors, plane: DataPlane, grace_s: float, hurry: asyncio.Event) -> None:
    """Answer what is under way; a second signal ends the wait."""
    stopping = asyncio.create_task(doors.stop(grace_s))
    hurrying = asyncio.create_task(hurry.wait())
    await asyncio.wait({stopping, hurrying}, return_when=asyncio.FIRST_COMPLETED)
    hurrying.cancel()
    if not stopping.done():
        await plane.close(0.0)
    await stopping


@contextlib.contextmanager
def _signals(stop: asyncio.Event, hurry: asyncio.Event) -> Iterator[None]:
    """First SIGINT or SIGTERM: stop. Second: hurry."""
    loop = asyncio.get_running_loop()

    def received() -> None:
        (hurry if stop.is_set() else stop).set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, received)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _cores(pipeline: Pipeline, options: ServeOptions) -> int:
    """Cores for replicas: as asked; else the budget's, as far as this machine has them."""
    if options.cores is not None:
        return options.cores
    have = len(affinity.usable_cores())
    budget = pipeline.budget.cores
    if budget is not None and budget > have:
        log.warning("the budget is %g cores, this machine lets us use %d: serving with %d", budget, have, have)
    return have if budget is None else max(1, min(int(budget), have))
