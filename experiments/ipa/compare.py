"""IPA's comparison: cost and accuracy of every system on five pipelines and four load patterns, beside the published.

    python experiments/ipa/compare.py --data ../shared/data --out out/experiments/ipa

For each run: what was published, what the same policy plans here (the controller alone, asked every ten seconds), and
what a simulation of its plans delivers, costs and misses. `ipa` is the paper's formula with the published weights,
`ipa, no margins` the same without the planner's safety margins and with batches; `trimtab` is asked for the accuracy
that IPA was published with, at the least cost.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.command import Options, console, parser, run
from experiments.ipa.contenders import CONTENDERS, OURS, SYSTEM_OF, Case, plan
from experiments.ipa.contenders import run as simulated
from experiments.ipa.measurements import NAMES
from experiments.ipa.published import WORKLOADS, decisions
from experiments.pictures import COLOURS, FAINT, figure, legend, panel, save
from experiments.results import Cell, mean, over_seeds, show, write_csv
from experiments.sweep import results

from trimtab.sim import SimResult

FAMILY = tuple(SYSTEM_OF)[:4]
"""Those that were published."""


def line(case: Case, runs: list[SimResult]) -> dict[str, Cell]:
    """A run's figures over its seeds."""
    shown = decisions(case.data, case.pipeline, case.workload, SYSTEM_OF[case.contender])[1:]
    planned = plan(case)[1:] if case.contender != OURS else []
    summaries = [r.summary for r in runs]
    of_family = case.contender in FAMILY
    ours = mean(float(one.cores) for one in planned) if planned else mean(s.planned_cores for s in summaries)
    return {
        "pipeline": case.pipeline,
        "workload": case.workload,
        "contender": case.contender,
        "cores published": mean(one.cores for one in shown) if of_family else None,
        "planned": ours,
        "held": mean(s.mean_cores for s in summaries),
        "PAS published": mean(one.pas for one in shown) if of_family else None,
        "planned ": mean(one.pas for one in planned) if planned else None,
        "delivered": mean(None if s.accuracy is None else 100.0 * s.accuracy for s in summaries),
        "violations %": over_seeds([100.0 * (s.violation_ratio or 0.0) for s in summaries]),
        "p50 s": mean(s.p50_s for s in summaries),
        "p99 s": mean(s.p99_s for s in summaries),
        "peak": max(s.peak_cores for s in summaries),
    }


def means(lines: list[dict[str, Cell]]) -> list[dict[str, Cell]]:
    """Over the four load patterns, by pipeline and contender."""
    found: list[dict[str, Cell]] = []
    for pipeline in dict.fromkeys(str(each["pipeline"]) for each in lines):
        for contender in dict.fromkeys(str(each["contender"]) for each in lines):
            own = [each for each in lines if (each["pipeline"], each["contender"]) == (pipeline, contender)]
            found.append(
                {
                    "pipeline": pipeline,
                    "contender": contender,
                    **{name: mean(_known(each[name]) for each in own) for name in list(lines[0])[3:9]},
                    "violations %": mean(float(str(each["violations %"]).split(" ")[0]) for each in own),
                }
            )
    return found


def agreement(lines: list[dict[str, Cell]]) -> str:
    """How near planned means are to published ones, in a sentence."""
    own = [each for each in lines if each["contender"] in FAMILY]
    cost = [abs((_known(each["planned"]) or 0.0) / (_known(each["cores published"]) or 1.0) - 1.0) for each in own]
    pas = [abs((_known(each["planned "]) or 0.0) / (_known(each["PAS published"]) or 1.0) - 1.0) for each in own]
    return (
        f"Of {len(own)} published runs, the planned mean cost is within 10 % in {sum(d <= 0.1 for d in cost)} "
        f"(median distance {100.0 * median(cost):.1f} %), the mean PAS within 1 % in {sum(d <= 0.01 for d in pas)}."
    )


def _known(cell: Cell) -> float | None:
    return None if cell is None or cell != cell else float(cell)


def picture(lines: list[dict[str, Cell]], path: Path) -> Path:
    """Published against planned here: cost and PAS, one dot a run."""
    made = figure(9.5, 4.2)
    left, right = made.subplots(1, 2)
    panel(left, "Mean cost, cores", "published", "planned here")
    panel(right, "Mean PAS", "published", "planned here")
    for axes, first, second in ((left, "cores published", "planned"), (right, "PAS published", "planned ")):
        own = [each for each in lines if each["contender"] in FAMILY]
        ends = [min(float(each[first] or 0.0) for each in own) * 0.9,
                max(float(each[first] or 0.0) for each in own) * 1.1]  # fmt: skip
        axes.plot(ends, ends, color=FAINT, lw=0.8)
        for i, contender in enumerate(FAMILY):
            some = [each for each in own if each["contender"] == contender]
            axes.plot([float(each[first] or 0.0) for each in some],
                      [float(each[second] or 0.0) for each in some], ".", ms=7, color=COLOURS[i],
                      label=contender)  # fmt: skip
    left.set_xscale("log")
    left.set_yscale("log")
    legend(left)
    return save(made, path)


def experiment(asked: Options, parsed: Namespace) -> list[Path]:
    """All runs and tables."""
    names = NAMES[:2] if asked.quick else NAMES
    names = tuple(parsed.pipeline) if parsed.pipeline else names
    cases = [
        Case(asked.data, pipeline, workload, contender, seed, draw=parsed.draw, slower=parsed.slower)
        for pipeline in names
        for workload in WORKLOADS
        for contender in CONTENDERS
        for seed in range(asked.seeds)
    ]
    runs = results(simulated, cases, asked.processes, "simulating")
    grouped: dict[tuple[str, str, str], tuple[Case, list[SimResult]]] = {}
    for case, result in zip(cases, runs, strict=True):
        grouped.setdefault((case.pipeline, case.workload, case.contender), (case, []))[1].append(result)
    lines = [line(case, some) for case, some in grouped.values()]
    for pipeline in names:
        own = [each for each in lines if each["pipeline"] == pipeline]
        show(f"{pipeline}: {asked.seeds} seeds", [dict(list(each.items())[1:]) for each in own],
             [each["workload"] for each in own])  # fmt: skip
    console.print()
    console.print(agreement(lines), markup=False)
    summary = means(lines)
    show("Means of the four load patterns", summary, [each["pipeline"] for each in summary])
    return [
        write_csv(asked.out / "compare.csv", lines),
        write_csv(asked.out / "compare_means.csv", summary),
        picture(lines, asked.out / "compare.png"),
    ]


if __name__ == "__main__":
    arguments = parser(__doc__ or "", "ipa", seeds=2)
    arguments.add_argument("--pipeline", action="append", choices=NAMES, help="only this one; may be given again")
    arguments.add_argument("--draw", choices=("profile", "mean", "exponential"), default="profile",
                           help="how service times are drawn")  # fmt: skip
    arguments.add_argument("--slower", type=float, default=1.0, help="factor on the real service times")
    run(arguments, experiment)
