"""A worker: the process of one replica. It holds several variants of one task and runs batches on exactly c cores.

Started by `replica.Replica` as `python -m trimtab.runtime.worker FD`, where FD is its end of a local stream socket;
what it understands and answers is in `frames`. Its threads: the main thread reads messages and answers what is instant;
a loader thread opens models beside serving; run threads, of which `cores ÷ threads` work at a time, run batches.

It ends when it is told to (`Stop` or SIGTERM: what was accepted is answered first) and at once when the socket closes,
because then the gateway is gone: a worker is never left behind. It ignores SIGINT: Ctrl-C goes to the whole process
group, and the gateway decides. It imports no planner and no server, so that it starts fast.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import numpy as np

from trimtab.errors import InvalidInputError, MissingExtraError, ModelError, TrimtabError, WorkerError
from trimtab.runtime import affinity, frames
from trimtab.runtime.memory import die_first
from trimtab.runtime.models.model import ModelSource
from trimtab.runtime.residents import Resident, Residents
from trimtab.runtime.service import Tensor, TensorInfo

EXIT_BAD_BYTES = 3
"""Exit code after bytes that are no frame."""


class Slots:
    """Runs at most `limit` jobs at a time, in order; the limit can change while they run."""

    def __init__(self) -> None:
        self._limit = 1
        self._running = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._threads = ThreadPoolExecutor(max_workers=max(os.cpu_count() or 1, 64), thread_name_prefix="run")

    @property
    def counts(self) -> tuple[int, int]:
        """Jobs running and jobs waiting."""
        with self._changed:
            return self._running, len(self._waiting)

    def set_limit(self, limit: int) -> None:
        """At most `limit` jobs at a time from the next one on; running ones finish."""
        with self._changed:
            self._limit = limit
            self._start()

    def submit(self, job: Callable[[], None]) -> None:
        """Run `job` once a slot is free. It must not raise."""
        with self._changed:
            self._waiting.append(job)
            self._start()

    def wait_idle(self) -> None:
        """Block until nothing runs or waits."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running and not self._waiting)

    def _start(self) -> None:
        while self._waiting and self._running < self._limit:
            self._running += 1
            self._threads.submit(self._work, self._waiting.popleft())

    def _work(self, job: Callable[[], None]) -> None:
        while True:
            job()
            with self._changed:
                if not self._waiting or self._running > self._limit:
                    self._running -= 1
                    self._changed.notify_all()
                    return
                job = self._waiting.popleft()


class Worker:
    """The process's state and its answers to messages."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._sending = threading.Lock()
        self._slots = Slots()
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="load")
        self._residents = Residents((), ())
        self._cores = 1
        self._threads = 1
        self._draining = threading.Event()

    def serve(self) -> NoReturn:
        """Answer messages until told to stop or until the other side is gone."""
        decoder = frames.Decoder()
        while True:
            try:
                count = self._socket.recv_into(decoder.get_buffer())
            except ConnectionError:
                count = 0
            if count == 0:
                _exit(0)
            try:
                for frame in decoder.buffer_updated(count):
                    self._answer(frame)
            except WorkerError as error:
                print(f"cannot go on: {error}", file=sys.stderr)
                _exit(EXIT_BAD_BYTES)

    def drain(self) -> None:
        """Refuse new batches, answer the accepted ones, then exit. Returns at once; a second call changes nothing."""
        if not self._draining.is_set():
            self._draining.set()
            threading.Thread(target=self._exit_when_idle, name="drain", daemon=True).start()

    def _exit_when_idle(self) -> None:
        self._slots.wait_idle()
        _exit(0)

    def _answer(self, frame: frames.Frame) -> None:
        """Do what a message says. What fails is answered with `Failure`; the process goes on."""
        message = frame.message
        match message:
            case frames.Run():
                self._guard(message.id, lambda: self._accept(message, frame.tensors))
            case frames.SetCores():
                self._guard(message.id, lambda: self._set_cores(message))
            case frames.AskStatus():
                self._guard(message.id, lambda: self._send(self._status(message.id)))
            case frames.Setup():
                self._guard(message.id, lambda: self._setup(message))
            case frames.Load():
                self._loader.submit(self._guard, message.id, lambda: self._load(message))
            case frames.Unload():
                self._loader.submit(self._guard, message.id, lambda: self._unload(message))
            case frames.Stop():
                self.drain()
            case _:
                raise WorkerError("the gateway sent an answer instead of a question", got=type(message).__name__)

    def _guard(self, message_id: int, act: Callable[[], None]) -> None:
        """Run `act`; whatever it raises becomes a `Failure`, because one bad message must not end the replica."""
        try:
            act()
        except InvalidInputError as error:
            self._send(frames.Failure(message_id, "input", str(error)))
        except (ModelError, MissingExtraError) as error:
            self._send(frames.Failure(message_id, "model", str(error)))
        except TrimtabError as error:
            self._send(frames.Failure(message_id, "worker", str(error)))
        except Exception as error:  # noqa: BLE001 — see above; the text says what it was
            self._send(frames.Failure(message_id, "worker", f"unexpected {type(error).__name__}: {error}"))

    def _setup(self, message: frames.Setup) -> None:
        options = tuple(sorted({message.threads, *message.thread_options}))
        self._residents = Residents(options, message.warm_batches)
        self._hold(message.core_ids, message.threads)  # before ONNX Runtime is imported and any pool of threads exists
        import onnxruntime as ort
        import psutil  # noqa: F401 — now, so that its memory is not counted for the first model

        missing = affinity.missing()
        versions = {"onnxruntime": ort.__version__, "numpy": np.__version__, "python": sys.version.split()[0]}
        self._send(frames.Hello(message.id, os.getpid(), versions, (missing,) if missing else ()))

    def _set_cores(self, message: frames.SetCores) -> None:
        self._hold(message.core_ids, message.threads)
        self._send(frames.Done(message.id))
        self._loader.submit(self._grow)

    def _hold(self, core_ids: tuple[int, ...], threads: int) -> None:
        if not 1 <= threads <= len(core_ids):
            got = f"{threads} threads, cores {core_ids}"
            raise WorkerError("the threads of an inference must fit the cores", got=got)
        options = self._residents.thread_options
        if threads not in options:
            raise WorkerError("no sessions are built for this number of threads", got=threads, wanted=str(options))
        affinity.hold_cores(core_ids)
        self._cores, self._threads = len(core_ids), threads
        self._slots.set_limit(self._cores // threads)

    def _grow(self) -> None:
        try:
            self._residents.grow(self._cores)
        except TrimtabError as error:
            print(f"serving on with fewer sessions: {error}", file=sys.stderr)

    def _load(self, message: frames.Load) -> None:
        before_bytes = _rss_bytes()
        started_s = time.perf_counter()
        source = ModelSource(
            message.runtime,
            Path(message.path),
            message.entry,
            message.options,
            tuple(Path(folder) for folder in message.folders),
        )
        resident = self._residents.load(message.variant, source, self._cores)
        load_time_s = time.perf_counter() - started_s
        self._send(
            frames.Loaded(
                message.id,
                load_time_s,
                max(_rss_bytes() - before_bytes, 0),
                _heads(resident.interface.inputs),
                _heads(resident.interface.outputs),
            ),
            resident.example(1),
        )

    def _unload(self, message: frames.Unload) -> None:
        self._residents.unload(message.variant)
        self._send(frames.Done(message.id))

    def _accept(self, message: frames.Run, inputs: Mapping[str, Tensor]) -> None:
        if self._draining.is_set():
            raise WorkerError("the replica is stopping")
        resident = self._residents.get(message.variant)  # now, so that an unload meanwhile does not take it away
        self._slots.submit(lambda: self._guard(message.id, lambda: self._run(message.id, resident, inputs)))

    def _run(self, message_id: int, resident: Resident, inputs: Mapping[str, Tensor]) -> None:
        outputs, service_s = resident.run(inputs, self._threads)
        self._send(frames.Result(message_id, service_s), outputs)

    def _status(self, message_id: int) -> frames.Status:
        times = os.times()
        return frames.Status(
            message_id, _rss_bytes(), times.user + times.system, self._residents.names, *self._slots.counts
        )

    def _send(self, message: frames.Message, tensors: Mapping[str, Tensor] | None = None) -> None:
        buffers = frames.encode(message, tensors)
        try:
            with self._sending:
                sent = self._socket.sendmsg(buffers)
                for buffer in buffers:  # `sendmsg` may stop half-way when the other side is slow
                    if sent < len(buffer):
                        self._socket.sendall(memoryview(buffer)[sent:])
                    sent = max(sent - len(buffer), 0)
        except OSError:  # the gateway is gone
            _exit(0)


def _heads(infos: tuple[TensorInfo, ...]) -> tuple[frames.TensorHead, ...]:
    return tuple(frames.TensorHead(info.name, info.dtype.name, info.shape) for info in infos)


def _rss_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _exit(code: int) -> NoReturn:
    """End the process now: no thread may hold it, and closing sessions one by one would only take time."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(arguments: list[str]) -> NoReturn:
    """Serve on the socket whose descriptor is the only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_first()
    worker = Worker(socket.socket(fileno=int(arguments[0])))
    signal.signal(signal.SIGTERM, lambda _signal, _stack: worker.drain())
    worker.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
