"""How much InfAdapter's comparison rests on what is not known: how service times spread, how fast the cluster was, how
requests arrived within a second, and how the runs began.

    python experiments/infadapter/sensitivity.py --data ../shared/data --out out/experiments/infadapter

β 0.05; the bursty window unless `--window` says otherwise. Policies know of none of it.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.command import Options, parser, run
from experiments.infadapter.contenders import Case, Contender, Truth, ours, planners, vpa
from experiments.infadapter.contenders import run as simulated
from experiments.infadapter.measurements import TASK, pipeline
from experiments.infadapter.windows import WINDOWS
from experiments.pictures import COLOURS, figure, legend, panel, save
from experiments.results import Cell, mean, over_seeds, show, write_csv
from experiments.sweep import results

TRUTHS = {
    "as in compare.py": Truth(),
    "exponential service times": Truth(draw="exponential"),
    "service 20 % slower": Truth(slower=1.2),
    "service 20 % faster": Truth(slower=1.0 / 1.2),
    "Poisson arrivals": Truth(arrivals="poisson"),
    "evenly spaced arrivals": Truth(arrivals="even"),
    "published start": Truth(start="published"),
}
SHOWN = 0.05


def contenders() -> list[Contender]:
    """One of each kind."""
    return [vpa()[2], *planners(SHOWN)[:2], *ours(SHOWN)[:2]]


def experiment(asked: Options, parsed: Namespace) -> list[Path]:
    """A table of violations, accuracy loss and cores."""
    truths = dict(list(TRUTHS.items())[:3]) if asked.quick else TRUTHS
    cases = [
        Case(asked.data, parsed.window, contender, seed, truth)
        for truth in truths.values()
        for contender in contenders()
        for seed in range(asked.seeds)
    ]
    runs = results(simulated, cases, asked.processes, "simulating")
    best = 100.0 * max(v.accuracy for v in pipeline().tasks[TASK].variants.values())
    lines: list[dict[str, Cell]] = []
    bars: dict[str, list[float]] = {}
    for name, truth in truths.items():
        for contender in contenders():
            some = [
                result.summary
                for case, result in zip(cases, runs, strict=True)
                if case.truth == truth and case.contender == contender
            ]
            violations = [100.0 * (s.violation_ratio or 0.0) for s in some]
            bars.setdefault(contender.label, []).append(mean(violations))
            lines.append(
                {
                    "what is so": name,
                    "policy": contender.label,
                    "violations %": over_seeds(violations),
                    "accuracy loss": over_seeds(
                        [None if s.accuracy is None else best - 100.0 * s.accuracy for s in some]
                    ),
                    "cores held": over_seeds([s.mean_cores for s in some], 1),
                    "p99 s": over_seeds([s.p99_s for s in some]),
                }
            )
    show(f"{parsed.window}, {asked.seeds} seeds", lines, [each["what is so"] for each in lines])
    made = figure(8.0, 3.4)
    axes = panel(made.subplots(), f"Violations on the {parsed.window} window, %", "", "%, logarithmic")
    width = 0.8 / len(bars)
    for i, (label, values) in enumerate(bars.items()):
        places = [j + i * width for j in range(len(values))]
        axes.bar(places, [max(value, 0.01) for value in values], width, color=COLOURS[i], label=label)
    axes.set_yscale("log")
    axes.set_xticks([j + 0.4 for j in range(len(truths))], list(truths), rotation=20, ha="right")
    legend(axes, columns=2)
    stem = f"sensitivity_{parsed.window}"
    return [write_csv(asked.out / f"{stem}.csv", lines), save(made, asked.out / f"{stem}.png")]


if __name__ == "__main__":
    arguments = parser(__doc__ or "", "infadapter")
    arguments.add_argument("--window", choices=list(WINDOWS), default="bursty", help="which part of the trace")
    run(arguments, experiment)
