"""The process that a live controller has for itself: what it is asked, and its answers.

Started by `controller_process.ControllerProcess` as `python -m trimtab.runtime.controller_host FD`, where FD is its end
of a local stream socket. Questions and answers are MessagePack behind a length: the values of a journal's header and
entries. It ends when the socket closes, even in the middle of a decision: it is never left behind.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import msgspec

from trimtab import compiled
from trimtab.control.controller import Controller
from trimtab.control.journal import JournalHeader, Resumption
from trimtab.control.making import change, controller_of, header_after, resume
from trimtab.control.protocols import Decision
from trimtab.errors import TrimtabError
from trimtab.forecast import RateForecast
from trimtab.observe.model import Observation

NICENESS = 5
"""Batches come first: on a busy machine a decision may take longer, a request may not."""
SLOW_S = 0.05
"""After a decision that took longer in plain Python, it looks whether there is machine code by now."""


class _Question(msgspec.Struct, frozen=True, tag=True):
    pass


class Make(_Question, frozen=True):
    """First, and once: make the controller."""

    header: JournalHeader


class Start(_Question, frozen=True):
    """Decide first."""

    now_s: float


class Step(_Question, frozen=True):
    """Decide."""

    observation: Observation


class Change(_Question, frozen=True):
    """Decide without these variants (`task.variant`) from now on."""

    now_s: float
    without: tuple[str, ...]


class Resume(_Question, frozen=True):
    """Go on where a lost controller stood."""

    now_s: float
    how: Resumption
    recent: tuple[Observation, ...]


LENGTH = struct.Struct("<Q")
Question = Make | Start | Step | Change | Resume


class Answer(msgspec.Struct, frozen=True):
    """To every question, in order."""

    decision: Decision | None = None
    """None: it was `Make`, or it failed."""
    forecast: RateForecast | None = None
    error: str | None = None
    """What was raised, in its own words."""
    kind: str = ""
    """Its class, where it is one of `trimtab.errors`."""


def encode(value: Question | Answer) -> bytes:
    """The bytes of a question or an answer, its length first."""
    body = msgspec.msgpack.encode(value, enc_hook=_path_to_text)
    return LENGTH.pack(len(body)) + body


def decode_question(body: bytes) -> Question:
    """A question, from its bytes after the length."""
    question: Question = msgspec.msgpack.decode(body, type=Question, dec_hook=_text_to_path)
    return question


def decode_answer(body: bytes) -> Answer:
    """An answer, from its bytes after the length.

    Raises:
        MsgspecError: it is none.
    """
    return msgspec.msgpack.decode(body, type=Answer)


def _path_to_text(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} cannot be sent")


def _text_to_path(kind: type, value: object) -> object:
    if issubclass(kind, Path) and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind.__name__} cannot be received")


class ControllerHost:
    """Answers questions with a controller."""

    def __init__(self) -> None:
        self._header: JournalHeader | None = None
        self._controller: Controller | None = None

    def answer(self, question: Question) -> Answer:
        """The answer; whatever is raised meanwhile is one, too."""
        try:
            decision = self._decide(question)
        except Exception as error:  # noqa: BLE001 — a policy may raise anything, and the next question may go well
            kind = type(error).__name__ if isinstance(error, TrimtabError) else ""
            return Answer(error=str(error), kind=kind)
        return Answer(decision, self._controller.forecast if self._controller else None)

    def _decide(self, question: Question) -> Decision | None:
        if isinstance(question, Make):
            self._header, self._controller = question.header, controller_of(question.header)
            return None
        if self._controller is None or self._header is None:
            raise TrimtabError("the controller was asked before it was made")
        match question:
            case Start():
                return self._controller.start(question.now_s, self._header.start)
            case Step():
                return self._controller.step(question.observation)
            case Change():
                return change(self._controller, self._header, question.now_s, question.without)
            case Resume():
                self._controller = controller_of(header_after(self._header, question.how))
                return resume(self._controller, question.now_s, question.how, question.recent)


def main(arguments: list[str]) -> NoReturn:
    """Answer on the socket whose descriptor is the only argument, until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group, and the gateway decides
    os.nice(NICENESS)
    connection = socket.socket(fileno=int(arguments[0]))
    questions: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(connection, questions), name="read", daemon=True).start()
    compiled.load_when_cached()
    host = ControllerHost()
    while True:
        question = decode_question(questions.get())
        started_s = time.perf_counter()
        answer = encode(host.answer(question))
        took_s = time.perf_counter() - started_s
        try:
            connection.sendall(answer)
        except OSError:  # the gateway is gone
            os._exit(0)
        if took_s > SLOW_S:
            compiled.load_when_cached()


def _read(connection: socket.socket, questions: queue.SimpleQueue[bytes]) -> NoReturn:
    """Hand questions on; end the process with the socket, whatever the main thread is at."""
    with contextlib.suppress(OSError), connection.makefile("rb") as stream:
        while len(head := stream.read(LENGTH.size)) == LENGTH.size:
            questions.put(stream.read(LENGTH.unpack(head)[0]))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
