"""The tables of `judge.py`: lines of equal columns, for the screen and for CSV."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from experiments.infadapter.entrants import Names
from experiments.infadapter.kept import Outcome
from experiments.infadapter.verdict import (
    Field,
    Figures,
    dominations,
    judge,
    losses,
    targets,
)
from experiments.results import Cell, mean, over_seeds

from trimtab.report.comparison import Spread

NONE = "–"
Line = dict[str, Cell]


def run_lines(found: Sequence[Outcome]) -> list[Line]:
    """One line a run."""
    return [
        {
            "window": o.window, "policy": o.label, "seed": o.seed, "plant": o.plant, "forecaster": o.forecaster,
            "offered": o.summary.offered, "in_time": o.summary.in_time, "late": o.summary.late,
            "refused": o.summary.refused, "dropped": o.summary.dropped, "failed": o.summary.failed,
            "accuracy": o.summary.accuracy, "accuracy_over_time": o.accuracy_over_time,
            "core_seconds": o.summary.core_seconds, "mean_cores": o.summary.mean_cores,
            "planned_cores": o.summary.planned_cores, "peak_cores": o.summary.peak_cores, "p99_s": o.summary.p99_s,
            "changes": o.summary.changes, "decide_s": o.summary.decide_s, "notes": "; ".join(o.notes),
        }
        for o in found
    ]  # fmt: skip


def everyone_lines(fields: Sequence[Field], labels: Sequence[str], names: Names) -> list[Line]:
    """One line an entrant: means over the windows, ± over the seeds."""
    made, budget = list[Line](), fields[0].budget
    for label in labels:

        def told(value: Callable[[Figures], float], digits: int, label: str = label) -> str:
            seeds = range(len(fields[0].by_seed))
            return over_seeds([mean(value(f.by_seed[seed][label]) for f in fields) for seed in seeds], digits)

        made.append(
            {
                "policy": label,
                "violations %": told(lambda f: f.violations, 3),
                "accuracy %": told(lambda f: f.accuracy, 2),
                "cores held": told(lambda f: f.cores, 2),
                f"objective β {names.beta}": told(lambda f: f.objective(names.beta, budget), 4),
            }
        )
    return made


def window_lines(fields: Sequence[Field], names: Names) -> list[Line]:
    """One line a window: InfAdapter, the fluid bound beside it, and Trimtab at its accuracy and at its cost."""
    made: list[Line] = []
    for field in fields:
        seen = field.means
        reference, same, more = seen[names.reference], seen[names.as_accurate], seen[names.more_accurate]
        made.append(
            {
                "window": field.window,
                "req/s": field.rate_rps,
                "InfAdapter viol. %": reference.violations,
                "acc. %": reference.accuracy,
                "cores": reference.cores,
                "bound: cores ÷": field.bound_cores(reference.accuracy) / reference.cores,
                "bound: points +": 100.0 * field.frontier.best_accuracy(reference.cores) - reference.accuracy,
                "as accurate: cores ÷": same.cores / reference.cores,
                "acc. -": same.accuracy - reference.accuracy,
                "viol. %": same.violations,
                "÷ bound": same.cores / field.bound_cores(same.accuracy),
                "+2: cores ÷": more.cores / reference.cores,
                "acc. -  ": more.accuracy - reference.accuracy,
                "viol. % ": more.violations,
            }
        )
    return made


def target_lines(fields: Sequence[Field], names: Names) -> list[Line]:
    """One line a target, met or missed."""
    verdicts = [judge(target, fields) for target in targets(names)]
    return [
        {
            "policy": v.of,
            "target": v.target,
            "wanted": v.wanted,
            "mean": _told(v.overall, 3),
            "met": "met" if v.met else "MISSED",
            "windows met": f"{v.windows_met} of {v.windows}",
            "worst": v.worst,
            "worst window": v.worst_window,
        }
        for v in verdicts
    ]


def domination_lines(fields: Sequence[Field], names: Names, published: Sequence[str]) -> list[Line]:
    """On how many windows each of ours dominates InfAdapter's point, and which published one any of ours."""
    mine = (*names.ours, *names.ours_restarting)
    pairs = [(own, names.reference) for own in mine]
    pairs += [(other, own) for other, own in itertools.product(published, mine)]
    made: list[Line] = []
    for by, of in pairs:
        found = dominations(fields, [by], [of])
        outright = [d.window for d in found if d.how == "dominates"]
        nearly = [d.window for d in found if d.how == "nearly"]
        if by in mine or found:
            made.append(_domination(by, of, outright, nearly, len(fields)))
    for mine_of, title in ((names.ours, "any of ours, own plant"), (names.ours_restarting, "any of ours, restarts")):
        beaten = {d.window for d in dominations(fields, mine_of, [names.reference]) if d.how == "dominates"}
        made.append(_domination(title, names.reference, sorted(beaten), [], len(fields)))
        beating = [d for d in dominations(fields, published, mine_of) if d.how == "dominates"]
        made.append(_domination("any published", title, sorted({d.window for d in beating}), [], len(fields)))
    return made


def loss_lines(fields: Sequence[Field], names: Names) -> list[Line]:
    """One line a part of what lies between Trimtab's objective and the fluid bound's."""
    return [
        {"part": loss.part, "between": loss.between, "% of the bound's objective": _told(loss.of_objective, 2)}
        for loss in losses(names, fields)
    ]


def _domination(by: str, of: str, outright: Sequence[str], nearly: Sequence[str], windows: int) -> Line:
    shown = " ".join(outright) if len(outright) <= 6 else f"{' '.join(outright[:6])} …"
    return {
        "policy": by,
        "dominates": of,
        "on": f"{len(outright)} of {windows} windows",
        "%": 100.0 * len(outright) / windows,
        "nearly on": len(nearly),
        "windows": shown or NONE,
    }


def _told(of: Spread, digits: int) -> str:
    return f"{of.mean:.{digits}f}" + ("" if of.half is None else f" ± {of.half:.{digits}f}")
