"""The judgement on IPA's pipelines as lines of tables."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.ipa.entrants import SIZES, Sizes
from experiments.ipa.targets import losses, verdicts
from experiments.ipa.verdict import Field, Point, dominations, duels, not_dominated
from experiments.results import Cell, mean, over_seeds

MEAN = "mean of the cases"


def point_lines(fields: Sequence[Field]) -> list[dict[str, Cell]]:
    """What everyone did on every case, means over the seeds; beside it the fluid bound's cores at that PAS."""
    return [_point_line(field, point) for field in fields for point in field.points.values()]


def _point_line(field: Field, point: Point) -> dict[str, Cell]:
    entrant, sizes = point.entrant, point.entrant.sizes
    ours = entrant.role in ("ours", "bound")
    return {
        "pipeline": field.pipeline,
        "workload": field.workload,
        "entrant": entrant.label,
        "role": entrant.role,
        "sizes": _basis(sizes) if entrant.role != "family" else "IPA's",
        "seeds": len(point.runs),
        "violations %": over_seeds(f.violations for f in point.runs),
        "PAS": over_seeds(f.pas for f in point.runs),
        "cores": over_seeds(f.cores for f in point.runs),
        "core-seconds": point.mean.cores * len(field.rates_rps),
        "fluid bound, cores": field.fluid_cores(sizes, point.mean) if ours and point.mean.pas else None,
        "objective": point.mean.objective(field.alpha, field.beta),
    }


def case_lines(fields: Sequence[Field]) -> list[dict[str, Cell]]:
    """Trimtab against both forms of IPA on every case."""
    lines: list[dict[str, Cell]] = []
    for sizes in SIZES:
        for field in fields:
            for duel in duels(field, sizes):
                same, dear, ipa = duel.at_accuracy, duel.at_cost, duel.reference.mean
                lines.append(
                    {
                        "sizes": sizes,
                        "case": field.name,
                        "against": duel.reference.entrant.label,
                        "its PAS": ipa.pas,
                        "cores": ipa.cores,
                        "violations %": ipa.violations,
                        "at its PAS: PAS": None if same is None else same.mean.pas,
                        "cores ": None if same is None else same.mean.cores,
                        "saved %": None if same is None else duel.saving,
                        "violations % ": None if same is None else same.mean.violations,
                        "at its cores: PAS": None if dear is None else dear.mean.pas,
                        "more PAS": None if dear is None else duel.gain,
                        "cores  ": None if dear is None else dear.mean.cores,
                        "violations %  ": None if dear is None else dear.mean.violations,
                    }
                )
    return lines


def target_lines(fields: Sequence[Field]) -> list[dict[str, Cell]]:
    """Targets, met or missed."""
    return [
        {
            "sizes": _basis(verdict.sizes),
            "target": verdict.target,
            "wanted": verdict.wanted,
            "got": verdict.got,
            "": "met" if verdict.met else "MISSED",
            "cases within": f"{verdict.cases_met} of {verdict.cases}",
            "worst": verdict.worst,
            "where": verdict.worst_case,
        }
        for sizes in SIZES
        for verdict in verdicts(fields, sizes)
    ]


def domination_lines(fields: Sequence[Field]) -> list[dict[str, Cell]]:
    """Which published points dominate which of Trimtab's."""
    return [
        {
            "sizes": _basis(sizes),
            "case": found.field.name,
            "entrant": found.by.entrant.label,
            "violations %": found.by.mean.violations,
            "PAS": found.by.mean.pas,
            "cores": found.by.mean.cores,
            "dominates": found.of.entrant.label,
            "violations % ": found.of.mean.violations,
            "PAS ": found.of.mean.pas,
            "cores ": found.of.mean.cores,
        }
        for sizes in SIZES
        for found in dominations(fields, sizes)
    ]


def rival_lines(fields: Sequence[Field]) -> list[dict[str, Cell]]:
    """In how many cases each published policy dominates a point of Trimtab's, and is dominated by one."""
    lines: list[dict[str, Cell]] = []
    for sizes in SIZES:
        found = [(each.field.name, each.by.entrant.label) for each in dominations(fields, sizes)]
        safe = [(field.name, by.entrant.label) for field, by in not_dominated(fields, sizes)]
        for label in dict.fromkeys(by.entrant.label for field in fields for by in field.theirs(sizes)):
            dominating = len({case for case, by in found if by == label})
            dominated = len(fields) - sum(by == label for _, by in safe)
            lines.append(
                {
                    "sizes": _basis(sizes),
                    "entrant": label,
                    "dominates": f"{dominating} of {len(fields)}",
                    "is dominated": f"{dominated} of {len(fields)}",
                }
            )
    return lines


def loss_lines(fields: Sequence[Field]) -> list[dict[str, Cell]]:
    """Where the objective goes on every case, and on average."""
    return [
        {"sizes": _basis(sizes), "case": case, "part": part, "of IPA's objective, % of the oracle's": lost}
        for sizes in SIZES
        for case, parts in _losses(fields, sizes).items()
        for part, lost in parts.items()
    ]


def _losses(fields: Sequence[Field], sizes: Sizes) -> dict[str, dict[str, float]]:
    found = {field.name: losses(field, sizes) for field in fields}
    parts = next(iter(found.values()))
    return found | {MEAN: {part: mean(case[part] for case in found.values()) for part in parts}}


def _basis(sizes: Sizes) -> str:
    return "all, EXTRAPOLATED" if sizes == "all" else "IPA's"
