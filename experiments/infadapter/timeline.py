"""InfAdapter's figures over time: p99 against the SLO, accuracy and cost of some policies on both windows.

    python experiments/infadapter/timeline.py --data ../shared/data --out out/experiments/infadapter

One seed. Every panel is over windows of five seconds; what they hold is written as CSV too.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.command import Options, parser, run
from experiments.infadapter.contenders import Case, Contender, ours, planners, vpa
from experiments.infadapter.contenders import run as simulated
from experiments.infadapter.windows import WINDOWS
from experiments.pictures import save
from experiments.results import Cell, show
from experiments.sweep import results

from trimtab.report.comparison import compare_runs
from trimtab.report.comparison_figures import over_time, styles
from trimtab.report.simulation import series_csv

SHOWN = 0.05
"""The weight of cores of those that have one."""


def contenders() -> list[Contender]:
    """One of each kind; VPA+ with the variant in the middle and with the heaviest."""
    fixed = {c.label: c for c in vpa()}
    return [fixed["vpa+ resnet50"], fixed["vpa+ resnet152"], *planners(SHOWN)[:2], ours(SHOWN)[1]]


def experiment(asked: Options, _: Namespace) -> list[Path]:
    """A picture for each window."""
    cases = [Case(asked.data, window, contender) for window in WINDOWS for contender in contenders()]
    runs = results(simulated, cases, asked.processes, "simulating")
    comparison = compare_runs(runs)
    look, written = styles(comparison), list[Path]()
    lines: list[dict[str, Cell]] = []
    for case, result in zip(cases, runs, strict=True):
        path = asked.out / f"timeline_{case.window}_{case.contender.label.replace(' ', '_')}.csv"
        path.write_text(series_csv(result), encoding="utf-8")
        late = [p99 is not None and p99 > result.run.slo_s for p99 in result.series.p99_s]
        lines.append(
            {
                "window": case.window,
                "policy": case.contender.label,
                "5 s windows with p99 above the SLO, %": 100.0 * sum(late) / len(late),
                "longest in a row, s": result.series.window_s * _longest(late),
                "fewest cores": min(result.series.cores),
                "most cores": max(result.series.cores),
            }
        )
    show("Over time", lines, [each["window"] for each in lines])
    for trace in comparison.traces:
        written.append(save(over_time(trace, look), asked.out / f"timeline_{trace.trace}.png"))
    return written


def _longest(flags: list[bool]) -> int:
    longest = here = 0
    for flag in flags:
        here = here + 1 if flag else 0
        longest = max(longest, here)
    return longest


if __name__ == "__main__":
    run(parser(__doc__ or "", "infadapter"), experiment)
