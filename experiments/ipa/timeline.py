"""IPA's figures over time: cost and PAS of every system, ours beside the published curves, for one pipeline.

    python experiments/ipa/timeline.py --pipeline video --data ../shared/data --out out/experiments/ipa

Grey: published (the true cost of video; the paper's figure shows double). Colour: the same policy asked here every ten
seconds with the forecast that stands for the published LSTM. No request is served.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.command import Options, parser, run
from experiments.ipa.contenders import SYSTEM_OF, Case, plan
from experiments.ipa.measurements import NAMES
from experiments.ipa.published import INTERVAL_S, WORKLOADS, decisions
from experiments.pictures import COLOURS, PUBLISHED, figure, legend, panel, save
from experiments.results import Cell, mean, show, write_csv
from experiments.sweep import results

FAMILY = tuple(SYSTEM_OF)[:4]


def experiment(asked: Options, parsed: Namespace) -> list[Path]:
    """A picture: load patterns across, cost and PAS down."""
    name = parsed.pipeline
    workloads = WORKLOADS[:1] if asked.quick else WORKLOADS
    cases = [Case(asked.data, name, workload, contender) for workload in workloads for contender in FAMILY]
    planned = dict(zip([(c.workload, c.contender) for c in cases], results(plan, cases, asked.processes, "planning"),
                       strict=True))  # fmt: skip
    lines: list[dict[str, Cell]] = []
    table: list[dict[str, Cell]] = []
    rows = [(c, what) for c in FAMILY for what in ("cores", "pas") if what == "cores" or not c.startswith("fa2")]
    made = figure(3.2 * len(workloads), 1.9 * len(rows))
    grid = made.subplots(len(rows), len(workloads), squeeze=False, sharex=True)
    for across, workload in enumerate(workloads):
        for down, (contender, what) in enumerate(rows):
            shown, ours = decisions(asked.data, name, workload, SYSTEM_OF[contender]), planned[workload, contender]
            axes = panel(grid[down, across], f"{workload}, {contender}: {'cost' if what == 'cores' else 'PAS'}")
            times = [INTERVAL_S * i for i in range(1, len(shown))]
            axes.step(times, [getattr(one, what) for one in shown[1:]], where="post", color=PUBLISHED, lw=2.0,
                      label="published")  # fmt: skip
            axes.step([one.at_s for one in ours[1:]], [getattr(one, what) for one in ours[1:]], where="post",
                      color=COLOURS[FAMILY.index(contender)], lw=1.0, label="ours")  # fmt: skip
            axes.set_ylim(bottom=0)
        for contender in FAMILY:
            shown, ours = decisions(asked.data, name, workload, SYSTEM_OF[contender]), planned[workload, contender]
            for i, one in enumerate(ours):
                there = shown[i] if i < len(shown) else None
                lines.append(
                    {
                        "workload": workload,
                        "contender": contender,
                        "at_s": one.at_s,
                        "rate_planned": one.rate_rps,
                        "cores": one.cores,
                        "pas": one.pas,
                        "published_cores": None if there is None else there.cores,
                        "published_pas": None if there is None else there.pas,
                    }
                )
            both = list(zip(shown[1:], ours[1:], strict=False))
            table.append(
                {
                    "workload": workload,
                    "contender": contender,
                    "published cores": mean(a.cores for a, _ in both),
                    "ours": mean(float(b.cores) for _, b in both),
                    "mean distance": mean(abs(a.cores - b.cores) for a, b in both),
                    "published PAS": mean(a.pas for a, _ in both),
                    "ours ": mean(b.pas for _, b in both),
                    "same variants, % of intervals": 100.0 * mean(float(abs(a.pas - b.pas) < 0.06) for a, b in both),
                }
            )
    legend(grid[0, 0])
    show(f"{name}: decisions every ten seconds", table, [each["workload"] for each in table])
    return [
        write_csv(asked.out / f"timeline_{name}.csv", lines),
        save(made, asked.out / f"timeline_{name}.png"),
    ]


if __name__ == "__main__":
    arguments = parser(__doc__ or "", "ipa", seeds=1)
    arguments.add_argument("--pipeline", choices=NAMES, default="video", help="which one")
    run(arguments, experiment)
