"""What a simulation gave: how it was asked for, its figures, and its series by window. Values that go into JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from trimtab.errors import SimulationError

FORMAT = "trimtab.sim/1"


@dataclass(frozen=True, slots=True)
class SimRun:
    """What was asked: enough to repeat it."""

    pipeline: str
    policy: str
    trace: str
    arrivals: str
    seed: int
    seconds: float
    """Length of the load."""
    slo_s: float
    slo_quantile: float
    plant: str
    forecaster: str
    rule: str
    cores: int
    """Cores that plans may hold."""
    notes: tuple[str, ...] = ()
    """What a reader must know to judge the figures: extrapolated service times, a start from a planned state, …"""


@dataclass(frozen=True, slots=True)
class SimSummary:
    """A run in figures. Ratios are of the requests offered; None: could not be known."""

    offered: int
    in_time: int
    late: int
    refused: int
    dropped: int
    failed: int
    attainment: float | None
    violation_ratio: float | None
    p50_s: float | None
    """Response time of the requests that were answered, in time or late, as the next three."""
    p95_s: float | None
    p99_s: float | None
    mean_s: float | None
    accuracy: float | None
    """Delivered: the mean, over the requests answered, of what the variants that served each of them are worth."""
    core_seconds: float
    """Everything held, starting and draining replicas included, over the seconds of the load."""
    mean_cores: float
    """Core-seconds ÷ seconds."""
    peak_cores: int
    planned_cores: float
    """Mean over time of the cores of the plan in force: the cost that papers report, without overlap."""
    changes: int
    """Times that the plan changed."""
    decisions: int
    """Times that a plan was asked for or kept."""
    decide_s: float
    """Wall time that the controller took in all: the one figure that differs from run to run."""


@dataclass(frozen=True, slots=True)
class SimSeries:
    """The run by window: entry i is over [i·window_s, (i+1)·window_s). None: nothing to tell.

    What was offered is counted by arrival, how requests ended by when they ended.
    """

    window_s: float
    offered: list[int]
    in_time: list[int]
    late: list[int]
    refused: list[int]
    dropped: list[int]
    failed: list[int]
    p50_s: list[float | None]
    p99_s: list[float | None]
    accuracy: list[float | None]
    cores: list[float]
    """Mean cores held."""
    planned_cores: list[float]
    """Mean cores of the plan in force."""
    rate_planned: list[float]
    """The rate that the plan in force was made for, at the end of the window."""
    variants: dict[str, dict[str, list[int]]]
    """Task → variant, least accurate first → items served."""


@dataclass(frozen=True, slots=True)
class SimResult:
    """A run."""

    run: SimRun
    summary: SimSummary
    series: SimSeries
    format: str = FORMAT
    settings: Mapping[str, str] = field(default_factory=dict)
    """What else was set, in words, for reports."""


def write_result(result: SimResult, path: Path) -> None:
    """Write a run as JSON; whole or not at all.

    Raises:
        SimulationError: the file cannot be written.
    """
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))
        partial.replace(path)
    except OSError as error:
        raise SimulationError("the result cannot be written", where=str(path), got=error.strerror) from error


def read_result(path: Path) -> SimResult:
    """Read a run.

    Raises:
        SimulationError: it cannot be read, or is no result of this version.
    """
    try:
        result = msgspec.json.decode(path.read_bytes(), type=SimResult)
    except (OSError, msgspec.MsgspecError) as error:
        raise SimulationError("not the result of a simulation", where=str(path), got=str(error)) from error
    if result.format != FORMAT:
        raise SimulationError("a result of another version", where=str(path), got=result.format, wanted=FORMAT)
    return result
