"""Keeps the front processes running: starts them, starts those again that die, counts their CPU time, ends them.

The data-plane process holds the ports (bound, not listening) so that a front that is started again finds them free and
no other program can take them meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from dataclasses import dataclass, replace
from typing import Any

import psutil

from trimtab.errors import PlantError, WorkerError
from trimtab.runtime.gateway import messages, setup
from trimtab.runtime.gateway.answering import Client, ServiceServer
from trimtab.runtime.serve_options import Listening
from trimtab.runtime.sockets import bound_socket

log = logging.getLogger(__name__)

START_S = 30.0
"""Longest time from a front's start until it listens."""
RESTART_DELAY_S = (0.0, 0.5, 2.0, 5.0, 15.0)
"""Pauses before a front that died is started again: none after a healthy life, longer while it keeps dying."""
STEADY_S = 30.0
"""A front that served this long is healthy: its earlier deaths are forgotten."""
_REAP_S = 1.0
"""Longest wait for a front whose connection is closed to end by itself."""
_AFTER_GRACE_S = 3.0
"""What a front may take to end, beyond the grace for its requests."""


@dataclass(eq=False, slots=True)
class _Front:
    process: Process
    client: Client
    usage: psutil.Process
    cpu_s: float = 0.0


class Fronts:
    """`start` them, `stop` once. Fronts listen as `listening` says, for what `server` answers."""

    def __init__(self, server: ServiceServer, listening: Listening, count: int) -> None:
        """`count` processes, at least one.

        Raises:
            PlantError: this system has no ports that several processes may share.
        """
        if os.name != "posix" or not hasattr(socket, "SO_REUSEPORT"):
            raise PlantError(
                "several gateway processes need a POSIX system", got=os.name, next_step="serve with --gateways 0"
            )
        self._server = server
        self._listening = listening
        self._count = count
        self._held: list[socket.socket] = []
        self._fronts: set[_Front] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._cpu_s = 0.0

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the fronts that run."""
        return tuple(sorted(front.process.pid for front in self._fronts))

    async def start(self) -> Listening:
        """Take the ports and start every front; returns once all of them listen, and where.

        Raises:
            AddressInUseError: something else listens there.
            PlantError: a front cannot listen, with its reason.
        """
        try:
            self._listening = self._hold()
            first = [asyncio.get_running_loop().create_future() for _ in range(self._count)]
            self._tasks = [
                asyncio.create_task(self._keep(index, ready), name=f"gateway {index}")
                for index, ready in enumerate(first)
            ]
            await asyncio.gather(*first)
        except BaseException:
            await self.stop(0.0)
            raise
        return self._listening

    async def stop(self, grace_s: float) -> None:
        """Let every front answer what is under way for up to `grace_s`, then end it. Leaves no process behind."""
        self._stopping = True
        fronts = list(self._fronts)
        for front in fronts:
            front.client.connection.send(messages.Stop(0, grace_s))
        ends = [asyncio.ensure_future(front.process.wait()) for front in fronts]
        if ends:
            await asyncio.wait(ends, timeout=grace_s + _AFTER_GRACE_S if grace_s else _AFTER_GRACE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *(self._end(front) for front in fronts), return_exceptions=True)
        await asyncio.gather(*ends)
        for sock in self._held:
            sock.close()
        self._held.clear()

    def cpu_s(self) -> float:
        """CPU seconds of all fronts since the start, those that ended included (to the last look)."""
        for front in self._fronts:
            with contextlib.suppress(psutil.Error):
                used = front.usage.cpu_times()
                now_s = used.user + used.system
                self._cpu_s += now_s - front.cpu_s
                front.cpu_s = now_s
        return self._cpu_s

    async def _keep(self, index: int, ready: asyncio.Future[None]) -> None:
        """Keep one front running."""
        clock, deaths = self._server.clock, 0
        while not self._stopping:
            await asyncio.sleep(RESTART_DELAY_S[min(deaths, len(RESTART_DELAY_S) - 1)])
            began_s = clock()
            try:
                front = await self._start_front()
            except PlantError as error:
                if not ready.done():
                    ready.set_exception(error)
                    return
                log.error("gateway %d did not start: %s", index, error)
                deaths += 1
                continue
            if not ready.done():
                ready.set_result(None)
            try:
                await front.client.connection.closed
            finally:
                await self._end(front)
            if self._stopping:
                return
            log.warning("gateway %d ended (code %s); starting it again", index, front.process.returncode)
            deaths = 0 if clock() - began_s > STEADY_S else deaths + 1

    async def _start_front(self) -> _Front:
        """A front that listens.

        Raises:
            PlantError: it cannot listen, or did not in time.
        """
        ours, theirs = socket.socketpair()
        answer: asyncio.Future[messages.Message] = asyncio.get_running_loop().create_future()

        def heard(message: messages.Message) -> None:
            if not answer.done():
                answer.set_result(message)

        try:
            client = await self._server.add(ours, heard)
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "trimtab.runtime.gateway.process", str(theirs.fileno())),
                    stdin=DEVNULL,
                    stdout=DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # Ctrl-C in a terminal is the data-plane process's to handle
                )
            except BaseException:
                await client.close()
                raise
        except OSError as error:
            raise WorkerError("a gateway cannot be started", got=str(error)) from error
        finally:
            theirs.close()
        front = _Front(process, client, psutil.Process(process.pid))
        self._fronts.add(front)
        client.connection.send(messages.Setup(1, setup.encode(self._listening)))
        try:
            await _see_it_listen(client, answer)
        except BaseException:
            await self._end(front)
            raise
        return front

    async def _end(self, front: _Front) -> None:
        """See a front gone: its calls cancelled, its process reaped. Until then it may still be dealt connections."""
        self.cpu_s()
        try:
            await front.client.close()  # it ends by itself when it sees this
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(front.process.wait(), _REAP_S)
        finally:  # also when this is cancelled
            if front.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    front.process.kill()
            await front.process.wait()
            self._fronts.discard(front)

    def _hold(self) -> Listening:
        """Bind the ports; `listening` with those that were free where it said 0.

        Raises:
            AddressInUseError: something else listens there.
            PlantError: there is no such address here, or no permission to use it.
        """
        told = self._listening
        port = self._take(told.port, "--port")
        grpc_port = None if told.grpc_port is None else self._take(told.grpc_port, "--grpc-port")
        return replace(told, port=port, grpc_port=grpc_port, reuse_port=True)

    def _take(self, port: int, option: str) -> int:
        """Hold one port: first alone, so that a program that shares it is noticed, then for sharing."""
        host = self._listening.host
        with bound_socket(host, port, option=option) as alone:
            port = alone.getsockname()[1]
        self._held.append(bound_socket(host, port, option=option, reuse_port=True))
        return port


async def _see_it_listen(client: Client, answer: asyncio.Future[messages.Message]) -> None:
    """Wait until a front says that it listens.

    Raises:
        PlantError: it cannot, or did not in time.
    """
    events: set[asyncio.Future[Any]] = {answer, client.connection.closed}
    await asyncio.wait(events, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
    if not answer.done():
        why = "it ended" if client.connection.closed.done() else f"no answer within {START_S:g} s"
        raise WorkerError("a gateway did not start", got=why)
    said = answer.result()
    if isinstance(said, messages.Problem):
        raise PlantError(f"a gateway did not start: {said.text}")
