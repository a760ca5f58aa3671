"""The journal: a header with everything the controller was made from, then one line per observation and decision.

JSON lines. Each line is written whole, so a crash tears at most the last one; a torn last line is left out on reading,
and that is said. When the disk is full, what was half written is taken back, and the turns wait in memory until there
is room; when too many wait, the journal ends for good. So what is on the disk is whole, and replays. A journal alone is
enough to replay the run (`control.replay`), unless its forecaster is a file: then the header has that file's name and
digest.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import msgspec

from trimtab.control.controller import Controller
from trimtab.control.protocols import Decision
from trimtab.control.settings import ControllerSettings, fitted_digest
from trimtab.errors import JournalError
from trimtab.observe.model import Observation
from trimtab.plan.model import Limits, Plan
from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline

FORMAT, VERSION = "trimtab-journal", 1
MOST_WAITING = 1000
"""Entries that wait in memory for room on the disk; one more, and the journal ends."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JournalHeader:
    """What the controller was made from."""

    pipeline: Pipeline
    profile: Profile
    policy: str
    """As given to `make_policy`."""
    forecaster: str
    """As given to `make_forecaster`."""
    settings: ControllerSettings
    limits: Limits
    history: tuple[int | None, ...] = ()
    """Counts that the forecaster knew before the first entry, oldest first."""
    start: Plan | None = None
    """The plan that was given for the first entry; None: the controller made it."""
    format: str = FORMAT
    version: int = VERSION
    clock_s: float | None = None
    """When the first second of `history`, or else the first one observed, began, as the forecaster was told."""
    forecaster_sha256: str | None = None
    """Of the forecaster's file, where it is one."""


def header_of(
    controller: Controller,
    policy: str,
    *,
    forecaster: str | None = None,
    clock_s: float | None = None,
    history: tuple[int | None, ...] = (),
    start: Plan | None = None,
) -> JournalHeader:
    """What a controller was made from.

    Args:
        controller: whose header it is.
        policy: what `make_policy` was given.
        forecaster: what `make_forecaster` was given; None: the forecaster's own name.
        clock_s: what else it was given.
        history: what the forecaster was told before the first entry.
        start: the plan that was given for the first entry.

    Raises:
        ForecastError: the forecaster is a file that can no longer be read.
    """
    named = forecaster or controller.forecaster.name
    return JournalHeader(
        pipeline=controller.pipeline,
        profile=controller.profile,
        policy=policy,
        forecaster=named,
        settings=controller.settings,
        limits=controller.limits,
        history=history,
        start=start,
        clock_s=clock_s,
        forecaster_sha256=fitted_digest(named),
    )


@dataclass(frozen=True, slots=True)
class Resumption:
    """How a fresh controller took the place of one that was lost with its process.

    It is made from the header, started with `start`, and takes in the last observations without deciding on them.
    """

    start: Plan
    """The last plan that was decided."""
    recalled: int
    """Number of observations it took in, the last ones before this entry."""
    clock_s: float | None = None
    """When the first second of these observations began, for its forecaster."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One turn of the loop: no observation at the start, no decision where the controller raised `error`."""

    observation: Observation | None
    decision: Decision | None
    error: str | None = None
    lost: bool = False
    """Whether the controller itself was lost, or not there: what it would have decided is not known."""
    resumed: Resumption | None = None
    """Set where this decision is the first one of a fresh controller."""
    without: tuple[str, ...] | None = None
    """Set where this decision answers a change of what may be planned: the variants (`task.variant`) that may not."""


@dataclass(frozen=True, slots=True)
class Journal:
    """A journal as read."""

    header: JournalHeader
    entries: tuple[JournalEntry, ...]
    torn: bool = False
    """Whether the last line was cut off and left out."""


class JournalWriter:
    """Appends entries to a new file. A context manager; what was written is in the operating system's hands."""

    def __init__(self, path: Path, header: JournalHeader) -> None:
        """Create the file and write the header.

        Raises:
            JournalError: the file exists already or cannot be created or written.
        """
        self.path = path
        try:
            self._file = FileIO(path, "x")
        except FileExistsError:
            raise JournalError(
                "a journal holds one run, and this file exists already",
                where=str(path),
                next_step="name another file, or move this one away",
            ) from None
        except OSError as error:
            raise JournalError(f"the journal cannot be created ({error.strerror})", where=str(path)) from error
        self._whole_bytes = 0
        self._ended = False
        self._waiting = deque([_encode_header(header)])
        try:
            self._write()
        except JournalError:
            self._file.close()
            path.unlink(missing_ok=True)  # without a header it would be no journal
            raise

    @property
    def waiting(self) -> int:
        """Entries that wait for room on the disk."""
        return len(self._waiting)

    def append(self, entry: JournalEntry) -> None:
        """Write one entry, after those that wait.

        Raises:
            JournalError: the disk is full, or the like. The entry waits and is written with a later one, unless the
                journal has ended.
        """
        if self._ended:
            raise JournalError("the journal has ended: too many turns could not be written", where=str(self.path))
        if len(self._waiting) >= MOST_WAITING:
            self._ended = True
            self._waiting.clear()
            what = f"{MOST_WAITING} turns could not be written: the journal ends here"
            raise JournalError(what, where=str(self.path))
        self._waiting.append(_encode(entry))
        self._write()

    def close(self) -> None:
        """Close the file, after a last try to write what waits; closing twice does nothing."""
        if not self._file.closed:
            with suppress(JournalError):
                self._write()
            self._file.close()

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self) -> None:
        """Write every line that waits; a line that does not fit is taken back whole."""
        while self._waiting:
            line = memoryview(self._waiting[0] + b"\n")
            done = 0
            try:
                while done < len(line):
                    done += self._file.write(line[done:]) or 0
            except (OSError, ValueError) as error:
                with suppress(OSError, ValueError):
                    self._file.truncate(self._whole_bytes)
                    self._file.seek(self._whole_bytes)
                raise JournalError(f"the journal cannot be written ({error})", where=str(self.path)) from error
            self._whole_bytes += done
            self._waiting.popleft()


def read_journal(path: Path) -> Journal:
    """Read a journal; a torn last line is left out and flagged.

    Raises:
        JournalError: the file cannot be read, is no journal, is of another version, or a line inside it is broken.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise JournalError(f"the journal cannot be read ({error.strerror})", where=str(path)) from error
    *whole, tail = lines
    if not whole:
        raise JournalError("the journal holds no header", where=str(path), wanted="at least one whole line")
    header = _decode_header(whole[0], path)
    if (header.format, header.version) != (FORMAT, VERSION):
        raise JournalError(
            "the journal is of another format or version",
            where=str(path),
            got=f"{header.format} {header.version}",
            wanted=f"{FORMAT} {VERSION}",
        )
    entries = [_decode(line, JournalEntry, path, number) for number, line in enumerate(whole[1:], start=2)]
    return Journal(header, tuple(entries), torn=bool(tail))


def _decode(line: bytes, kind: type[T], path: Path, number: int) -> T:
    try:
        return msgspec.json.decode(line, type=kind, dec_hook=_decode_path)
    except msgspec.MsgspecError as error:
        raise JournalError(f"the line is broken ({error})", where=f"{path}, line {number}") from error


def _encode_header(header: JournalHeader) -> bytes:
    """JSON's keys are text: an accuracy table, whose keys are combinations of variants, stands as pairs."""
    pairs = [[list(variants), accuracy] for variants, accuracy in header.pipeline.accuracy.table.items()]
    accuracy_model = replace(header.pipeline.accuracy, table={})
    plain = replace(header, pipeline=replace(header.pipeline, accuracy=accuracy_model))
    content = msgspec.to_builtins(plain, enc_hook=_encode_path)
    content["pipeline"]["accuracy"]["table"] = pairs
    return msgspec.json.encode(content)


def _decode_header(line: bytes, path: Path) -> JournalHeader:
    try:
        content = msgspec.json.decode(line)
        pairs = content["pipeline"]["accuracy"].pop("table", None) or ()
        header = msgspec.convert(content, JournalHeader, dec_hook=_decode_path, str_keys=True)
        table = {tuple(variants): float(accuracy) for variants, accuracy in pairs}
        accuracy_model = replace(header.pipeline.accuracy, table=table)
        return replace(header, pipeline=replace(header.pipeline, accuracy=accuracy_model))
    except (msgspec.MsgspecError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise JournalError(f"the line is broken ({error})", where=f"{path}, line 1") from error


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value, enc_hook=_encode_path)


def _encode_path(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"a journal cannot hold {type(value).__name__}")


def _decode_path(kind: type, value: object) -> object:
    if issubclass(kind, Path) and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"a journal holds no {kind.__name__}")
