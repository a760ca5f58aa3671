"""Inspecting a model in a process of its own, where finding out what it takes and gives runs code of others.

Such code may exit, crash, hang or take all memory. Here it ends its own process, and the one that asked is told why.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import IO

import msgspec

from trimtab.errors import ModelError
from trimtab.runtime.frames import TensorHead
from trimtab.runtime.models.model import Interface, ModelSource

LIMIT_S = 60.0
"""Longest time that inspecting one model may take, as long as a worker may take to load it."""
_ANSWER_BYTES = 1 << 20
_LAST_WORDS_BYTES = 2000
_READ_S = 1.0
"""Longest wait for what the process wrote, once it has ended: something that it started may hold its output open."""


class Question(msgspec.Struct, frozen=True):
    """A `ModelSource` on its way to the process."""

    runtime: str
    path: str
    entry: str | None
    options: dict[str, object]
    folders: tuple[str, ...]


class Answer(msgspec.Struct, frozen=True):
    """What the process found out: the interface, or why there is none."""

    inputs: tuple[TensorHead, ...] = ()
    outputs: tuple[TensorHead, ...] = ()
    failure: str | None = None


def inspect_apart(source: ModelSource, limit_s: float = LIMIT_S) -> Interface:
    """What a model takes and gives, as a process of its own finds it out; no process is left behind.

    Raises:
        ModelError: the model cannot be served, its library is not installed, or the process ended or took longer than
            `limit_s` seconds, with its last words.
    """
    folders = tuple(map(str, source.folders))
    question = Question(source.runtime, str(source.path), source.entry, dict(source.options), folders)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "trimtab.runtime.models.trial"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # nothing is left to be written when it has ended
        start_new_session=True,  # so that what it starts can be ended with it, and Ctrl-C is ours to handle
    ) as process:
        assert process.stdin is not None, "it is a pipe, as are the other two"
        assert process.stdout is not None, "as above"
        assert process.stderr is not None, "as above"
        answer, words = _Kept(process.stdout, _ANSWER_BYTES), _Kept(process.stderr, _LAST_WORDS_BYTES)
        code: int | None = None
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended: its last words say why
                process.stdin.write(msgspec.json.encode(question) + b"\n")
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(limit_s)
        finally:
            _end(process)
        found = _decode(answer.read()) if code == 0 else None
        if found is None:
            raise _ended(source, code, limit_s, words.read())
    if found.failure is not None:
        raise ModelError(found.failure)
    return Interface(tuple(head.info() for head in found.inputs), tuple(head.info() for head in found.outputs))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process, where it runs on, and what it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing of it is left
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _decode(data: bytes) -> Answer | None:
    try:
        return msgspec.json.decode(data, type=Answer)
    except msgspec.DecodeError:
        return None


def _ended(source: ModelSource, code: int | None, limit_s: float, words: bytes) -> ModelError:
    if code is None:
        got = f"nothing within {limit_s:g} s"
    elif code < 0:
        got = f"the process was killed by signal {-code}" + (", perhaps for want of memory" if code == -9 else "")
    else:
        got = f"the process exited with code {code}"
    told = "; its last words:\n    " + "\n    ".join(words.decode(errors="replace").splitlines()) if words else ""
    return ModelError(
        f"the runtime {source.runtime} could not find out what the model takes and gives",
        where=str(source.path),
        got=got + told,
        next_step="load the model in a Python session of its own to see what it does",
    )


class _Kept:
    """The end of what a process writes, read as it comes: a full pipe would stop the process."""

    def __init__(self, pipe: IO[bytes], most_bytes: int) -> None:
        self._pipe, self._most_bytes = pipe, most_bytes
        self._data = b""
        self._thread = threading.Thread(target=self._read, name="inspected model", daemon=True)
        self._thread.start()

    def read(self) -> bytes:
        """What is kept, once the process has ended."""
        self._thread.join(_READ_S)
        return self._data

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed while it is read: nobody waits for more
            while chunk := os.read(self._pipe.fileno(), 1 << 16):
                self._data = (self._data + chunk)[-self._most_bytes :]
