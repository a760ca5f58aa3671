"""Runs that are kept: one small JSON file each, called by the digest of what was asked, so that a sweep can go on.

Its file also says which code made it: a digest of the sources. A run of other code is not the answer, unless the one
who asks says so.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.data import found
from experiments.ipa.entrants import Entrant, play
from experiments.kept import Reuse
from experiments.results import mean

from experiments import kept as files
from trimtab.errors import PlanRequestError
from trimtab.sim.model import Draw
from trimtab.sim.result import SimSummary

_SET_UP = ("contenders.py", "entrants.py", "measurements.py", "published.py", "scaling.py", "workloads.py")
_READ = ("profiles_reconstructed", "profiles_measured", "variants", "experiment_configs", "workload_patterns")


@dataclass(frozen=True, slots=True)
class Case:
    """One run that is asked for."""

    data: Path
    folder: Path
    """Where runs are kept."""
    pipeline: str
    workload: str
    entrant: Entrant
    seed: int
    draw: Draw
    slower: float
    seconds: int
    """How much of the pattern is played."""
    code: str
    """Digest of the code and of the published measurements, from `digest`."""
    reuse: Reuse

    @property
    def path(self) -> Path:
        """Its file."""
        entrant = replace(self.entrant, label="")
        asked = (self.pipeline, self.workload, entrant, self.seed, self.draw, self.slower, self.seconds)
        return self.folder / f"{hashlib.sha256(repr(asked).encode()).hexdigest()[:20]}.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run in figures."""

    pipeline: str
    workload: str
    label: str
    seed: int
    plant: str
    forecaster: str
    code: str
    notes: tuple[str, ...]
    summary: SimSummary | None
    """None: no plan can exist, for the reason that the notes give."""
    accuracy_over_time: float | None
    """Mean over stretches of ten seconds of the mean accuracy of each, as a planner's objective counts it: a quiet
    second weighs as much as a busy one. None where nothing was answered."""


def outcome(case: Case) -> Outcome:
    """The run, kept or made now and kept."""
    known = kept(case)
    if known is not None:
        return known
    made = _made(case)
    files.keep(case.path, made)
    return made


def _made(case: Case) -> Outcome:
    """The run, made now."""
    empty = Outcome(
        case.pipeline, case.workload, case.entrant.label, case.seed, "", "", case.code, (), None, None
    )  # fmt: skip
    try:
        result = play(
            case.data, case.pipeline, case.workload, case.entrant, case.seed, case.draw, case.slower, case.seconds
        )
    except PlanRequestError as error:
        if case.entrant.role != "stated":
            raise
        # A cluster that is too small for what its authors hold fixed is no reason to end a sweep.
        return replace(empty, notes=(f"no plan: {error}",))
    run, shown = result.run, [accuracy for accuracy in result.series.accuracy if accuracy is not None]
    return replace(
        empty, plant=run.plant, forecaster=run.forecaster, notes=run.notes, summary=result.summary,
        accuracy_over_time=mean(shown) if shown else None,
    )  # fmt: skip


def kept(case: Case) -> Outcome | None:
    """The run, if it is kept and may be taken; under the entrant's name of now."""
    known = files.read(case.path, Outcome)
    if known is None:
        return None
    theirs = case.entrant.role in ("family", "stated")
    taken = case.reuse == "all" or (case.reuse == "published" and theirs) or known.code == case.code
    return replace(known, label=case.entrant.label) if taken else None


def digest(data: Path) -> str:
    """Of what makes a run: Trimtab's sources up to the simulator, these experiments', and the published measurements.

    Raises:
        DataError: the measurements are not there.
    """
    here = Path(__file__).parent
    set_up = [*(here / name for name in _SET_UP), *here.glob("*.yaml")]
    return files.code_digest([*set_up, *(found(data, f"ipa/{name}.csv") for name in _READ)])
