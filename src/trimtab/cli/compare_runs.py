"""Many simulated runs over several processes: each writes its own file, and a file that is there already is kept.

A run's file holds the digest of what was asked, so that the same question is never answered twice and another one never
by an old file. A run that fails does not stop the others. Ctrl-C stops all, and leaves what was finished.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from trimtab.cli.sim_request import SimRequest, run_request
from trimtab.errors import SimulationError, TrimtabError
from trimtab.report.comparison import NAME
from trimtab.sim.result import SimResult, read_result, write_result

DIGEST = "digest"
"""The key of a result's settings that holds the digest of what was asked."""


@dataclass(frozen=True, slots=True)
class Job:
    """A run, what it is called, and where it is written."""

    request: SimRequest
    name: str
    path: Path

    @property
    def trace(self) -> str:
        """The trace's name."""
        return self.request.played.trace.name


@dataclass(frozen=True, slots=True)
class Failed:
    """A job that failed, and why."""

    job: Job
    message: str


class _Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The command was interrupted."""


_stop: Event | None = None
"""Set in the processes that run jobs."""


def finished(job: Job) -> SimResult | None:
    """What is there already of exactly this job."""
    if not job.path.exists():
        return None
    try:
        result = read_result(job.path)
    except SimulationError:
        return None
    return result if result.settings.get(DIGEST) == job.request.digest() else None


def run_jobs(jobs: Sequence[Job], processes: int, on_done: Callable[[Job], None]) -> list[Failed]:
    """Carry out all jobs, and give those that failed. One process: this one.

    Raises:
        KeyboardInterrupt: the command was interrupted; what was running is given up.
        SimulationError: a process died.
    """
    for folder in {job.path.parent for job in jobs}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SimulationError("the folder cannot be made", where=str(folder), got=error.strerror) from error
    done = _here(jobs) if min(processes, len(jobs)) <= 1 else _beside(jobs, min(processes, len(jobs)))
    failed = []
    with closing(done):  # also after Ctrl-C between two jobs
        for job, message in done:
            if message is not None:
                failed.append(Failed(job, message))
            on_done(job)
    return failed


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_job(job: Job) -> str | None:
    """Carry out one job and write its file; gives what is wrong, if something is.

    Raises:
        SimulationError: the file cannot be written.
    """
    try:
        told = {NAME: job.name, DIGEST: job.request.digest()}
        result = run_request(job.request, on_progress=_heed_stop, told=told)
    except _Stopped:
        raise
    except TrimtabError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 — whatever a policy raises, the other runs go on and it is told by name
        return f"{type(error).__name__}: {error}"
    write_result(result, job.path)
    return None


def _here(jobs: Sequence[Job]) -> Generator[tuple[Job, str | None]]:
    for job in jobs:
        yield job, run_job(job)


def _beside(jobs: Sequence[Job], processes: int) -> Generator[tuple[Job, str | None]]:
    """Job after job as they end. Fresh processes, for this one may have threads."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_prepare, initargs=(stop,))
    try:
        running: dict[Future[str | None], Job] = {pool.submit(run_job, job): job for job in jobs}
        for each in as_completed(running):
            yield running[each], each.result()
    except BrokenProcessPool:
        raise SimulationError(
            "a process that ran simulations died, perhaps for want of memory",
            next_step="what was finished is kept; run the same command again, with a smaller --jobs",
        ) from None
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare(stop: Event) -> None:
    """A fresh process: Ctrl-C is the parent's to handle."""
    global _stop  # noqa: PLW0603 - set once, as the process begins
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _heed_stop(_share: float) -> None:
    if _stop is not None and _stop.is_set():
        raise _Stopped
