"""The tables of `judge.py`: lines of equal columns, for the screen and for CSV."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from experiments.infadapter.entrants import Names
from experiments.infadapter.kept import Outcome
from experiments.infadapter.standings import Field, Seen, dominations, over_windows
from experiments.infadapter.verdict import DOMINATED, judge, losses, targets
from experiments.results import Cell

from trimtab.report.comparison import Spread

OURS, OURS_RESTARTING = "any of ours, own plant", "any of ours, restarts"
_SHOWN = 6
"""Windows that are named, at most."""
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
    """One line an entrant, to be read: means over the windows, ± over the seeds."""
    made: list[Line] = []
    for label in labels:
        violations, accuracy, cores, objective = _spreads(fields, label, names)
        made.append(
            {
                "policy": label,
                "violations %": _told(violations, 3),
                "accuracy %": _told(accuracy, 2),
                "cores held": _told(cores, 2),
                f"objective β {names.beta}": _told(objective, 4),
            }
        )
    return made


def figure_lines(window: str, fields: Sequence[Field], labels: Sequence[str], names: Names) -> list[Line]:
    """The same as numbers, and core-seconds of all the windows together."""
    made: list[Line] = []
    for label in labels:
        line: Line = {"window": window, "policy": label}
        told = ("violations_pct", "accuracy_pct", "mean_cores", f"objective_beta_{names.beta}")
        for name, figure in zip(told, _spreads(fields, label, names), strict=True):
            line |= {name: figure.mean, f"{name}_half": figure.half}
        made.append(line | {"core_seconds": sum(f.seconds * f.means[label].cores for f in fields)})
    return made


def _spreads(fields: Sequence[Field], label: str, names: Names) -> list[Spread]:
    """Violations, accuracy, cores and objective: means over the windows, intervals over the seeds."""
    figures: tuple[Callable[[Seen, Field], float], ...] = (
        lambda seen, _: seen[label].violations,
        lambda seen, _: seen[label].accuracy,
        lambda seen, _: seen[label].cores,
        lambda seen, field: seen[label].objective(names.beta, field.budget),
    )
    return [over_windows(fields, one) for one in figures]


def window_lines(fields: Sequence[Field], names: Names) -> list[Line]:
    """One line a window: InfAdapter; the fluid bound; Trimtab asked for the `same` accuracy, and for `two` points more.

    `÷` is cores over InfAdapter's, `+` points of accuracy above InfAdapter's. The bound's `÷` is at InfAdapter's
    accuracy, its `+` at InfAdapter's cores.
    """
    made: list[Line] = []
    for field in fields:
        seen = field.means
        reference, same, more = seen[names.reference], seen[names.as_accurate], seen[names.more_accurate]
        made.append(
            {
                "window": field.window,
                "req/s": field.rate_rps,
                "viol. %": reference.violations,
                "acc. %": reference.accuracy,
                "cores": reference.cores,
                "bound ÷": field.bound_cores(reference.accuracy) / reference.cores,
                "bound +": 100.0 * field.frontier.best_accuracy(reference.cores) - reference.accuracy,
                "same ÷": same.cores / reference.cores,
                "same +": same.accuracy - reference.accuracy,
                "same viol. %": same.violations,
                "same ÷ bound": same.cores / field.bound_cores(same.accuracy),
                "two ÷": more.cores / reference.cores,
                "two +": more.accuracy - reference.accuracy,
                "two viol. %": more.violations,
            }
        )
    return made


def target_lines(fields: Sequence[Field], names: Names, published: Sequence[str]) -> list[Line]:
    """One line a target, met or missed: on average over the windows, on how many of them, and where least."""
    made: list[Line] = []
    for v in (judge(target, fields) for target in targets(names)):
        windows, worst = f"{v.windows_met} of {v.windows}", f"{v.worst:.3f} {v.worst_window}"
        made.append(_target((v.of, v.target, v.wanted), _told(v.overall, 3), windows, worst, met=v.met))
    count = len(fields)
    for title, group in [(label, [label]) for label in names.ours] + [(OURS, list(names.ours))]:
        on, _ = _windows(fields, group, [names.reference])
        asked = title, "dominates InfAdapter, % of windows", f"≥ {100.0 * DOMINATED:g}"
        missing, share = [f.window for f in fields if f.window not in on], len(on) / count
        found = f"{100.0 * share:.1f}"
        made.append(_target(asked, found, f"{len(on)} of {count}", _few(missing), met=share >= DOMINATED))
    for label in (*names.ours, *names.ours_restarting):
        on, _ = _windows(fields, published, [label])
        asked = label, "windows on which another dominates it", "0"
        made.append(_target(asked, str(len(on)), f"{count - len(on)} of {count}", _few(on), met=not on))
    return made


def _target(asked: tuple[str, str, str], found: str, windows: str, worst: str, *, met: bool) -> Line:
    policy, target, wanted = asked
    told = "met" if met else "MISSED"
    return {"policy": policy, "target": target, "wanted": wanted, "found": found, "met": told, "windows met": windows,
            "worst": worst}  # fmt: skip


def domination_lines(fields: Sequence[Field], names: Names, published: Sequence[str]) -> list[Line]:
    """On how many windows each of ours dominates InfAdapter's point, and which published one any of ours."""
    mine = (*names.ours, *names.ours_restarting)
    pairs = [(own, names.reference) for own in mine]
    pairs += [(other, own) for other, own in itertools.product(published, mine)]
    made: list[Line] = []
    for by, of in pairs:
        outright, nearly = _windows(fields, [by], [of])
        if by in mine or outright or nearly:
            made.append(_domination(by, of, outright, nearly, len(fields)))
    for mine_of, title in ((names.ours, OURS), (names.ours_restarting, OURS_RESTARTING)):
        made.append(_domination(title, names.reference, *_windows(fields, mine_of, [names.reference]), len(fields)))
        made.append(_domination("any published", title, *_windows(fields, published, mine_of), len(fields)))
    return made


def loss_lines(fields: Sequence[Field], names: Names) -> list[Line]:
    """One line a part of what lies between Trimtab's objective and the fluid bound's."""
    return [
        {"part": loss.part, "between": loss.between, "% of the bound's objective": _told(loss.of_objective, 2)}
        for loss in losses(names, fields)
    ]


def _windows(fields: Sequence[Field], by: Sequence[str], of: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those on which one of `by` dominates one of `of`, and those others on which one nearly does."""
    found = dominations(fields, by, of)
    outright = list(dict.fromkeys(d.window for d in found if d.how == "dominates"))
    return outright, list(dict.fromkeys(d.window for d in found if d.window not in outright))


def _domination(by: str, of: str, outright: Sequence[str], nearly: Sequence[str], windows: int) -> Line:
    return {
        "policy": by,
        "dominates": of,
        "on": f"{len(outright)} of {windows} windows",
        "%": 100.0 * len(outright) / windows,
        "nearly on": len(nearly),
        "windows": _few(outright),
    }


def _few(windows: Sequence[str]) -> str:
    """The first of them by name."""
    return " ".join(windows[:_SHOWN]) + (" …" if len(windows) > _SHOWN else "") or "–"


def _told(of: Spread, digits: int) -> str:
    return f"{of.mean:.{digits}f}" + ("" if of.half is None else f" ± {of.half:.{digits}f}")
