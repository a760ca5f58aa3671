"""A replica as the gateway sees it: its worker process, and the messages to and from it.

`Replica.start` gives a process that is warm and ready; `run` serves a batch on it; `load`, `unload` and `set_cores`
change it while it serves; `stop` ends it. When the process dies, for whatever reason, everything that waits for it
fails at once with `WorkerError` and `lost` tells why. No process, descriptor or task is left behind, also when `start`
fails or is cancelled. Works on asyncio's own event loop and on uvloop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from trimtab.errors import InvalidInputError, ModelError, PlantError, TrimtabError, WorkerError, WorkerLostError
from trimtab.runtime import frames
from trimtab.runtime.frames import Status
from trimtab.runtime.models.model import Interface, ModelSource
from trimtab.runtime.service import Tensor

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
_LAST_WORDS_LINES = 20
_SEND_BUFFER_BYTES = 4 * 1024 * 1024
_REAP_S = 1.0
"""Longest wait for a process to end by itself after it closed its socket or was asked to end."""
_FAULTS: dict[str, type[TrimtabError]] = {"model": ModelError, "input": InvalidInputError, "worker": WorkerError}

M = TypeVar("M", bound=frames.Message)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """A batch's answer. `service_s` is the time inside the model, measured in the worker; waiting is not in it."""

    outputs: Mapping[str, Tensor]
    service_s: float


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What loading a variant took: from asked for to warm, and the resident memory it added."""

    load_time_s: float
    memory_bytes: int


class Replica:
    """One running replica of a task. Made by `start`."""

    def __init__(self, replica_id: str, task: str, core_ids: tuple[int, ...], threads: int) -> None:
        """For `start` alone."""
        self.id = replica_id
        self.task = task
        self.core_ids = core_ids
        self.threads = threads
        self.interfaces: dict[str, Interface] = {}
        """Inputs and outputs of each resident variant, as its model says them."""
        self.examples: dict[str, Mapping[str, Tensor]] = {}
        """One row that a resident variant takes; empty where its model knows none."""
        self.load_reports: dict[str, LoadReport] = {}
        self.versions: Mapping[str, str] = {}
        """Of what the worker runs on: onnxruntime, numpy, python."""
        self.missing: tuple[str, ...] = ()
        """Capabilities that this system lacks, in words for people."""
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = loop.create_future()
        """Resolves to the reason once the process is gone; "stopped" when that was asked for."""
        self._connection = _Connection(self._receive)
        self._process: Process | None = None
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS_LINES)
        self._pending: dict[int, asyncio.Future[frames.Frame]] = {}
        self._last_id = 0
        self._stopping = False
        self._supervision: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The worker's process id."""
        assert self._process is not None, "a Replica is made by start()"
        return self._process.pid

    @property
    def concurrency(self) -> int:
        """Batches that it serves at once."""
        return len(self.core_ids) // self.threads

    @classmethod
    async def start(
        cls,
        *,
        replica_id: str,
        task: str,
        models: Mapping[str, ModelSource],
        core_ids: tuple[int, ...],
        threads: int,
        thread_options: tuple[int, ...],
        warm_batches: tuple[int, ...],
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> Replica:
        """Start a process on `core_ids` and load and warm `models` in it.

        Args:
            replica_id: name for logs and messages.
            task: the task that the variants do.
            models: variant → where its model comes from.
            core_ids: cores that it holds; where the system has no affinity only their number counts.
            threads: threads per inference at first.
            thread_options: thread counts that `set_cores` may ask for later; sessions for them are built now.
            warm_batches: batch sizes that are run once before it is ready, besides 1.
            start_timeout_s: longest wait for all of this.

        Raises:
            ModelError: a model cannot be served, with the reason.
            WorkerError: the process did not become ready; with its reason and last words.
            PlantError: this system has no local sockets that a process can inherit.
        """
        if os.name != "posix":
            raise PlantError("worker processes need a POSIX system", got=os.name, next_step="use Linux, macOS or WSL")
        replica = cls(replica_id, task, core_ids, threads)
        try:
            await replica._spawn()
            async with asyncio.timeout(start_timeout_s):
                setup = frames.Setup(replica._next_id(), core_ids, threads, thread_options, warm_batches)
                hello = await replica._ask(setup, frames.Hello)
                replica.versions, replica.missing = hello.versions, hello.missing
                for variant, source in models.items():
                    await replica.load(variant, source)
        except TimeoutError as error:
            await replica.stop(0.0)
            raise WorkerError(
                f"replica '{replica_id}' of task '{task}' was not ready in time",
                got=f"nothing within {start_timeout_s:g} s" + replica._tail(),
            ) from error
        except BaseException:
            await replica.stop(0.0)
            raise
        return replica

    async def run(self, variant: str, inputs: Mapping[str, Tensor]) -> BatchResult:
        """Serve one batch. The inputs must not change until it returns.

        Raises:
            WorkerError: the process was lost or is stopping; another replica may still serve the batch.
            ModelError: the variant is not resident, or failed on this batch.
            InvalidInputError: the inputs are not those of the model.
        """
        message = frames.Run(self._next_id(), variant)
        try:
            buffers = frames.encode(message, inputs)
        except WorkerError as error:
            raise InvalidInputError(str(error)) from error
        frame = await self._exchange(message.id, buffers)
        return BatchResult(frame.tensors, _expect(frame, frames.Result).service_s)

    async def load(self, variant: str, source: ModelSource) -> LoadReport:
        """Make a variant resident, beside serving, or replace the one of that name. Returns once it is warm.

        Raises:
            ModelError: the model cannot be served, or there is not enough memory for it; nothing has changed.
            WorkerError: the process was lost, with all that it held.
        """
        message = frames.Load(
            self._next_id(),
            variant,
            source.runtime,
            str(source.path),
            source.entry,
            dict(source.options),
            tuple(str(folder) for folder in source.folders),
        )
        frame = await self._exchange(message.id, frames.encode(message))
        loaded = _expect(frame, frames.Loaded)
        self.interfaces[variant] = Interface(
            tuple(head.info() for head in loaded.inputs), tuple(head.info() for head in loaded.outputs)
        )
        self.examples[variant] = frame.tensors
        report = LoadReport(loaded.load_time_s, loaded.memory_bytes)
        self.load_reports[variant] = report
        return report

    async def unload(self, variant: str) -> None:
        """Free a variant's memory; batches of it that were accepted finish.

        Raises:
            ModelError: it is not resident.
            WorkerError: the process was lost.
        """
        await self._ask(frames.Unload(self._next_id(), variant), frames.Done)
        self.interfaces.pop(variant, None)
        self.examples.pop(variant, None)
        self.load_reports.pop(variant, None)

    async def set_cores(self, core_ids: tuple[int, ...], threads: int) -> None:
        """Hold these cores and use `threads` per inference from the next batch on; running batches are not dropped.

        Raises:
            WorkerError: the cores cannot be used, no sessions are built for `threads`, or the process was lost.
        """
        await self._ask(frames.SetCores(self._next_id(), core_ids, threads), frames.Done)
        self.core_ids, self.threads = core_ids, threads

    async def status(self) -> Status:
        """Memory, CPU time, resident variants and batches, now.

        Raises:
            WorkerError: the process was lost.
        """
        return await self._ask(frames.AskStatus(self._next_id()), Status)

    async def wait_lost(self) -> str:
        """Wait until the process is gone; returns the reason."""
        return await asyncio.shield(self.lost)

    def kill(self) -> None:
        """End the process at once; what waits for it fails. Does nothing when it has ended."""
        self._signal(Process.kill)

    async def stop(self, grace_s: float) -> None:
        """End the process and wait until it is gone: let it drain for `grace_s`, then SIGTERM, then SIGKILL."""
        self._stopping = True
        if self._process is None:
            self._connection.close()
            return
        try:
            if grace_s > 0:
                self._connection.write(frames.encode(frames.Stop(self._next_id())))
                if await self._gone_within(grace_s):
                    return
                self._signal(Process.terminate)
                if await self._gone_within(min(grace_s, _REAP_S)):
                    return
        finally:
            self.kill()
        await self.wait_lost()

    async def _spawn(self) -> None:
        """Start the process and connect to it."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):  # as much of a large tensor at once as the system lets us: fewer wake-ups each way
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        try:
            ours.setblocking(False)  # noqa: FBT003 — its signature is the standard library's
            await asyncio.get_running_loop().create_unix_connection(lambda: self._connection, sock=ours)
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "trimtab.runtime.worker", str(theirs.fileno())),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=STDOUT,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C in a terminal is the gateway's to handle
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            )
        except OSError as error:
            raise WorkerError(f"replica '{self.id}' of task '{self.task}' cannot be started", got=str(error)) from error
        finally:
            theirs.close()
        self._supervision = asyncio.create_task(self._supervise(self._process), name=f"replica {self.id}")

    async def _supervise(self, process: Process) -> None:
        """Follow the process to its end, then fail what waits for it and say why it ended."""
        forwarding = asyncio.create_task(self._forward_output(process), name=f"output of {self.id}")
        exiting = asyncio.create_task(process.wait(), name=f"exit of {self.id}")
        ends: set[asyncio.Future[int] | asyncio.Future[None]] = {exiting, self._connection.closed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        # The last answers may still be on their way when it exits; and it may hang after it closed its socket.
        await asyncio.wait(ends, timeout=_REAP_S)
        self._signal(Process.kill)
        code = await exiting
        self._connection.close()
        await asyncio.wait({forwarding}, timeout=_REAP_S)
        forwarding.cancel()
        await asyncio.gather(forwarding, return_exceptions=True)
        reason = self._connection.error or _describe_exit(code)
        for future in self._pending.values():
            if not future.done():
                future.set_exception(self._lost_error(reason))
        self.lost.set_result("stopped" if self._stopping else reason + self._tail())

    async def _forward_output(self, process: Process) -> None:
        """What the worker prints goes to the log; its last lines are kept for messages."""
        assert process.stdout is not None, "its output is a pipe"
        rest = b""
        while chunk := await process.stdout.read(1 << 14):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._say(line)
        if rest:
            self._say(rest)

    def _say(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        self._last_words.append(text)
        log.warning("%s: %s", self.id, text)

    def _tail(self) -> str:
        return "; its last words:\n    " + "\n    ".join(self._last_words) if self._last_words else ""

    def _lost_error(self, reason: str) -> WorkerLostError:
        return WorkerLostError(f"replica '{self.id}' of task '{self.task}' was lost", got=reason + self._tail())

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    async def _ask(self, message: frames.Message, answer: type[M]) -> M:
        return _expect(await self._exchange(message.id, frames.encode(message)), answer)

    async def _exchange(self, message_id: int, buffers: list[bytes | memoryview]) -> frames.Frame:
        """Send a message and wait for its answer."""
        if self.lost.done():
            raise self._lost_error(self.lost.result())
        future: asyncio.Future[frames.Frame] = asyncio.get_running_loop().create_future()
        self._pending[message_id] = future
        try:
            self._connection.write(buffers)
            return await future
        finally:
            del self._pending[message_id]

    def _receive(self, frame: frames.Frame) -> None:
        future = self._pending.get(frame.message.id)
        if future is None or future.done():  # whoever asked has given up
            return
        if isinstance(frame.message, frames.Failure):
            future.set_exception(_FAULTS.get(frame.message.kind, WorkerError)(frame.message.text))
        else:
            future.set_result(frame)

    def _signal(self, send: Callable[[Process], None]) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                send(self._process)

    async def _gone_within(self, timeout_s: float) -> bool:
        await asyncio.wait({self.lost}, timeout=timeout_s)
        return self.lost.done()


class _Connection(asyncio.BufferedProtocol):
    """The gateway's end of the socket: frames in, buffers out."""

    def __init__(self, receive: Callable[[frames.Frame], None]) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.error: str | None = None
        """Why we gave the connection up ourselves."""
        self._receive = receive
        self._decoder = frames.Decoder()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's are no subclasses of it

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._decoder.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        try:
            for frame in self._decoder.buffer_updated(nbytes):
                self._receive(frame)
        except WorkerError as error:
            self.error = str(error)
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.closed.done():
            self.closed.set_result(None)

    def write(self, buffers: list[bytes | memoryview]) -> None:
        """Send, or do nothing when the connection is closed: the end of the process fails what waits."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(buffers)

    def close(self) -> None:
        """Close now; what was not sent is dropped."""
        if self._transport is not None:
            self._transport.abort()


def _expect(frame: frames.Frame, answer: type[M]) -> M:
    if not isinstance(frame.message, answer):
        raise WorkerError("a worker gave another answer than was asked for", got=type(frame.message).__name__)
    return frame.message


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
