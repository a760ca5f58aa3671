"""InfAdapter's comparison: violations, accuracy loss and cost of every policy on both windows.

    python experiments/infadapter/compare.py --data ../shared/data --out out/experiments/infadapter

prints one table for each window, beside what a coarse fluid model of the published system gives (`FLUID`: violations,
accuracy loss, cores planned and held), and what the paper's abstract claims against Kubernetes VPA; writes all figures
as CSV, the pictures, and a page that shows it all.

`--fitted FILE.json` adds InfAdapter with a forecaster that was fitted to the trace's first fourteen days (`trimtab
forecast train --trace … --zeros missing --until 14d -o FILE.json`), at its middle and at its 95 % quantile.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.command import Options, console, parser, run
from experiments.infadapter.contenders import BETAS, Case, Contender, bound, fitted, ours, planners, variations, vpa
from experiments.infadapter.contenders import run as simulated
from experiments.infadapter.measurements import TASK, pipeline
from experiments.infadapter.windows import WINDOWS
from experiments.results import Cell, mean, over_seeds, show, write_csv
from experiments.sweep import results

from trimtab.report.comparison import compare_runs
from trimtab.report.comparison_page import write_comparison
from trimtab.report.comparison_text import runs_csv
from trimtab.sim import SimResult

FLUID = {
    ("bursty", "infadapter β 0.0125"): (1.16, 5.08, 20.0, 21.3),
    ("bursty", "infadapter β 0.05"): (3.80, 5.27, 14.7, 15.5),
    ("bursty", "infadapter β 0.2"): (3.57, 7.26, 11.3, 11.8),
    ("bursty", "ms+ β 0.0125"): (4.03, 6.21, 15.5, 16.2),
    ("bursty", "ms+ β 0.05"): (3.71, 6.42, 12.7, 13.3),
    ("bursty", "ms+ β 0.2"): (3.57, 7.16, 11.5, 12.1),
    ("bursty", "infadapter β 0.0125, perfect forecast"): (0.0, 4.87, 20.0, 21.3),
    ("bursty", "infadapter β 0.05, perfect forecast"): (0.0, 5.28, 14.7, 15.4),
    ("bursty", "infadapter β 0.2, perfect forecast"): (0.0, 6.96, 11.6, 12.1),
    ("bursty", "ms+ β 0.05, perfect forecast"): (0.0, 6.57, 12.5, 13.0),
    ("steady", "infadapter β 0.05"): (12.26, 3.72, 17.7, 18.5),
    ("steady", "infadapter β 0.05, perfect forecast"): (12.26, 3.17, 16.9, 17.7),
    ("steady", "ms+ β 0.05"): (12.26, 5.41, 15.0, 15.7),
}
"""Violations in %, accuracy loss in points, cores planned and held, by a fluid model made for this project: one queue
per variant, capacity as published, a request violates if it waits more than 0.65 s. Not numbers of the paper, which
printed none that could be reached. Its runs begin with ResNet152 on 20 cores: all of its violations on `steady`."""
MAIN = 0.05
"""The weight of the published program."""


def contenders(*, quick: bool, file: Path | None = None) -> list[Contender]:
    """Everyone, in the order of the tables; with the file of a fitted forecaster also that."""
    betas = (MAIN,) if quick else BETAS
    made = [*vpa(), *(c for beta in betas for c in planners(beta)), *variations(MAIN)]
    made += fitted(MAIN, file) if file is not None else []
    for beta in betas:
        made += ours(beta)[: 3 if beta == MAIN else 2]
    made.append(bound(MAIN))
    families = list(dict.fromkeys(c.policy for c in made))
    return sorted(made, key=lambda c: (families.index(c.policy), c.forecaster == "oracle"))


def line(window: str, label: str, runs: list[SimResult]) -> dict[str, Cell]:
    """A contender's figures over its seeds, beside the fluid model's."""
    best = 100.0 * max(v.accuracy for v in pipeline().tasks[TASK].variants.values())
    summaries = [r.summary for r in runs]
    fluid = FLUID.get((window, label))
    return {
        "policy": label,
        "violations %": over_seeds([100.0 * (s.violation_ratio or 0.0) for s in summaries]),
        "accuracy loss": over_seeds([None if s.accuracy is None else best - 100.0 * s.accuracy for s in summaries]),
        "planned": over_seeds([s.planned_cores for s in summaries], 1),
        "cores held": over_seeds([s.mean_cores for s in summaries], 1),
        "peak": max(s.peak_cores for s in summaries),
        "p99 s": over_seeds([s.p99_s for s in summaries]),
        "changes": f"{mean([float(s.changes) for s in summaries]):.0f}",
        "fluid model": "" if fluid is None else " / ".join(f"{x:g}" for x in fluid),
    }


def claims(window: str, found: dict[str, list[SimResult]]) -> list[dict[str, Cell]]:
    """InfAdapter against each VPA: how many fewer violations, how much less cost. The abstract: up to 65 and 33 %."""
    lines: list[dict[str, Cell]] = []
    for beta in BETAS:
        own = found.get(f"infadapter β {beta}")
        for label, other in found.items():
            if own is not None and label.startswith("vpa+"):
                lines.append(
                    {
                        "window": window,
                        "infadapter": f"β {beta}",
                        "against": label,
                        "fewer violations %": _less([r.summary.violation_ratio for r in own],
                                                    [r.summary.violation_ratio for r in other]),
                        "less cost %": _less([r.summary.mean_cores for r in own],
                                             [r.summary.mean_cores for r in other]),
                        "accuracy, points": 100.0 * (mean([r.summary.accuracy for r in own])
                                                     - mean([r.summary.accuracy for r in other])),
                    }
                )  # fmt: skip
    return lines


def _less(own: list[float | None], other: list[float | None]) -> float:
    before = mean(other)
    return 100.0 * (1.0 - mean(own) / before) if before else float("nan")


def experiment(asked: Options, parsed: Namespace) -> list[Path]:
    """All runs, tables and pictures."""
    everyone = contenders(quick=asked.quick, file=parsed.fitted)
    cases = [
        Case(asked.data, window, contender, seed)
        for window in WINDOWS
        for contender in everyone
        for seed in range(asked.seeds)
    ]
    runs = results(simulated, cases, asked.processes, "simulating")
    table: list[dict[str, Cell]] = []
    claimed: list[dict[str, Cell]] = []
    for window in WINDOWS:
        found: dict[str, list[SimResult]] = {}
        for case, result in zip(cases, runs, strict=True):
            if case.window == window:
                found.setdefault(case.contender.label, []).append(result)
        lines = [line(window, label, some) for label, some in found.items()]
        show(f"{window}: {asked.seeds} seeds", lines, [label.partition(",")[0].partition(" ")[0] for label in found])
        table += [{"window": window, **each} for each in lines]
        claimed += claims(window, found)
    show("Against Kubernetes VPA (VPA+)", claimed)
    console.print("The abstract claims up to 65 % fewer violations and up to 33 % lower cost.", markup=False)
    comparison = compare_runs(runs)
    figures = asked.out / "compare.csv"
    figures.write_text(runs_csv(comparison), encoding="utf-8")
    return [
        figures,
        write_csv(asked.out / "compare_table.csv", table),
        write_csv(asked.out / "compare_claims.csv", claimed),
        write_comparison(comparison, asked.out, title="InfAdapter's experiments"),
    ]


if __name__ == "__main__":
    made = parser(__doc__ or "", "infadapter")
    made.add_argument("--fitted", type=Path, metavar="FILE.json", help="a fitted forecaster, to run beside the others")
    run(made, experiment)
