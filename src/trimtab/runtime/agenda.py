"""What the profiler has to do, decided before anything is started: which cells to measure, and which stand already.

A cell is one service time: a variant at a batch size on (cores, threads). Cells of one shape and batch size are
measured for all variants in turn, starting with another one each time, so that a noisy minute on the machine does not
fall on one variant alone. A cell from an earlier run stands when its model file, the machine and all versions are the
same and it has as many samples as are asked for now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.errors import PlantError, SpecError
from trimtab.profile.match import variant_digest
from trimtab.profile.model import Profile, Provenance, ServicePoint, VariantProfile
from trimtab.runtime import affinity, machine
from trimtab.runtime.measuring import Effort
from trimtab.spec.model import Pipeline, Variant

START_S = 0.7
"""Rough time to start a worker process, for the estimate told before starting."""
LOAD_S = 0.3
"""Rough time to load a variant, for the same."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure and how long."""

    cores: tuple[int, ...]
    batches: tuple[int, ...]
    effort: Effort
    variants: frozenset[str] | None = None
    """Names of the variants to measure; None: all."""
    check_seconds: float | None = 2.0
    """Length of the open-loop capacity check of each variant; None: no check."""
    check_share: float = 0.8
    """Rate of the check as a share of the profiled saturation rate."""
    seed: int = 0

    def shapes(self) -> tuple[tuple[int, int], ...]:
        """The (cores, threads) pairs: for each number of cores its divisors."""
        return tuple((c, t) for c in self.cores for t in range(1, c + 1) if c % t == 0)


@dataclass(frozen=True, slots=True)
class Cell:
    """One service time to measure."""

    task: str
    variant: str
    cores: int
    threads: int
    batch: int

    def __str__(self) -> str:
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        return f"{self.variant}: batch {self.batch}, {self.cores} core{'s'[: self.cores > 1]}{threads}"


@dataclass(frozen=True, slots=True)
class Agenda:
    """What is left to do, decided before anything is started."""

    cells: tuple[Cell, ...]
    checks: tuple[tuple[str, str], ...]
    """(task, variant) whose capacity is to be checked."""
    kept: Profile
    """What stands already and agrees with the model files, this machine and these versions."""
    kept_cells: int
    dropped: tuple[str, ...]
    """Why something that was measured before is not kept, in words."""
    at_least_s: float
    """Estimated time; models whose batch takes longer than a cell's time take more."""


def power_grid(limit: float) -> tuple[int, ...]:
    """1, 2, 4, … up to `limit`; at least 1."""
    grid = [1]
    while grid[-1] * 2 <= limit:
        grid.append(grid[-1] * 2)
    return tuple(grid)


def plan_measurements(
    pipeline: Pipeline, settings: Settings, provenance: Provenance, previous: Profile | None = None
) -> Agenda:
    """What has to be measured, given what `previous` holds.

    Raises:
        SpecError: a variant in `settings.variants` does not exist, or none is left.
        PlantError: this machine has fewer cores than asked for.
        ModelError: a variant has no model file, or it cannot be read.
    """
    usable = len(affinity.usable_cores())
    if max(settings.cores) > usable:
        raise PlantError("not enough cores on this machine", got=f"{usable}", wanted=f"{max(settings.cores)}")
    chosen = _choose(pipeline, settings)
    digests = {(task, variant.name): variant_digest(variant) for task, variant in chosen}
    kept, dropped = _keep(pipeline, digests, provenance, previous)
    cells: list[Cell] = []
    turn = 0
    for cores, threads in settings.shapes():
        for batch in settings.batches:
            for task, variant in _rotated(chosen, turn):
                point = find_point(kept.variants[task][variant.name], cores, threads, batch)
                if point is None or point.samples < settings.effort.min_samples:
                    cells.append(Cell(task, variant.name, cores, threads, batch))
            turn += 1
    checks: tuple[tuple[str, str], ...] = ()
    if settings.check_seconds is not None:
        anew = {(cell.task, cell.variant) for cell in cells}
        checks = tuple((t, v.name) for t, v in chosen if (t, v.name) in anew or not kept.variants[t][v.name].checks)
    at_least_s = (
        START_S * len({cell.task for cell in cells})
        + LOAD_S * len({(cell.task, cell.variant) for cell in cells})
        + settings.effort.seconds * len(cells)
        + (settings.check_seconds or 0.0) * len(checks)
    )
    kept_cells = len(chosen) * len(settings.shapes()) * len(settings.batches) - len(cells)
    return Agenda(tuple(cells), checks, kept, kept_cells, dropped, at_least_s)


def find_point(profile: VariantProfile, cores: int, threads: int, batch: int) -> ServicePoint | None:
    """The point that was measured for a shape and batch size; None when none was."""
    return next((p for p in profile.points if (p.cores, p.threads, p.batch) == (cores, threads, batch)), None)


def _choose(pipeline: Pipeline, settings: Settings) -> list[tuple[str, Variant]]:
    known = [(task.name, variant) for task in pipeline.tasks.values() for variant in task.variants.values()]
    names = {variant.name for _, variant in known}
    if settings.variants is None:
        return known
    if unknown := settings.variants - names:
        raise SpecError(
            "the pipeline has no such variant", got=", ".join(sorted(unknown)), wanted=", ".join(sorted(names))
        )
    chosen = [(task, variant) for task, variant in known if variant.name in settings.variants]
    if not chosen:
        raise SpecError("no variant is left to measure", wanted=", ".join(sorted(names)))
    return chosen


def _keep(
    pipeline: Pipeline, digests: Mapping[tuple[str, str], str], provenance: Provenance, previous: Profile | None
) -> tuple[Profile, tuple[str, ...]]:
    """What of `previous` stands, with an empty entry for every variant of which nothing does; and why the rest fell."""
    dropped: list[str] = []
    before = previous.variants if previous else {}
    if previous is not None:
        was = previous.provenance
        changes = machine.differences(was, provenance) if was else ("it does not say where it was measured",)
        if changes:
            dropped.append("nothing is kept: " + "; ".join(changes))
            before = {}
    kept: dict[str, dict[str, VariantProfile]] = {}
    for task in pipeline.tasks.values():
        kept[task.name] = {}
        for variant in task.variants:
            digest = digests.get((task.name, variant))
            found = before.get(task.name, {}).get(variant)
            if found is not None and digest is not None and found.model_sha256 != digest:
                dropped.append(f"{variant}: its model file has changed")
                found = None
            kept[task.name][variant] = found or VariantProfile(task.name, variant, (), model_sha256=digest)
    return Profile(kept, provenance), tuple(dropped)


def _rotated(chosen: Sequence[tuple[str, Variant]], turn: int) -> list[tuple[str, Variant]]:
    first = turn % len(chosen)
    return [*chosen[first:], *chosen[:first]]
