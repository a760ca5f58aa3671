"""A controller in a process of its own, watched: a policy that is slow, hangs, crashes or leaks does not touch serving.

The process is made from a journal's header, the same values that a replay is made from. When it is lost, another one is
started beside serving, after a pause that grows while they keep being lost; it goes on from the last plan and takes in
what was seen lately, so that it knows the load and does not swing. A controller that is lost again soon after takes in
nothing: what was seen may be what it cannot bear.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Collection

import msgspec
import psutil

from trimtab import errors
from trimtab.control.deciding import Recent, Resumed
from trimtab.control.journal import JournalHeader, Resumption
from trimtab.control.protocols import Decision
from trimtab.errors import ControllerLostError, TrimtabError
from trimtab.forecast import RateForecast
from trimtab.observe.model import Observation
from trimtab.plan.model import Plan
from trimtab.runtime.controller_host import (
    LENGTH,
    Answer,
    Change,
    Make,
    Question,
    Resume,
    Start,
    Step,
    decode_answer,
    encode,
)
from trimtab.units import format_size

log = logging.getLogger(__name__)

START_WITHIN_S = 60.0
"""Longest wait for a process to be made, and for its first decision."""
HANG_AFTER_S = 10.0
"""A decision that takes longer has hung: the process is ended."""
MOST_BYTES = 2 << 30
"""A process that holds more memory than this leaks: it is ended."""
RESTART_DELAY_S = (0.0, 1.0, 5.0, 15.0, 60.0)
"""Pauses before a lost process is started again: at once the first time, longer while it keeps being lost."""
STEADY_S = 60.0
"""A process that decided this long is healthy: earlier losses are forgotten."""
_STDERR = 2


class ControllerProcess:
    """`Decider` over a process. `start` first, `stop` last; it leaves no process behind."""

    def __init__(
        self,
        header: JournalHeader,
        *,
        hang_after_s: float = HANG_AFTER_S,
        most_bytes: int = MOST_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`header` as `header_of` gives it: its policy and forecaster are names, made anew in the process."""
        self._header = header
        self._hang_after_s, self._most_bytes, self._clock = hang_after_s, most_bytes, clock
        self._child: _Child | None = None
        self._next: asyncio.Task[_Child] | None = None
        self._losses = 0
        self._stopped = False
        self._steady_since_s = 0.0
        self.forecast: RateForecast | None = None
        """What was forecast in the last step."""

    @property
    def pid(self) -> int | None:
        """The process that decides now; None while there is none."""
        return None if self._child is None else self._child.process.pid

    async def start(self, now_s: float) -> Decision:
        """Start the process and decide first.

        Raises:
            PlanRequestError: no plan can exist, or the policy cannot be loaded.
            ControllerLostError: the process cannot be started or ended at once.
        """
        self._child = await self._spawn(0.0)
        self._steady_since_s = self._clock()
        return await self._ask(Start(now_s), START_WITHIN_S)

    async def step(self, observation: Observation) -> Decision:
        """The next decision.

        Raises:
            ControllerLostError: it hung and was ended, it ended by itself, or there is none.
            TrimtabError: the policy raised something, in its own words.
        """
        return await self._ask(Step(observation), self._hang_after_s)

    async def change(self, now_s: float, without: Collection[str]) -> Decision:
        """Plan without these variants (`task.variant`) from now on.

        Raises:
            ControllerLostError: as for `step`.
            PlanRequestError: no plan can exist without them; nothing has changed.
        """
        return await self._ask(Change(now_s, tuple(sorted(without))), self._hang_after_s)

    async def resume(self, now_s: float, plan: Plan, recent: Recent) -> Resumed | None:
        """Where the process was lost: go on with the next one.

        Raises:
            ControllerLostError: there is none yet.
        """
        if self._child is not None:
            return None
        if self._next is None or not self._next.done():
            raise ControllerLostError("the controller is being started again")
        starting, self._next = self._next, None
        try:
            self._child = starting.result()
        except TrimtabError as error:
            self._lose(f"it could not be started: {error}")
            raise ControllerLostError(f"the controller cannot be started: {error}") from error
        seen = recent.observations if self._losses <= 1 else ()
        clock_s = self._header.clock_s
        if clock_s is not None:
            counted = recent.seconds_before + sum(len(o.arrivals) for o in recent.observations)
            clock_s += counted - sum(len(o.arrivals) for o in seen)
        how = Resumption(plan, len(seen), clock_s)
        decision = await self._ask(Resume(now_s, how, seen), self._hang_after_s)
        self._steady_since_s = self._clock()
        log.warning("the controller decides again, from the plan in force and the last %d observations", len(seen))
        return Resumed(decision, how)

    async def stop(self) -> None:
        """End the process."""
        self._stopped = True
        starting, child = self._next, self._child
        self._next = self._child = None
        if starting is not None:
            starting.cancel()
            (result,) = await asyncio.gather(starting, return_exceptions=True)
            child = result if isinstance(result, _Child) else child
        if child is not None:
            await child.end()

    async def _spawn(self, delay_s: float) -> _Child:
        """A process with a fresh controller in it."""
        await asyncio.sleep(delay_s)
        child = await _Child.start()
        try:
            async with asyncio.timeout(START_WITHIN_S):
                answer = await child.ask(Make(self._header))
        except BaseException as error:
            await child.end()
            if isinstance(error, (TimeoutError, OSError, EOFError, msgspec.MsgspecError)):
                raise ControllerLostError(
                    f"the controller's process did not get ready ({child.end_reason()})"
                ) from error
            raise
        if answer.error is not None:
            await child.end()
            raise _raised(answer)
        return child

    async def _ask(self, question: Question, within_s: float) -> Decision:
        """The decision that answers a question; whatever goes wrong with the process costs it its life."""
        child = self._child
        if child is None:
            raise ControllerLostError("the controller is being started again")
        try:
            async with asyncio.timeout(within_s):
                answer = await child.ask(question)
        except BaseException as error:
            if not isinstance(error, (TimeoutError, OSError, EOFError, msgspec.MsgspecError)):
                self._lose("its answer is no longer waited for")
                raise
            await child.end()
            hung = isinstance(error, TimeoutError)
            raise self._lose(f"no answer within {within_s:g} s" if hung else child.end_reason()) from error
        held_bytes = child.held_bytes()
        if held_bytes > self._most_bytes:
            self._lose(f"it holds {format_size(held_bytes)}, more than {format_size(self._most_bytes)}")
        if answer.decision is None:
            raise _raised(answer)
        self.forecast = answer.forecast
        return answer.decision

    def _lose(self, reason: str) -> ControllerLostError:
        """Give the process up, start another one beside serving, and say so."""
        if self._child is not None:
            self._child.kill()
            self._child = None
        lost = ControllerLostError(f"the controller was lost: {reason}")
        if self._stopped:
            return lost
        if self._clock() - self._steady_since_s > STEADY_S:
            self._losses = 0
        delay_s = RESTART_DELAY_S[min(self._losses, len(RESTART_DELAY_S) - 1)]
        self._losses += 1
        log.error("the controller was lost: %s; the last plan stands, another starts in %g s", reason, delay_s)
        self._next = asyncio.get_running_loop().create_task(self._spawn(delay_s), name="controller")
        return lost


class _Child:
    """The process and our end of its socket."""

    def __init__(self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.process, self._reader, self._writer = process, reader, writer
        self._held = psutil.Process(process.pid)

    @classmethod
    async def start(cls) -> _Child:
        """Start it.

        Raises:
            ControllerLostError: this system does not start it.
        """
        ours, theirs = socket.socketpair()
        process: Process | None = None
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "trimtab.runtime.controller_host", str(theirs.fileno())),
                stdin=DEVNULL,
                stdout=_STDERR,  # what a policy prints is for the log, not for whoever reads our output
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                # It finds the same policies and forecasters as this process, wherever they lie.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
            )
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            return cls(process, reader, writer)
        except BaseException as error:
            ours.close()
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
            if isinstance(error, OSError):
                raise ControllerLostError(f"the controller's process cannot be started ({error})") from error
            raise
        finally:
            theirs.close()

    async def ask(self, question: Question) -> Answer:
        """Its answer.

        Raises:
            OSError: it is gone.
            EOFError: it is gone.
            MsgspecError: what it says is no answer.
        """
        self._writer.write(encode(question))
        await self._writer.drain()
        (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
        return decode_answer(await self._reader.readexactly(length))

    def held_bytes(self) -> int:
        """Resident memory."""
        try:
            return int(self._held.memory_info().rss)
        except psutil.Error:
            return 0

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._writer.transport.abort()
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    async def end(self) -> None:
        """End it and wait until it is gone."""
        self.kill()
        await self.process.wait()

    def end_reason(self) -> str:
        """How it ended, once it has."""
        code = self.process.returncode
        return "it is still running" if code is None else f"its process ended with status {code}"


def _raised(answer: Answer) -> TrimtabError:
    """What the controller raised, as far as it is an error that callers know."""
    kind = getattr(errors, answer.kind, TrimtabError)
    return (kind if kind in (errors.PlanRequestError, errors.ForecastError) else TrimtabError)(answer.error or "")
