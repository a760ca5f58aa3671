"""Traces: how many requests arrived in each second. Read, check, cut, scale, compress, describe, write.

A trace file is either

- text: one whole number per line, the line's number being the second; `#` starts a comment line, or
- CSV: a first line of column names, with one column of counts and perhaps one named `second` (whole, ascending);

either may be compressed (`.gz`). A second for which nothing was recorded is `-` or an empty line (or cell), or is
absent from the `second` column; it stays *missing* (None) and is never zero. Blank lines at a file's end mean nothing.

Only `read_trace` and `write_trace` touch files.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import TraceError

Rates = NDArray[np.float64]
"""Arrival rate of each second of a replay, requests per second."""

LINE_LIMIT = 1_000
"""A longer line is no line of a trace."""
SECONDS_LIMIT = 50_000_000
"""More than a year and a half of seconds is a mistake."""
BYTES_LIMIT = 1 << 30
"""A larger file, unpacked, is no trace."""
COUNT_LIMIT = 10_000_000
"""A larger count in one second is a mistake."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in each second, oldest first; None where nothing was recorded. Holds at least one recorded second."""

    counts: tuple[int | None, ...]
    name: str = "trace"

    def __post_init__(self) -> None:
        if all(count is None for count in self.counts):
            raise TraceError(
                "the trace has no recorded second",
                where=self.name,
                got=f"{len(self.counts)} seconds, all missing" if self.counts else "no seconds at all",
                wanted="at least one count",
            )
        for second, count in enumerate(self.counts):
            if count is not None and not 0 <= count <= COUNT_LIMIT:
                raise TraceError(
                    "not a count", where=f"{self.name}, second {second}", got=count, wanted=f"0 to {COUNT_LIMIT:,}"
                )

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def missing(self) -> int:
        """Number of seconds for which nothing was recorded."""
        return sum(count is None for count in self.counts)

    def between(self, start: int, stop: int | None = None) -> Trace:
        """The seconds from `start` (counted from 0) up to, not including, `stop` (None: the end).

        Raises:
            TraceError: the seconds do not lie inside the trace, or none of them was recorded.
        """
        stop = len(self) if stop is None else stop
        if not 0 <= start < stop <= len(self):
            raise TraceError(
                "these seconds do not lie inside the trace",
                where=self.name,
                got=f"{start} to {stop}",
                wanted=f"0 <= start < stop <= {len(self)}",
            )
        return Trace(self.counts[start:stop], self.name)

    def filled(self, how: Literal["hold", "cut"]) -> Trace:
        """This trace without missing seconds.

        `hold` repeats the last recorded count (before the first recorded second, the first); `cut` leaves the missing
        seconds out, so that the trace gets shorter.
        """
        if how == "cut":
            return Trace(tuple(count for count in self.counts if count is not None), self.name)
        last = next(count for count in self.counts if count is not None)
        held: list[int] = []
        for count in self.counts:
            last = last if count is None else count
            held.append(last)
        return Trace(tuple(held), self.name)

    def rates(self, *, scale: float = 1.0, compress: float = 1.0) -> Rates:
        """The arrival rate of each second of a replay, requests per second.

        `scale` multiplies rates. `compress` plays `compress` seconds of the trace in one: the *rate is kept*, only the
        time is shorter. Second j of the replay has the mean rate of the trace over [j·compress, (j+1)·compress),
        seconds that lie partly inside counting in part; a rest at the end that fills no whole second of the replay is
        left out. Rates stay fractions: turning them into whole requests is the arrivals' part (`workload.arrivals`), so
        that scaling adds no rounding error.

        Raises:
            TraceError: a factor has no meaning, seconds are missing, or the trace is shorter than one second of replay.
        """
        if not (math.isfinite(scale) and scale > 0):
            raise TraceError("the rate scale has no meaning", got=scale, wanted="a number above 0")
        if not (math.isfinite(compress) and compress >= 1):
            raise TraceError("the time compression has no meaning", got=compress, wanted="a number of at least 1")
        if self.missing:
            raise TraceError(
                f"{self.missing:,} of {len(self):,} seconds are missing, and a missing second is not an idle one",
                where=self.name,
                next_step="choose: hold the last count (--missing hold), or cut the missing seconds (--missing cut)",
            )
        seconds = math.floor(len(self) / compress + 1e-9)
        if seconds < 1:
            raise TraceError(
                "the trace is shorter than one second of its replay",
                where=self.name,
                got=f"{len(self)} seconds, compressed {compress:g} times",
                wanted="at least as many seconds as the compression",
            )
        total = np.concatenate(([0.0], np.cumsum(np.array(self.counts, dtype=np.float64))))
        edges = np.minimum(np.arange(seconds + 1) * compress, len(self))
        rates: Rates = np.diff(np.interp(edges, np.arange(len(total)), total)) / compress * scale
        return rates

    def describe(self) -> TraceStatistics:
        """Figures that tell what kind of trace this is."""
        counts = np.array([count for count in self.counts if count is not None], dtype=np.float64)
        mean = float(counts.mean())
        return TraceStatistics(
            seconds=len(self),
            missing=self.missing,
            requests=int(counts.sum()),
            mean_rps=mean,
            min_rps=int(counts.min()),
            max_rps=int(counts.max()),
            quantiles_rps={q: float(np.quantile(counts, q)) for q in (0.5, 0.9, 0.95, 0.99)},
            dispersion=float(counts.var(ddof=1)) / mean if mean > 0 and len(counts) > 1 else None,
        )


@dataclass(frozen=True, slots=True)
class TraceStatistics:
    """What a trace is like; figures are over its recorded seconds."""

    seconds: int
    missing: int
    requests: int
    mean_rps: float
    min_rps: int
    max_rps: int
    quantiles_rps: dict[float, float]
    dispersion: float | None
    """Variance ÷ mean of the counts (index of dispersion, Cox & Lewis 1966, §4.5): 1 for Poisson at a constant rate,
    more for bursts. None where it is not defined."""


def read_trace(path: Path, *, column: str | None = None) -> Trace:
    """Read and check a trace file; `column` names the column of counts where a CSV has several.

    Raises:
        TraceError: the file cannot be read or holds something that is no trace; says which line, what and what instead.
    """
    lines = text_lines(path, "trace", "count")
    first = next((text for _, text in lines if text), "")
    if _is_header(first):
        counts = _from_csv(path, lines, column)
    elif column is not None:
        raise TraceError("the file has no column names", where=str(path), got=first[:40], wanted=f"a column {column!r}")
    else:
        counts = [_count(text, f"{path}, line {number}") for number, text in lines]
    return Trace(tuple(counts), path.name)


def write_trace(trace: Trace, path: Path, *, comments: Sequence[str] = ()) -> None:
    """Write a trace as text, one count per line (`-`: missing), below `comments`; compressed when it ends in `.gz`.

    Raises:
        TraceError: the file cannot be written.
    """
    lines = [f"# {comment}" for comment in comments]
    lines += ["-" if count is None else str(count) for count in trace.counts]
    data = ("\n".join(lines) + "\n").encode()
    try:
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    except OSError as error:
        raise TraceError("the trace cannot be written", where=str(path), got=error.strerror) from error


def text_lines(path: Path, what: str, of: str) -> list[tuple[int, str]]:
    """(number, text) of each line that is no comment, blank lines at the end left out.

    Args:
        path: the file, which may be compressed.
        what: what it holds, for errors.
        of: what each of its lines is, for errors.

    Raises:
        TraceError: the file cannot be read, is no text, is too large, or has no line.
    """
    wanted = f"one {of} per line"
    kept: list[tuple[int, str]] = []
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(BYTES_LIMIT + 1)
    except FileNotFoundError:
        raise TraceError(f"there is no such {what} file", where=str(path)) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TraceError("the compressed file is damaged", where=str(path), got=str(error)) from error
    except OSError as error:
        raise TraceError(f"the {what} cannot be read", where=str(path), got=error.strerror) from error
    if len(data) > BYTES_LIMIT:
        most = f"at most {BYTES_LIMIT:,} bytes"
        raise TraceError(f"the file is too large for a {what}", where=str(path), wanted=most)
    for number, raw in enumerate(data.splitlines(), start=1):
        if len(raw) > LINE_LIMIT:
            raise TraceError(
                f"a line is too long for a {what}",
                where=f"{path}, line {number}",
                got=f"{len(raw):,} bytes",
                wanted=wanted,
            )
        try:
            text = raw.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise TraceError("the file is not text", where=f"{path}, line {number}", got="binary data", wanted=wanted)
        if not text.startswith("#"):
            kept.append((number, text))
        if len(kept) > SECONDS_LIMIT:
            raise TraceError(f"the {what} is too long", where=str(path), wanted=f"at most {SECONDS_LIMIT:,} seconds")
    while kept and not kept[-1][1]:
        kept.pop()
    if not kept:
        raise TraceError(f"the {what} is empty", where=str(path), wanted=wanted)
    return kept


def _is_header(text: str) -> bool:
    """Whether a first line holds column names: words, of which none reads as a number or stands for 'missing'."""
    cells = [cell.strip() for cell in text.split(",")]
    return all(cell != "-" and cell[:1].isidentifier() and not _is_number(cell) for cell in cells)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _from_csv(path: Path, lines: list[tuple[int, str]], column: str | None) -> list[int | None]:
    """Counts by second; seconds absent from the `second` column are missing."""
    names = [name.strip() for name in next(csv.reader([lines[0][1]]))]
    candidates = [name for name in names if name != "second"]
    if column is None and len(candidates) != 1:
        raise TraceError(
            "it is not clear which column holds the counts",
            where=str(path),
            got=", ".join(names),
            wanted="one column beside `second`",
            next_step="name it with --column",
        )
    chosen = candidates[0] if column is None else column
    if chosen not in candidates:
        raise TraceError("no such column", where=str(path), got=chosen, wanted=f"one of {', '.join(candidates)}")
    rows = list(_rows(path, lines[1:], len(names)))
    if not rows:
        raise TraceError("the trace is empty", where=str(path), wanted="lines below the column names")
    count_at = names.index(chosen)
    if "second" not in names:
        return [_count(cells[count_at], f"{path}, line {number}, {chosen}") for number, cells in rows]
    return _by_second(path, rows, names.index("second"), count_at, chosen)


def _rows(path: Path, lines: list[tuple[int, str]], width: int) -> Iterator[tuple[int, list[str]]]:
    for number, text in lines:
        cells = [cell.strip() for cell in next(csv.reader([text]), []) or [""]]
        if len(cells) != width:
            raise TraceError(
                "the line has another number of columns than the first",
                where=f"{path}, line {number}",
                got=len(cells),
                wanted=str(width),
            )
        yield number, cells


def _by_second(
    path: Path, rows: list[tuple[int, list[str]]], second_at: int, count_at: int, chosen: str
) -> list[int | None]:
    counts: list[int | None] = []
    first: int | None = None
    for number, cells in rows:
        where = f"{path}, line {number}"
        text = cells[second_at]
        if not (text.isascii() and text.isdigit()):
            raise TraceError("not a second", where=where, got=text or "nothing", wanted="a whole number, 0 or more")
        second = int(text)
        first = second if first is None else first
        gap = second - first - len(counts)
        if gap < 0:
            raise TraceError("seconds must ascend", where=where, got=second, wanted=f"above {first + len(counts) - 1}")
        if len(counts) + gap > SECONDS_LIMIT:
            raise TraceError(
                "the trace is too long", where=where, got=second, wanted=f"at most {SECONDS_LIMIT:,} seconds"
            )
        counts += [None] * gap
        counts.append(_count(cells[count_at], f"{where}, {chosen}"))
    return counts


def _count(text: str, where: str) -> int | None:
    if text in {"", "-"}:
        return None
    try:
        count = int(text)
    except ValueError:
        raise TraceError(
            "not a count of requests", where=where, got=text[:40], wanted="a whole number (or `-`: not recorded)"
        ) from None
    if not 0 <= count <= COUNT_LIMIT:
        raise TraceError("not a count of requests", where=where, got=count, wanted=f"0 to {COUNT_LIMIT:,}")
    return count
