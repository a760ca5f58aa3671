"""Runs that are kept: one small JSON file each, called by the digest of what was asked, so that a sweep can go on.

A run answers the same question where window, entrant, seed, service draws, published data and fitted forecaster agree.
Its file also says which code made it: a digest of Trimtab's sources and of these experiments'. A run of other code is
not the answer, unless the one who asks says so.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.data import found
from experiments.infadapter.entrants import Entrant, play
from experiments.infadapter.hours import recorded
from experiments.infadapter.windows import Window
from experiments.kept import Reuse
from experiments.results import mean

from experiments import kept as files
from trimtab.control.settings import fitted_digest
from trimtab.sim import SimResult
from trimtab.sim.model import Draw
from trimtab.sim.result import SimSummary

_SET_UP = ("contenders.py", "entrants.py", "hours.py", "measurements.py", "pipeline.yaml", "windows.py")


@dataclass(frozen=True, slots=True)
class Case:
    """One run that is asked for."""

    data: Path
    folder: Path
    """Where runs are kept."""
    window: Window
    entrant: Entrant
    seed: int
    draw: Draw
    code: str
    """Digest of the code."""
    reuse: Reuse

    @property
    def path(self) -> Path:
        """Its file."""
        entrant = replace(self.entrant, label="")
        asked = (self.window, entrant, fitted_digest(entrant.forecaster or ""), self.seed, self.draw)
        told = f"{asked!r} {_load_digest(self.data, self.window)}"
        return self.folder / f"{hashlib.sha256(told.encode()).hexdigest()[:20]}.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run in figures."""

    window: str
    label: str
    seed: int
    plant: str
    forecaster: str
    code: str
    notes: tuple[str, ...]
    summary: SimSummary
    accuracy_over_time: float | None
    """Mean over stretches of five seconds of the mean accuracy of each, as a planner's objective counts it: a quiet
    second weighs as much as a busy one. None where nothing was answered."""


def outcome(case: Case) -> Outcome:
    """The run, kept or made now and kept."""
    known = kept(case)
    if known is not None:
        return known
    result = play(case.data, case.window, case.entrant, case.seed, case.draw)
    made = _outcome(case, result)
    files.keep(case.path, made)
    return made


def kept(case: Case) -> Outcome | None:
    """The run, if it is kept and may be taken; under the entrant's name of now."""
    known = files.read(case.path, Outcome)
    if known is None:
        return None
    taken = case.reuse == "all" or (case.reuse == "published" and case.entrant.role == "published")
    return replace(known, label=case.entrant.label) if taken or known.code == case.code else None


def code_digest() -> str:
    """Digest of the sources that make a run: Trimtab's up to the simulator, and these experiments' that set it up."""
    return files.code_digest(Path(__file__).parent / name for name in _SET_UP)


def _outcome(case: Case, result: SimResult) -> Outcome:
    run, known = result.run, [accuracy for accuracy in result.series.accuracy if accuracy is not None]
    return Outcome(
        case.window.name, case.entrant.label, case.seed, run.plant, run.forecaster, case.code, run.notes,
        result.summary, mean(known) if known else None,
    )  # fmt: skip


@functools.cache
def _load_digest(data: Path, window: Window) -> str:
    """Of what the published data says that bears on a run in this window."""
    digest = hashlib.sha256(repr(recorded(data, window)).encode())
    for name in ("capacity_profile_2023-02-21", "variants"):
        digest.update(found(data, f"infadapter/{name}.csv").read_bytes())
    return digest.hexdigest()
