"""Trimtab against every published policy in InfAdapter's setting, on 74 windows of the trace.

    python experiments/infadapter/judge.py --data ../shared/data --out out/experiments/infadapter-judge

plays Poisson arrivals on the two named windows and on the first twenty minutes of every hour of days 14 to 16, under
20 cores; first the published policies, then Trimtab with InfAdapter's weights, asked for the accuracy that InfAdapter
delivered there, and for two points more, on its own plant and where changes restart replicas. Prints what everyone did
beside the fluid clairvoyant bound, the targets, met or missed, who dominates whom, and where the objective is lost; all
of it as CSV, and pictures.

Runs are kept in the folder's `runs/`, so that the command goes on where it was stopped. A run that other code made is
made anew, but `--reuse published` keeps those of published policies, and `--reuse all` keeps all.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.command import Options, console, parser, run
from experiments.infadapter.bound import best_objective, frontier, points
from experiments.infadapter.contenders import BETAS, BUDGET, VARIANTS
from experiments.infadapter.entrants import Entrant, Names, ours, published
from experiments.infadapter.hours import played, windows
from experiments.infadapter.judge_pictures import pictures
from experiments.infadapter.judge_tables import (
    domination_lines,
    everyone_lines,
    figure_lines,
    loss_lines,
    run_lines,
    target_lines,
    window_lines,
)
from experiments.infadapter.kept import Case, Outcome, code_digest, kept, outcome
from experiments.infadapter.measurements import TASK, pipeline, service_profile
from experiments.infadapter.standings import Field, Figures
from experiments.infadapter.verdict import capped, out_of_reach
from experiments.infadapter.windows import WINDOWS, Window
from experiments.kept import REUSES
from experiments.results import mean, show, write_csv
from experiments.sweep import results

MAIN = 0.05
"""The paper's weight."""


def experiment(asked: Options, parsed: Namespace) -> list[Path]:
    """All runs, tables and pictures."""
    chosen = windows(parsed.windows or ("3" if asked.quick else "all"))
    betas = tuple(dict.fromkeys((MAIN, *parsed.betas)))
    base = Case(
        asked.data, asked.out / "runs", chosen[0], published(betas)[0], 0, parsed.draw, code_digest(), parsed.reuse
    )
    base.folder.mkdir(exist_ok=True)
    theirs = {window.name: published(betas) for window in chosen}
    found = _play(base, chosen, theirs, asked, "published policies")
    mine = {window.name: _ours(window, betas, found, asked.data, parsed.forecaster) for window in chosen}
    found += _play(base, chosen, mine, asked, "trimtab and bounds")
    everyone = [*theirs[chosen[0].name], *mine[chosen[0].name]]
    fields = [_field(window, found, asked, betas, parsed.bound_size) for window in chosen]
    written = [write_csv(asked.out / "judge_runs.csv", run_lines(found))]
    written += _tell(fields, everyone, betas, asked)
    return written + pictures(fields, everyone, Names(MAIN), asked.out)


def _play(
    base: Case, chosen: Sequence[Window], entrants: dict[str, list[Entrant]], asked: Options, what: str
) -> list[Outcome]:
    """The runs of some entrants on all windows, by window, entrant and seed."""
    cases = [
        replace(base, window=window, entrant=entrant, seed=seed)
        for window in chosen
        for entrant in entrants[window.name]
        for seed in range(asked.seeds)
    ]
    have = {i: known for i, case in enumerate(cases) if (known := kept(case)) is not None}
    to_do = [i for i in range(len(cases)) if i not in have]
    console.print(f"{what}: {len(cases)} runs, {len(have)} of them kept", markup=False)
    if to_do:
        have |= zip(to_do, results(outcome, [cases[i] for i in to_do], asked.processes, what), strict=True)
    return [have[i] for i in range(len(cases))]


def _ours(
    window: Window, betas: tuple[float, ...], found: Sequence[Outcome], data: Path, forecaster: str | None
) -> list[Entrant]:
    """Trimtab and the bounds on a window, after InfAdapter ran there."""
    loads = [v.load_time_s or 0.0 for v in service_profile(data).variants[TASK].values()]
    made: list[Entrant] = []
    for beta in betas:
        reference = Names(beta).reference
        delivered = mean(o.summary.accuracy for o in found if (o.window, o.label) == (window.name, reference))
        made += ours(beta, delivered, max(loads), forecaster)
    return made


def _field(
    window: Window, found: Sequence[Outcome], asked: Options, betas: tuple[float, ...], size: int | None
) -> Field:
    rates = played(asked.data, window, 0).trace.rates()
    of = points(pipeline(), service_profile(asked.data), size)
    by_seed = tuple(
        {o.label: _figures(o) for o in found if (o.window, o.seed) == (window.name, seed)}
        for seed in range(asked.seeds)
    )
    return Field(
        window=window.name,
        seconds=len(rates),
        rate_rps=float(rates.mean()),
        by_seed=by_seed,
        frontier=frontier(rates, of, BUDGET),
        best={beta: best_objective(rates, of, BUDGET, beta) for beta in betas},
        best_variant=100.0 * pipeline().tasks[TASK].variants[VARIANTS[-1]].accuracy,
        budget=BUDGET,
    )


def _figures(of: Outcome) -> Figures:
    """A run that answered nothing has no accuracy: it counts as 0."""
    s = of.summary
    return Figures(
        100.0 * (s.violation_ratio or 0.0), 100.0 * (s.accuracy or 0.0), s.mean_cores,
        100.0 * (of.accuracy_over_time or 0.0),
    )  # fmt: skip


def _tell(fields: list[Field], everyone: list[Entrant], betas: tuple[float, ...], asked: Options) -> list[Path]:
    """Print all tables, and write them as CSV."""
    labels = [e.label for e in everyone]
    for name in (field.window for field in fields if field.window in WINDOWS):
        lines = everyone_lines([field for field in fields if field.window == name], labels, Names(MAIN))
        show(f"{name}: {asked.seeds} seeds", lines, [e.role for e in everyone])
    overall = everyone_lines(fields, labels, Names(MAIN))
    show(f"Mean over {len(fields)} windows, {asked.seeds} seeds", overall, [e.role for e in everyone])
    figures = [figure_lines(f.window, [f], labels, Names(MAIN)) for f in fields]
    figures.append(figure_lines("all", fields, labels, Names(MAIN)))
    written = [write_csv(asked.out / "judge_windows.csv", [line for lines in figures for line in lines])]
    for beta in betas:
        names, stem = Names(beta), "" if beta == MAIN else f"_beta_{beta}"
        others = [e.label for e in everyone if e.role == "published"]
        for title, name, lines in (
            (
                f"β {beta}, window by window: InfAdapter; ÷ cores over its, + points above its",
                "by_window",
                window_lines(fields, names),
            ),
            (f"β {beta}: who dominates whom", "dominations", domination_lines(fields, names, others)),
            (f"β {beta}: where the objective is lost, from the fluid bound", "losses", loss_lines(fields, names)),
            (f"β {beta}: targets, means over {len(fields)} windows", "targets", target_lines(fields, names, others)),
        ):
            show(title, lines)
            written.append(write_csv(asked.out / f"judge_{name}{stem}.csv", lines))
        far, most = out_of_reach(names, fields), capped(names, fields)
        console.print(
            f"Two points more than InfAdapter at its cores are out of the fluid bound's reach on {len(far)} of "
            f"{len(fields)} windows ({' '.join(far) or '–'}), and more than the best variant has on {len(most)} "
            f"({' '.join(most) or '–'}), where that variant's accuracy is asked for.",
            markup=False,
        )
    return written


if __name__ == "__main__":
    made = parser(__doc__ or "", "infadapter-judge", seeds=5)
    made.add_argument(
        "--windows", metavar="all|named|N", help="the named ones and all hours (default); N of them, evenly apart"
    )
    made.add_argument("--betas", type=float, nargs="*", choices=BETAS, default=[], help="weights beside 0.05")
    made.add_argument("--draw", choices=("mean", "exponential"), default="mean", help="how service times spread")
    made.add_argument("--forecaster", metavar="NAME", help="for Trimtab, in place of its own; or a fitted one's file")
    made.add_argument(
        "--bound-size", type=int, choices=range(1, BUDGET + 1), metavar="CORES",
        help="the bound's times are those of replicas of this size; by default of the best size of each variant",
    )  # fmt: skip
    made.add_argument("--reuse", choices=REUSES, default="same-code", help="which kept runs are taken")
    run(made, experiment)
