"""The variants that a worker holds: for each, open sessions for every thread count, and how a batch is run on them.

With one thread per inference all concurrent runs share one session. With more, each concurrent run has a session of its
own, whose pool of threads is then its own too. Sessions are built before they are needed; when a replica grows beyond
what was built, runs share the sessions there are until the missing ones are ready: slower, never wrong.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.errors import InvalidInputError, ModelError, WorkerError
from trimtab.runtime.model_file import Interface, format_shape, open_session, read_interface
from trimtab.runtime.service import Tensor, TensorInfo


def session_count(cores: int, threads: int) -> int:
    """Sessions needed so that a replica of `cores` cores never waits for one."""
    return 1 if threads == 1 else max(cores // threads, 1)


@dataclass(slots=True)
class _Session:
    """An open session and how many runs use it now."""

    ort: Any
    running: int = 0


@dataclass(eq=False, slots=True)
class Resident:
    """One loaded variant."""

    variant: str
    path: Path
    interface: Interface
    sessions: dict[int, list[_Session]]
    """Threads per inference → open sessions."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, inputs: Mapping[str, Tensor], threads: int) -> tuple[dict[str, Tensor], float]:
        """The outputs for one batch, and the seconds it took.

        Raises:
            InvalidInputError: the inputs are not those of the model.
            ModelError: the model failed on them.
        """
        rows = check_inputs(inputs, self.interface)
        with self.lock:
            session = min(self.sessions[threads], key=lambda s: s.running)
            session.running += 1
        try:
            started_s = time.perf_counter()
            outputs = self._run(session.ort, inputs, rows)
            return outputs, time.perf_counter() - started_s
        except Exception as error:  # ONNX Runtime's errors share no other base class
            raise ModelError(
                f"variant '{self.variant}' failed on a batch of {rows}", got=" ".join(str(error).split())[:400]
            ) from error
        finally:
            with self.lock:
                session.running -= 1

    def _run(self, session: Any, inputs: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
        names = [info.name for info in self.interface.outputs]
        if rows == 1 or not self.interface.one_row_only:
            return dict(zip(names, session.run(names, dict(inputs)), strict=True))
        parts = [session.run(names, {name: array[i : i + 1] for name, array in inputs.items()}) for i in range(rows)]
        return {name: np.concatenate([part[k] for part in parts]) for k, name in enumerate(names)}


class Residents:
    """All variants that this process holds. Loading runs beside serving: a variant appears when it is warm."""

    def __init__(self, thread_options: tuple[int, ...], warm_batches: tuple[int, ...]) -> None:
        self._thread_options = thread_options
        self._warm_batches = tuple(sorted({1, *warm_batches}))
        self._by_name: dict[str, Resident] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The resident variants, in the order of loading."""
        return tuple(self._by_name)

    @property
    def thread_options(self) -> tuple[int, ...]:
        """Thread counts for which sessions are built."""
        return self._thread_options

    def get(self, variant: str) -> Resident:
        """A resident variant.

        Raises:
            ModelError: it is not resident.
        """
        resident = self._by_name.get(variant)
        if resident is None:
            raise ModelError(f"variant '{variant}' is not resident", wanted=", ".join(self._by_name) or "a load first")
        return resident

    def load(self, variant: str, path: Path, cores: int) -> Resident:
        """Open and warm sessions of `variant` for all thread counts; replaces one of that name once this is ready.

        Raises:
            ModelError: the file cannot be served; nothing has changed.
        """
        sessions: dict[int, list[_Session]] = {}
        interface: Interface | None = None
        for threads in self._thread_options:
            sessions[threads] = []
            for _ in range(session_count(cores, threads)):
                ort = open_session(path, threads=threads)
                interface = interface or read_interface(ort, path)
                self._warm(ort, interface, variant, path)
                sessions[threads].append(_Session(ort))
        if interface is None:
            raise WorkerError("there is no thread count to build sessions for")
        resident = Resident(variant, path, interface, sessions)
        self._by_name[variant] = resident
        return resident

    def grow(self, cores: int) -> None:
        """Build the sessions that a replica of `cores` cores needs beyond those there are.

        Raises:
            ModelError: a file has become unreadable since it was loaded; what there is keeps serving.
        """
        for resident in list(self._by_name.values()):
            for threads, sessions in resident.sessions.items():
                while len(sessions) < session_count(cores, threads):
                    ort = open_session(resident.path, threads=threads)
                    self._warm(ort, resident.interface, resident.variant, resident.path)
                    with resident.lock:
                        sessions.append(_Session(ort))

    def unload(self, variant: str) -> None:
        """Forget a variant; runs that use it finish.

        Raises:
            ModelError: it is not resident.
        """
        self.get(variant)
        del self._by_name[variant]

    def _warm(self, session: Any, interface: Interface, variant: str, path: Path) -> None:
        """First runs, so that no request pays for them. A model with free axes stays cold: we cannot make its input."""
        if not interface.fixed:
            return
        for batch in self._warm_batches if not interface.one_row_only else (1,):
            zeros = {i.name: np.zeros((batch, *i.shape[1:]), i.dtype) for i in interface.inputs}
            try:
                session.run(None, zeros)
            except Exception as error:  # ONNX Runtime's errors share no other base class
                raise ModelError(
                    f"variant '{variant}' fails on a batch of {batch}",
                    where=str(path),
                    got=" ".join(str(error).split())[:400],
                    next_step="export the model with a dynamic leading axis that works for any number of rows",
                ) from error


def check_inputs(inputs: Mapping[str, Tensor], interface: Interface) -> int:
    """The number of rows of a batch.

    Raises:
        InvalidInputError: names, dtypes, shapes or row counts are not those of the interface.
    """
    wanted = {info.name: info for info in interface.inputs}
    if inputs.keys() != wanted.keys():
        raise InvalidInputError("the inputs are not the model's", got=", ".join(inputs), wanted=", ".join(wanted))
    rows: int | None = None
    for name, info in wanted.items():
        array = inputs[name]
        if not _matches(array, info):
            raise InvalidInputError(
                f"input '{name}' does not fit the model",
                got=f"{array.dtype.name} {format_shape(array.shape)}",
                wanted=f"{info.dtype.name} {format_shape((-1, *info.shape[1:]))}",
            )
        if rows is not None and array.shape[0] != rows:
            raise InvalidInputError("the inputs have different numbers of rows", got=f"{rows} and {array.shape[0]}")
        rows = array.shape[0]
    if not rows:
        raise InvalidInputError("the batch is empty", got="0 rows", wanted="at least 1")
    return rows


def _matches(array: Tensor, info: TensorInfo) -> bool:
    if array.dtype != info.dtype or array.ndim != len(info.shape):
        return False
    return all(want in (-1, got) for got, want in zip(array.shape[1:], info.shape[1:], strict=True))
