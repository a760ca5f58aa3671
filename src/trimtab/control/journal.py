"""The journal: a header with everything the controller was made from, then one line per observation and decision.

JSON lines. Each line is written whole and flushed, so a crash tears at most the last one; a torn last line is left out
on reading, and that is said. A journal alone is enough to replay the run (`control.replay`), unless its forecaster is a
file: then the header has that file's name and digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, TypeVar

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
class JournalEntry:
    """One turn of the loop: no observation at the start, no decision where the controller raised `error`."""

    observation: Observation | None
    decision: Decision | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Journal:
    """A journal as read."""

    header: JournalHeader
    entries: tuple[JournalEntry, ...]
    torn: bool = False
    """Whether the last line was cut off and left out."""


class JournalWriter:
    """Appends entries to a new file. A context manager; every entry is in the operating system's hands on return."""

    def __init__(self, path: Path, header: JournalHeader) -> None:
        """Create the file and write the header.

        Raises:
            JournalError: the file exists already or cannot be created.
        """
        self.path = path
        try:
            self._file: BinaryIO = path.open("xb")
        except FileExistsError:
            raise JournalError(
                "a journal holds one run, and this file exists already",
                where=str(path),
                next_step="name another file, or move this one away",
            ) from None
        except OSError as error:
            raise JournalError(f"the journal cannot be created ({error.strerror})", where=str(path)) from error
        self._write(header)

    def append(self, entry: JournalEntry) -> None:
        """Write one entry.

        Raises:
            JournalError: the disk is full, or the like.
        """
        self._write(entry)

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        self._file.close()

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, value: object) -> None:
        try:
            self._file.write(msgspec.json.encode(value, enc_hook=_encode) + b"\n")
            self._file.flush()
        except (OSError, ValueError) as error:
            raise JournalError(f"the journal cannot be written ({error})", where=str(self.path)) from error


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
    header = _decode(whole[0], JournalHeader, path, 1)
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


def _encode(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"a journal cannot hold {type(value).__name__}")


def _decode_path(kind: type, value: object) -> object:
    if issubclass(kind, Path) and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"a journal holds no {kind.__name__}")
