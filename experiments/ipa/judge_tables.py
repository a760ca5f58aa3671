"""The judgement on IPA's pipelines as lines of tables."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.ipa.entrants import SIZES, Sizes
from experiments.ipa.verdict import Field, Point, dominations, duels, losses, not_dominated, verdicts
from experiments.results import Cell, mean, over_seeds


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
    """Who dominates Trimtab's points, and which points Trimtab does not dominate."""
    lines = [
        _domination_line(sizes, found.field, found.by, found.of)
        for sizes in SIZES
        for found in dominations(fields, sizes)
    ]
    return lines + [
        _domination_line(sizes, field, by, None) for sizes in SIZES for field, by in not_dominated(fields, sizes)
    ]


def _domination_line(sizes: Sizes, field: Field, by: Point, of: Point | None) -> dict[str, Cell]:
    return {
        "sizes": sizes,
        "case": field.name,
        "entrant": by.entrant.label,
        "violations %": by.mean.violations,
        "PAS": by.mean.pas,
        "cores": by.mean.cores,
        "dominates": "nothing, but is not dominated" if of is None else of.entrant.label,
        "violations % ": None if of is None else of.mean.violations,
        "PAS ": None if of is None else of.mean.pas,
        "cores ": None if of is None else of.mean.cores,
    }


def loss_lines(fields: Sequence[Field]) -> list[dict[str, Cell]]:
    """Where the objective goes, and cores at IPA's PAS: means of the cases."""
    lines: list[dict[str, Cell]] = []
    for sizes in SIZES:
        by_case = [losses(field, sizes) for field in fields]
        for part in by_case[0]:
            lines.append(
                {
                    "sizes": _basis(sizes),
                    "part": part,
                    "of IPA's objective, % of the fluid bound's": mean(case[part][0] for case in by_case),
                    "of the cores at IPA's PAS, % of the oracle's": mean(case[part][1] for case in by_case),
                }
            )
    return lines


def _basis(sizes: Sizes) -> str:
    return "all, EXTRAPOLATED" if sizes == "all" else "IPA's"
