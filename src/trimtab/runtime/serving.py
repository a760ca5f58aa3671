"""One served pipeline on this machine: plant, controller and HTTP server put together, started and stopped in order.

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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from trimtab.control.controller import Controller
from trimtab.control.journal import JournalEntry, JournalWriter, header_of
from trimtab.control.loop import ControlLoop
from trimtab.control.protocols import Decision
from trimtab.control.settings import forecaster_for, forecaster_name, limits_of, settings_for
from trimtab.plan.policies import make_policy
from trimtab.profile.model import Profile
from trimtab.runtime import affinity
from trimtab.runtime.compiling import BackgroundCompiler
from trimtab.runtime.dataplane import DataPlane
from trimtab.runtime.http import make_app
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.plant import LocalPlant
from trimtab.runtime.server import HttpServer, new_event_loop
from trimtab.runtime.wiring import check_interfaces
from trimtab.spec.model import Pipeline

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How to serve."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0: a free one."""
    policy: str = "trimtab"
    forecaster: str | None = None
    """A name or a file; None: the policy's own, or else the default."""
    cores: int | None = None
    """Cores that replicas may hold; None: the budget's, as far as this machine has them."""
    start_rate_rps: float = 1.0
    """The rate of the first plan."""
    journal: Path | None = None
    grace_s: float = 10.0
    """Longest wait, at the end, for requests under way."""


class _MonotonicClock:
    """The controller's clock: the one that the plant counts arrivals by."""

    def now_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(pipeline: Pipeline, profile: Profile, options: ServeOptions, on_ready: Callable[[str, Decision], None]) -> None:
    """Serve until SIGINT or SIGTERM; blocks. `on_ready` gets the URL and the first decision once all replicas serve.

    Raises:
        TrimtabError: it could not be started; nothing is left running.
    """
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve(pipeline, profile, options, on_ready))


async def serve(
    pipeline: Pipeline, profile: Profile, options: ServeOptions, on_ready: Callable[[str, Decision], None]
) -> None:
    """`run` on an event loop that runs already."""
    stop, hurry = asyncio.Event(), asyncio.Event()
    with _signals(stop, hurry):
        wiring = check_interfaces(pipeline)
        metrics = Metrics(pipeline)
        clock_s = second_began_s(datetime.now(UTC).timestamp(), time.monotonic())
        plant = LocalPlant(pipeline, profile, wiring, metrics, _cores(pipeline, options))
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
        server = HttpServer(make_app(plant.data_plane, metrics))
        async with contextlib.AsyncExitStack() as cleanup:
            cleanup.push_async_callback(plant.stop, 0.0)
            port = await server.start(options.host, options.port)
            cleanup.push_async_callback(_stop_server, server, plant.data_plane, options.grace_s, hurry)
            journal = _journal(controller, options, clock_s)
            if journal is not None:
                cleanup.callback(journal.close)
            compiler = BackgroundCompiler()
            compiler.at_start()
            cleanup.push_async_callback(compiler.stop)
            on_turn = _tell(metrics, compiler, controller)
            control = ControlLoop(controller, plant, _MonotonicClock(), journal=journal, on_turn=on_turn)
            decision = await _unless(stop, _start(control, plant))
            if decision is None:
                return
            on_ready(f"http://{_in_url(options.host)}:{port}", decision)
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


async def _stop_server(server: HttpServer, plane: DataPlane, grace_s: float, hurry: asyncio.Event) -> None:
    """Answer what is under way; a second signal ends the wait."""
    stopping = asyncio.create_task(server.stop(grace_s))
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


def _journal(controller: Controller, options: ServeOptions, clock_s: float) -> JournalWriter | None:
    if options.journal is None:
        return None
    named = forecaster_name(controller.policy, options.forecaster)
    return JournalWriter(options.journal, header_of(controller, options.policy, forecaster=named, clock_s=clock_s))


def _tell(
    metrics: Metrics, compiler: BackgroundCompiler, controller: Controller
) -> Callable[[JournalEntry, float], None]:
    """Tells the metrics of every turn of the controller, and the compiler how long it took."""

    def told(turn: JournalEntry, took_s: float) -> None:
        compiler.decided(took_s)
        if turn.observation is not None:
            metrics.observed(turn.observation)
        if turn.decision is None:
            metrics.controller_failed()
            return
        metrics.decided(took_s, feasible=turn.decision.feasible, forecast_rps=turn.decision.plan.rate_rps)
        if controller.forecast is not None:
            metrics.forecast(controller.forecast)
        if turn.decision.changed:
            changes = "; ".join(f"{a.task} {a.kind} {a.before} → {a.after}" for a in turn.decision.actions)
            log.info("plan %s: %s", turn.decision.plan.id, changes or "first plan")

    return told


def _in_url(host: str) -> str:
    """A host as it stands in a URL: IPv6 addresses in brackets, "any address" as one that can be called."""
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
